"""`make demo`: examples/flask_app.py under wsgid, over HTTP and behind nginx, until Ctrl-C.

If nginx is missing and cannot be installed, the demo serves HTTP only. All files except the virtual environment are in
temporary directories, which are removed at the end.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools import child
from tools.nginx import EXAMPLES, Nginx, NginxError, ensure_nginx, example, free_port

HOST = "127.0.0.1"
WORKERS = 2
START_DEADLINE_S = 30.0
POLL_S = 0.1


class DemoError(Exception):
    """The demo cannot go on. The message says why."""


class StopRequest:
    """Whether a signal has asked the demo to end. This is no exception, because an exception could come between the
    start of a process and the assignment of its object."""

    def __init__(self) -> None:
        self.made = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.made = True


def main() -> int:
    stop = StopRequest()
    try:
        with_nginx = has_nginx()
        with tempfile.TemporaryDirectory(prefix="wsgid-demo-") as directory, ExitStack() as running:
            socket_path = Path(directory) / "app.sock"
            Path(directory).chmod(0o711)  # nginx's usual user can enter the directory, as on a real site
            port = free_port(HOST)
            listeners = ("--socket", str(socket_path), "--chmod-socket", "666", "--http", f"{HOST}:{port}")
            server = running.enter_context(wsgid("flask_app:application", *listeners))
            urls = {f"http://{HOST}:{port}": "directly from wsgid, over HTTP"}
            if with_nginx:
                nginx = running.enter_context(Nginx(example("flask_nginx.conf", f"unix:{socket_path}")))
                urls[nginx.url] = "through nginx"
            serve(urls, [server], [f"curl -i {list(urls)[-1]}/"], stop)
    except (DemoError, NginxError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\nThe demo is over.", flush=True)
    return 0


def has_nginx() -> bool:
    """Whether nginx is installed now. If not, this prints how to install nginx."""
    try:
        ensure_nginx()
    except NginxError as missing:
        print(f"{missing}\nWithout nginx, this is served over HTTP alone.", file=sys.stderr, flush=True)
        return False
    return True


def serve(
    urls: Mapping[str, str], servers: Sequence[subprocess.Popen[bytes]], commands: Sequence[str], stop: StopRequest
) -> None:
    """Show the addresses, and return when a signal asks to stop.

    Args:
        urls: each address with its description. They are shown when all of them are answered.
        servers: the processes that have to go on running.
        commands: commands to try, shown below the addresses.
        stop: whether a signal has asked to stop.

    Raises:
        DemoError: an address is not answered, or a server has ended.
    """
    deadline = time.monotonic() + START_DEADLINE_S
    while not stop.made and not all(map(is_answered, urls)):
        if time.monotonic() > deadline:
            raise DemoError(f"{' and '.join(urls)} were not answered within {START_DEADLINE_S:.0f} s")
        pause(servers)
    if not stop.made:
        shown = "".join(f"  {url}/    {what}\n" for url, what in urls.items())
        tried = "".join(f"  {command}\n" for command in commands)
        print(f"\n{shown}\n{tried}\nCtrl-C ends it.\n", flush=True)
    while not stop.made:
        pause(servers)


def is_answered(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK  # 502 as long as wsgid is not ready
    except OSError:
        return False
    finally:
        connection.close()


def pause(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    time.sleep(POLL_S)
    for server in servers:
        if server.poll() is not None:
            raise DemoError(f"wsgid ended by itself, with status {server.returncode}")


@contextmanager
def wsgid(
    application: str, *options: str, directory: Path = EXAMPLES, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(sys.executable).parent / "wsgid"
    # A process group of its own, like nginx's: Ctrl-C reaches only this program, which ends the servers in order.
    process = subprocess.Popen(
        [str(program), *options, "--workers", str(WORKERS), application],
        cwd=directory,
        env={**os.environ, **(environ or {}), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield process
    finally:
        child.end(process, signal.SIGTERM, signal.SIGQUIT)


if __name__ == "__main__":
    sys.exit(main())
