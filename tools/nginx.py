"""A private nginx with the configuration of a site, for the demo and for the tests.

    with Nginx(example("flask_nginx.conf", "unix:/tmp/x/app.sock")) as nginx:
        urlopen(nginx.url)

The site is a text for sites-available or conf.d that listens on port 80. Only two things in it are changed: the port
becomes a free port on the loopback, and the upstream gets the given address. All files that nginx writes are in one
temporary directory, which is removed at the end.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tools import apt, child

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DISTRIBUTION = Path("/etc/nginx")  # Debian's and Ubuntu's
LISTEN = r"(?m)^ *listen 80;"
UPSTREAM = r"(?m)(^ *server unix:.*;\n)+"

START_DEADLINE_S = 10.0
POLL_S = 0.01

# This text contains nothing that the caller may want to set: nginx refuses a directive that is given twice. {user}
# matters to root alone: nginx's default user could not enter a private directory.
MAIN = """\
daemon off;
pid nginx.pid;
error_log error.log warn;
{user}
{main}

events {{
    {events}
}}

http {{
    include mime.types;
    access_log access.log;
    client_body_temp_path client_body;
    uwsgi_temp_path uwsgi;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    {http}

    include site.conf;
}}
"""

# For an nginx that was installed without these files. The distribution's own files are preferred, because sites include
# them.
UWSGI_PARAMS = """\
uwsgi_param QUERY_STRING $query_string;
uwsgi_param REQUEST_METHOD $request_method;
uwsgi_param CONTENT_TYPE $content_type;
uwsgi_param CONTENT_LENGTH $content_length;
uwsgi_param REQUEST_URI $request_uri;
uwsgi_param PATH_INFO $document_uri;
uwsgi_param DOCUMENT_ROOT $document_root;
uwsgi_param SERVER_PROTOCOL $server_protocol;
uwsgi_param REQUEST_SCHEME $scheme;
uwsgi_param HTTPS $https if_not_empty;
uwsgi_param REMOTE_ADDR $remote_addr;
uwsgi_param REMOTE_PORT $remote_port;
uwsgi_param SERVER_PORT $server_port;
uwsgi_param SERVER_NAME $server_name;
"""
MIME_TYPES = "types { text/html html; text/css css; text/javascript js; image/svg+xml svg; image/png png; }\n"


class NginxError(Exception):
    """nginx is missing, refuses its configuration or does not run. The message contains nginx's own words."""


def find_nginx() -> str | None:
    """Debian's nginx is in /usr/sbin, which is not in the PATH of every user."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def ensure_nginx() -> str:
    """The path of nginx. If nginx is missing, its package is installed for root."""
    if find_nginx() is None:
        try:
            apt.install("nginx", "nginx")
        except apt.MissingPackage as missing:
            raise NginxError(str(missing)) from None
        # nginx is not started now, and not at the next boot: the user did not ask for a site on port 80.
        subprocess.run(["/usr/sbin/update-rc.d", "nginx", "disable"], check=True)
    path = find_nginx()
    if path is None:
        raise NginxError("nginx was installed, but is neither on PATH nor in /usr/sbin")
    return path


def example(name: str, *addresses: str, static_root: str | os.PathLike[str] | None = None) -> str:
    """The text of examples/NAME with another address of the upstream (unix:/path or host:port), and with its /static/
    at `static_root`. A single address replaces each address of the example. Several addresses are listed one by one."""
    site = (EXAMPLES / name).read_text()
    if len(addresses) == 1:
        site = _replace(site, UPSTREAM, lambda lines: re.sub(r"unix:[^\s;]+", addresses[0], lines))
    elif addresses:
        listed = "".join(f"    server {address};\n" for address in addresses)
        site = _replace(site, UPSTREAM, lambda _lines: listed)
    if static_root is not None:
        site = _replace(site, r"(?m)^ *alias \S+;", lambda _line: f"        alias {os.fspath(static_root)}/;")
    return site


class Nginx:
    """One nginx, from `with` to the end of its block.

    `main`, `events`, `http` and `server` are directives that are added at that level. `user` is the user of the
    workers, if nginx is started by root.
    """

    host = "127.0.0.1"

    def __init__(
        self, site: str, *, main: str = "", events: str = "", http: str = "", server: str = "", user: str = "root"
    ) -> None:
        self.port = free_port(self.host)
        self.url = f"http://{self.host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._site = _replace(site, LISTEN, lambda _line: f"    listen {self.host}:{self.port};\n    {server}")
        user_line = f"user {user};" if os.geteuid() == 0 else ""
        self._main = MAIN.format(user=user_line, main=main, events=events, http=http)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start nginx. Returns when nginx accepts connections. If that fails, nothing is left."""
        nginx = ensure_nginx()
        self.directory = Path(tempfile.mkdtemp(prefix="wsgid-nginx-"))
        # -e (nginx 1.19.5): errors before the configuration has named the log are in the log, too.
        command = [nginx, "-p", f"{self.directory}/", "-c", "nginx.conf", "-e", "error.log"]
        try:
            self._write_files()
            self._check(command)
            # A process group of its own: Ctrl-C reaches only the program that has started us. That program ends us in
            # order.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
            )
            self._wait_until_up(self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Requests in progress are finished first, for a limited time. A second call of stop does nothing."""
        if self.process is not None:
            child.end(self.process, signal.SIGQUIT, signal.SIGTERM)
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def error_log(self) -> str:
        return self._read("error.log")

    def access_log(self) -> str:
        """The access log. nginx writes a line after the response: a client that has the response may be too early for
        the line."""
        return self._read("access.log")

    def _read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _write_files(self) -> None:
        (self.directory / "nginx.conf").write_text(self._main)
        (self.directory / "site.conf").write_text(self._site)
        for name, substitute in (("uwsgi_params", UWSGI_PARAMS), ("mime.types", MIME_TYPES)):
            own = DISTRIBUTION / name
            (self.directory / name).write_text(own.read_text() if own.exists() else substitute)
        self.directory.chmod(0o711)  # `user` has to get to the temporary files in here

    def _check(self, command: list[str]) -> None:
        done = subprocess.run([*command, "-q", "-t"], capture_output=True, text=True)
        if done.returncode != 0:
            raise NginxError(f"nginx refuses its configuration:\n{done.stderr.strip()}\n\n{self._main}\n{self._site}")

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._is_up(process):
            if process.poll() is not None:
                raise NginxError(f"nginx ended with status {process.returncode}:\n{self.error_log().strip()}")
            if time.monotonic() > deadline:
                raise NginxError(
                    f"nginx accepts nothing on {self.url} after {START_DEADLINE_S:.0f} s:\n{self.error_log().strip()}"
                )
            time.sleep(POLL_S)

    def _is_up(self, process: subprocess.Popen[bytes]) -> bool:
        # nginx writes its pid file when its sockets are bound. So the server that answers on this port is this nginx.
        if self._read("nginx.pid").strip() != str(process.pid):
            return False
        try:
            socket.create_connection((self.host, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True


def free_port(host: str) -> int:
    """A port that belongs to this process until its end: nobody else gets this port who asks for any free port. A
    server that is told the number can bind it nevertheless: its socket has SO_REUSEADDR or SO_REUSEPORT, as this one,
    which does not listen (socket(7))."""
    reserving = socket.socket()
    reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserving.bind((host, 0))
    port: int = reserving.getsockname()[1]
    reserving.detach()  # nobody closes it
    return port


def _replace(text: str, pattern: str, replacement: Callable[[str], str]) -> str:
    """Replace exactly one match. Any other number of matches is an error: the site would listen or connect
    elsewhere."""
    result, count = re.subn(pattern, lambda match: replacement(match[0]), text)
    if count != 1:
        raise NginxError(f"the site has {count} places like {pattern!r} instead of one:\n{text}")
    return result


if __name__ == "__main__":
    try:
        print(ensure_nginx())
    except NginxError as error:
        sys.exit(str(error))
