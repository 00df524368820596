"""The life of a server in parts. The scenario `syscalls` makes system calls fail in each part."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil

import wsgid
from faults import strace
from tests.support import client
from tests.support.server import Server, eventually

WORKERS = 3
YOUNG_S = 1.2  # after the death of a worker that is younger than this, the fleet pauses
APP = dedent("""
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
""")
OPTIONS = (
    "--socket",
    "app.sock",
    "--workers",
    str(WORKERS),
    "--stats",
    "stats.sock",
    "--metrics",
    "127.0.0.1:0",
    "--master-fifo",
    "fifo",
    "--pidfile",
    "pid",
    "--touch-reload",
    "touched",
    "--logger",
    "stdio",
    "--logger",
    "file:log",
    "--worker-reload-mercy",
    "3",
    "app:application",
)
OUR_CODE = strace.shape(f"{Path(wsgid.__file__).parent}/")


class Visitors:
    """A client that sends requests all the time, and counts what goes wrong."""

    def __init__(self, address: Path) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._address = address
        self._asks = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask_all_the_time)
        self._thread.start()

    def _ask_all_the_time(self) -> None:
        while not self._ends.wait(0.01):
            with self._asks:
                try:
                    assert client.get(self._address).body == b"hello"
                    self.answered += 1
                except Exception as error:
                    self.failures.append(repr(error))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within this, no requests are sent. A request in a worker that is killed would be lost, and the master is not
        to blame."""
        with self._asks:
            yield

    def end(self) -> None:
        self._ends.set()
        self._thread.join()


class Life:
    """A server with clients, and with a socket for the messages that systemd would get."""

    def __init__(self, directory: Path, prefix: list[str] | None = None) -> None:
        self.directory = directory
        (directory / "app.py").write_text(APP)
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with suppress(FileNotFoundError):
            (directory / "systemd").unlink()
        self.systemd.bind(str(directory / "systemd"))
        self.server = Server(
            directory,
            *OPTIONS,
            prefix=prefix or (),
            environ={"NOTIFY_SOCKET": str(directory / "systemd"), "PYTHONDONTWRITEBYTECODE": ""},
        )
        self.visitors: Visitors | None = None

    def visited(self) -> "Life":
        self.server.wait_ready(WORKERS)
        self.visitors = Visitors(self.directory / "app.sock")
        return self

    @property
    def away(self) -> Visitors:
        assert self.visitors
        return self.visitors

    def settled(self) -> bool:
        return len(self.server.worker_pids()) == WORKERS and len(self.server.template_pids()) == 1

    def end(self) -> None:
        if self.visitors:
            self.visitors.end()
        self.server.end()
        self.systemd.close()
        for left in ("systemd", "app.sock", "app.ctl", "stats.sock", "fifo", "pid", "log", "log.1"):
            with suppress(FileNotFoundError):
                (self.directory / left).unlink()

    def troubles(self) -> list[str]:
        """What is wrong now, although no failed call may cause it."""
        found = ["a traceback"] if "Traceback" in self.server.log else []
        if self.visitors:
            found += [f"visitors: {failure}" for failure in self.visitors.failures[:1]]
        return found

    def stop(self) -> list[str]:
        """Stop the server. Returns what is wrong at the end."""
        if self.visitors:
            self.visitors.end()
            self.visitors = None
        return self.ended(self.server.stop(), (0,), self.directory / "no trace")

    def ended(self, code: int, right: tuple[int, ...], log: Path) -> list[str]:
        """What is wrong after the end. If a failed call was about a file, by strace's log, that file may stay."""
        failed = " ".join(strace.injected(log)[0])
        found = [] if code in right else [f"exit code {code}"]
        try:
            eventually(lambda: not self.server.survivors(), "all processes are gone")
        except AssertionError:
            found.append(f"left: {self.server.survivors()}")
        left = [
            name
            for name in ("app.sock", "app.ctl", "stats.sock", "fifo", "pid")
            if f"/{name}" not in failed and (self.directory / name).exists()
        ]
        return found + ([f"left: {', '.join(left)}"] if left else [])


def respawn(life: Life) -> None:
    pids = life.server.worker_pids()
    oldest = min((psutil.Process(pid) for pid in pids), key=lambda process: process.create_time())
    time.sleep(max(0.0, oldest.create_time() + YOUNG_S - time.time()))
    with life.away.away():
        oldest.kill()
        eventually(lambda: oldest.pid not in life.server.worker_pids(), "the worker is dead")
    eventually(life.settled, "the worker is replaced")


def renewed(life: Life, ask: Callable[[], None]) -> None:
    before = {*life.server.worker_pids(), *life.server.template_pids()}
    ask()
    eventually(
        lambda: life.settled() and not before & {*life.server.worker_pids(), *life.server.template_pids()},
        "all workers are of a new generation",
    )


def reload(life: Life) -> None:
    renewed(life, lambda: life.server.send_signal(Signals.SIGHUP))


def reload_without_a_spare(life: Life) -> None:
    """Reload after a file was touched, with a new template: no spare is there, so the template has to be executed."""
    for pid in life.server.spare_pids():
        os.kill(pid, Signals.SIGKILL)
    renewed(life, lambda: _touch(life.directory / "touched"))


def _touch(path: Path) -> None:
    path.write_text(str(time.monotonic()))


def upgrade(life: Life) -> None:
    renewed(life, lambda: life.server.send_signal(Signals.SIGUSR2))


def rotation(life: Life) -> None:
    said = r"the log is reopened"
    count = len(re.findall(said, life.server.log))
    (life.directory / "log").rename(life.directory / "log.1")
    life.server.send_signal(Signals.SIGUSR1)
    life.server.wait_for(said, count + 1)


def questions(life: Life) -> None:
    """Questions to the endpoints. If a question gets no answer because of a fault, it is asked again without a
    fault."""
    with suppress(OSError, ValueError):
        _statistics(life)
        json.loads(client.exchange(life.directory / "app.ctl", b'{"command": "status"}\n'))
        worker = json.loads(client.exchange(life.directory / "app.ctl", b'{"command": "status"}\n'))["workers"][0]
        client.exchange(life.directory / "app.ctl", b'{"command": "stacks", "worker": %d}\n' % worker["slot"])
        client.exchange(life.directory / "app.ctl", b'{"command": "dump", "worker": %d}\n' % worker["slot"])
    with suppress(OSError):
        client.exchange(_metrics(life), b"GET /metrics HTTP/1.0\r\n\r\n")
    fd = os.open(life.directory / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"s")
    os.close(fd)


def _statistics(life: Life) -> bytes:
    # a client of the statistics gets them without a request
    with client.connect(life.directory / "stats.sock") as connected:
        return client.read_all(connected)


def _metrics(life: Life) -> tuple[str, int]:
    for connection in psutil.Process(life.server.pid).net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            return connection.laddr[0], connection.laddr[1]
    raise OSError("--metrics has no socket")


def resize(life: Life) -> None:
    life.server.send_signal(Signals.SIGTTIN)
    eventually(lambda: len(life.server.worker_pids()) == WORKERS + 1, "one worker more")
    time.sleep(0.05)
    life.server.send_signal(Signals.SIGTTOU)
    eventually(life.settled, "one worker fewer")


def after(part: str, life: Life) -> None:
    """Check the result of a part, without a fault."""
    if part == "rotation":
        life.server.send_signal(Signals.SIGUSR1)
        eventually(lambda: _holds(life.server.pid, life.directory / "log"), "the master writes into the new log")
    if part == "questions":
        eventually(lambda: _statistics(life).startswith(b"{"), "--stats answers")
    eventually(life.settled, "all is as before")


def _holds(pid: int, path: Path) -> bool:
    links = [os.path.realpath(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return path.exists() and str(path.resolve()) in links


PARTS: dict[str, Callable[[Life], None]] = {
    "respawn": respawn,
    "reload": reload,
    "reload without a spare": reload_without_a_spare,
    "upgrade": upgrade,
    "rotation": rotation,
    "questions": questions,
    "resize": resize,
}
