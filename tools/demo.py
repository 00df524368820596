"""`make demo`: examples/flask_app.py under wsgid behind nginx, until Ctrl-C.

Everything but the virtual environment is in temporary directories, and is gone afterwards.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from tools import child
from tools.nginx import EXAMPLES, Nginx, NginxError, ensure_nginx, example

WORKERS = 2
START_DEADLINE_S = 30.0
POLL_S = 0.1


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class StopRequest:
    """Whether a signal has asked to end; an exception instead could come before a process just started is known."""

    def __init__(self) -> None:
        self.made = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.made = True


def main() -> int:
    stop = StopRequest()
    try:
        ensure_nginx()
        with tempfile.TemporaryDirectory(prefix="wsgid-demo-") as directory:
            socket_path = Path(directory) / "app.sock"
            Path(directory).chmod(0o711)  # nginx's usual user could get in, as on a real site
            with wsgid(socket_path) as server, Nginx(example("flask_nginx.conf", f"unix:{socket_path}")) as nginx:
                serve(nginx, server, stop)
    except (DemoError, NginxError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\nThe demo is over.", flush=True)
    return 0


def serve(nginx: Nginx, server: subprocess.Popen[bytes], stop: StopRequest) -> None:
    """Returns when it is asked to stop."""
    deadline = time.monotonic() + START_DEADLINE_S
    while not stop.made and not is_answered(nginx):
        if time.monotonic() > deadline:
            raise DemoError(f"{nginx.url} was not answered within {START_DEADLINE_S:.0f} s")
        pause(server)
    if not stop.made:
        print(f"\n  {nginx.url}/\n\n  curl -i {nginx.url}/\n\nCtrl-C ends it.\n", flush=True)
    while not stop.made:
        pause(server)


def is_answered(nginx: Nginx) -> bool:
    connection = http.client.HTTPConnection(nginx.host, nginx.port, timeout=1.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK  # 502 as long as wsgid is not there
    except OSError:
        return False
    finally:
        connection.close()


def pause(server: subprocess.Popen[bytes]) -> None:
    try:
        status = server.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return
    raise DemoError(f"wsgid ended by itself, with status {status}")


@contextmanager
def wsgid(socket_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(sys.executable).parent / "wsgid"
    command = [str(program), "--socket", str(socket_path), "--chmod-socket", "666", "--workers", str(WORKERS),
               "flask_app:application"]
    # A process group of its own, like nginx's: Ctrl-C comes to us alone, and we end them one after the other.
    process = subprocess.Popen(command, cwd=EXAMPLES, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
                               stdin=subprocess.DEVNULL, process_group=0)
    try:
        yield process
    finally:
        child.end(process, signal.SIGTERM, signal.SIGQUIT)


if __name__ == "__main__":
    sys.exit(main())
