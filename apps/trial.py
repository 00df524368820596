"""One application, served in one way: start, visit, reload, visit, stop."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from signal import Signals

from tests.support.server import Server, eventually
from tools.nginx import Nginx, example

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venv-apps"
_TROUBLE = re.compile(r" (ERROR|CRITICAL): |^Traceback ")
_BUSY = re.compile(r"the event loop has been held up")  # by work for the processor, on a busy machine: no failure


class Way(Enum):
    """How visitors reach the application."""

    NGINX = "uwsgi_pass"
    HTTP = "--http"


@dataclass(frozen=True, slots=True)
class Application:
    """An application of the catalogue.

    Args:
        name: for the command and the table.
        packages: what pip installs.
        prepare: makes the application's files in a directory, which is the server's working directory; it gets the
            directory and the directory of the environment's programs.
        options: of wsgid, without sockets.
        visit: does the main job at a URL; raises AssertionError.
        environ: variables of the server; {} stands for the directory.
        reloads: whether a rolling reload is possible.
    """

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, Path], None]
    options: tuple[str, ...]
    visit: Callable[[str], None]
    environ: tuple[tuple[str, str], ...] = ()
    reloads: bool = True


def environment(application: Application) -> Path:
    """Return the application's virtual environment; make it if it is not there."""
    place = ENVIRONMENTS / application.name
    if not (place / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *application.packages]
        subprocess.run(pip, check=True)
        (place / "complete").touch()
    return place


def attempt(application: Application, way: Way) -> list[str]:
    """Return what went wrong; nothing if all is well."""
    place = environment(application)
    with tempfile.TemporaryDirectory(prefix="wsgid-apps-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        application.prepare(directory, place / "bin")
        environ = {key: value.format(directory) for key, value in application.environ}
        listen = ["--socket", "app.sock"] if way is Way.NGINX else ["--http", "127.0.0.1:0"]
        server = Server(directory, *listen, "--virtualenv", str(place), *application.options, environ=environ)
        try:
            return _life(application, server, way)
        finally:
            server.end()


def _life(application: Application, server: Server, way: Way) -> list[str]:
    troubles: list[str] = []
    try:
        server.wait_for(r"worker \d+ .* is ready")
        with _address(server, way) as url:
            application.visit(url)
            if application.reloads:
                server.send_signal(Signals.SIGHUP)
                while not re.search(r"generation 1, pid \d+\) is ready", server.log):
                    application.visit(url)  # meanwhile
                eventually(lambda: not _old_workers(server), "the old workers have left")
                application.visit(url)
        code = server.stop()
        if code != 0:
            troubles.append(f"the exit code is {code}")
        server.assert_nothing_left()
    except AssertionError as error:
        troubles.append(str(error).strip() or "an assertion of the visitor has failed")
    return troubles + [line for line in server.lines if _TROUBLE.search(line) and not _BUSY.search(line)]


def _old_workers(server: Server) -> bool:
    ready = re.findall(r"generation 0, pid (\d+)\) is ready", server.log)
    gone = re.findall(r"generation 0, pid (\d+)\) exited", server.log)
    return len(ready) > len(gone)


@contextmanager
def _address(server: Server, way: Way) -> Iterator[str]:
    if way is Way.HTTP:
        [(host, port)] = server.tcp_addresses()
        yield f"http://{host}:{port}"
    else:
        with Nginx(example("flask_nginx.conf", f"unix:{server.directory / 'app.sock'}")) as nginx:
            yield nginx.url
