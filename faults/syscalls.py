"""Each system call of the master fails once: with each error of its manual, in each part of a life.

    start        the whole life is traced, from the first call that is wsgid's own
    respawn, reload, upgrade, rotation, questions, resize
                 one server lives on; the master is traced for the length of one fault
    stop         a server for each fault

Rules
* As SQLite tests itself: first the part is recorded without a fault, then each call in it is failed, one at a time.
* A fault has to leave: every visitor answered, the part done in the end, no traceback in the log, exit code 0, no
  process and no file.  A start that is refused ends with code 1 or 2 and a sentence.
* What Python itself does before wsgid's first call, in the first image and after execve(2), is not failed: there is
  nobody yet who could do better.
* Which call is the N-th depends on the moment; so what counts is what strace says that it has failed.
"""

import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil

import wsgid
from faults import strace
from faults.report import Result
from faults.strace import Call, Fault
from tests.support import client
from tests.support.server import Server, eventually

WORKERS = 3
YOUNG_S = 1.2  # a worker that is killed younger than that has the fleet pause
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


# --- a life ---


class Visitors:
    """Somebody who asks all the time, and counts what goes wrong."""

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
        """Nobody asks now: whoever is in a worker that is killed is lost with it, which is no fault of the master's."""
        with self._asks:
            yield

    def end(self) -> None:
        self._ends.set()
        self._thread.join()


class Life:
    """A server, with visitors and somebody whom systemd would be."""

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
        """What must not be, whatever fails."""
        found = ["a traceback"] if "Traceback" in self.server.log else []
        if self.visitors:
            found += [f"visitors: {one}" for one in self.visitors.failures[:1]]
        return found

    def stop(self) -> list[str]:
        """At the end."""
        if self.visitors:
            self.visitors.end()
            self.visitors = None
        return self.ended(self.server.stop(), (0,), self.directory / "no trace")

    def ended(self, code: int, right: tuple[int, ...], log: Path) -> list[str]:
        """What must not be in the end. A file that the failed call was about, by strace's log, may stay."""
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


# --- the parts that a server lives through, again and again ---


def respawn(life: Life) -> None:
    pids = life.server.worker_pids()
    oldest = min((psutil.Process(pid) for pid in pids), key=lambda one: one.create_time())
    time.sleep(max(0.0, oldest.create_time() + YOUNG_S - time.time()))
    with life.away.away():
        oldest.kill()
        eventually(lambda: oldest.pid not in life.server.worker_pids(), "the worker is dead")
    eventually(life.settled, "it is replaced")


def renewed(life: Life, ask: Callable[[], None]) -> None:
    before = {*life.server.worker_pids(), *life.server.template_pids()}
    ask()
    eventually(
        lambda: life.settled() and not before & {*life.server.worker_pids(), *life.server.template_pids()},
        "all are of a new generation",
    )


def reload(life: Life) -> None:
    renewed(life, lambda: life.server.send_signal(Signals.SIGHUP))


def reload_without_a_spare(life: Life) -> None:
    """By a touched file, from the beginning: a template has to be executed."""
    for child in psutil.Process(life.server.pid).children():
        if " ".join(child.cmdline()).startswith("wsgid: spare"):
            child.kill()
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
    """To the endpoints. A question that gets no answer under a fault is asked again without."""
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
    with client.connect(life.directory / "stats.sock") as connected:  # who connects gets them, unasked
        return client.read_all(connected)


def _metrics(life: Life) -> tuple[str, int]:
    for one in psutil.Process(life.server.pid).net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN:
            return one.laddr[0], one.laddr[1]
    raise OSError("--metrics has no socket")


def resize(life: Life) -> None:
    life.server.send_signal(Signals.SIGTTIN)
    eventually(lambda: len(life.server.worker_pids()) == WORKERS + 1, "one worker more")
    time.sleep(0.05)
    life.server.send_signal(Signals.SIGTTOU)
    eventually(life.settled, "one fewer")


def after(part: str, life: Life) -> None:
    """What has to be in the end, without a fault."""
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


# --- what is found ---


@dataclass
class Found:
    """Of one part."""

    injected: int = 0
    shapes: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)
    missed: int = 0  # the life took another way, and made fewer of these calls
    troubles: list[str] = field(default_factory=list)

    def note(self, fault: Fault, log: Path, troubles: list[str]) -> None:
        shapes, was_pythons = strace.injected(log)
        if was_pythons:
            troubles = []
        self.injected += len(shapes)
        self.missed += not shapes
        self.shapes |= set(shapes)
        if shapes:
            self.errors.add(f"{fault.call.name} {fault.error}")
        self.troubles += [f"{fault}: {trouble}" for trouble in troubles]


Choose = Callable[[list[Fault]], list[Fault]]


def every(found: list[Fault]) -> list[Fault]:
    return found


class Pick:
    """The first fault of each of these kinds, where the part has it.

    Args:
        kinds: a call and an error each: "socketpair EMFILE".
    """

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds

    def __call__(self, found: list[Fault]) -> list[Fault]:
        firsts: dict[str, Fault] = {}
        for fault in found:
            firsts.setdefault(f"{fault.call.name} {fault.error}", fault)
        return [firsts[kind] for kind in self._kinds if kind in firsts]


def live(directory: Path, part: str, choose: Choose) -> Found:
    """Fail each call that the master makes in one part."""
    found, log = Found(), directory / "strace"
    life = Life(directory).visited()
    try:
        with strace.attached(life.server.pid, log, strace.RECORDING):
            PARTS[part](life)
        chosen = choose(strace.faults(_ours(strace.calls(log))))
        for fault in chosen:
            troubles = _suffer(life, part, fault, log)
            found.note(fault, log, troubles)
            if troubles or psutil.Process(life.server.pid).num_fds() > 100:  # a close that was failed leaves one open
                life.end()
                life = Life(directory).visited()
        found.troubles += life.stop()
    finally:
        life.end()
    return found


def _suffer(life: Life, part: str, fault: Fault, log: Path) -> list[str]:
    log.unlink(missing_ok=True)
    try:
        with strace.attached(life.server.pid, log, fault.arguments()):
            PARTS[part](life)
        after(part, life)
    except (AssertionError, OSError, psutil.Error, RuntimeError) as error:
        return [f"{part}: {error}"[:300], *life.troubles(), life.server.log[-2000:]]
    return life.troubles()


def _ours(recorded: list[Call]) -> list[Call]:
    """Without what Python does after execve(2), up to the last module of ours that it loads."""
    executed = [at for at, call in enumerate(recorded) if call.name == "execve"]
    loaded = [at for at, call in enumerate(recorded) if OUR_CODE in call.shape and executed and at > executed[0]]
    return recorded[: executed[0] + 1] + recorded[loaded[-1] + 1 :] if loaded else recorded


def start(directory: Path, choose: Choose) -> Found:
    """Fail each call from wsgid's first one on, until it serves."""
    found, log = Found(), directory / "strace"
    life = Life(directory, strace.command(log, strace.RECORDING))
    try:
        life.server.wait_ready(WORKERS)
        recorded = strace.calls(log)
        life.stop()
    finally:
        life.end()
    own = max(at for at, call in enumerate(recorded) if OUR_CODE in call.shape)
    for fault in choose(strace.faults(recorded[own + 1 :])):
        log.unlink(missing_ok=True)
        life = Life(directory, strace.command(log, fault.arguments()))
        try:
            found.note(fault, log, _begin(life, log))
        finally:
            life.end()
    return found


def _begin(life: Life, log: Path) -> list[str]:
    """It serves in the end, or says why it does not."""
    server = life.server
    try:
        code = eventually(lambda: _code_or_ready(server), "it serves or ends")
    except AssertionError as error:
        return [str(error), server.log]
    if code == "ready":
        found = life.ended(server.stop(), (0,), log)
    else:
        found = life.ended(server.wait(), (1, 2), log)
        found += [] if " ERROR: " in server.log else ["no sentence"]
    found += life.troubles()
    return [*found, server.log] if found else []


def _code_or_ready(server: Server) -> str:
    if len(re.findall(r"worker \d+ .* is ready", server.log)) >= WORKERS:
        return "ready"
    return "ended" if server._process.poll() is not None else ""


def stop(directory: Path, choose: Choose) -> Found:
    """Fail each call from SIGTERM on."""
    found, log = Found(), directory / "strace"
    _term(directory, log, strace.RECORDING)
    for fault in choose(strace.faults(strace.calls(log))):
        log.unlink(missing_ok=True)
        found.note(fault, log, _term(directory, log, fault.arguments()))
    return found


def _term(directory: Path, log: Path, arguments: list[str]) -> list[str]:
    life = Life(directory)
    try:
        life.server.wait_ready(WORKERS)
        with strace.attached(life.server.pid, log, arguments):
            code = life.server.stop()
        found = life.ended(code, (0,), log) + life.troubles()
        return [*found, life.server.log] if found else []
    except Exception as error:
        return [repr(error)[:300], life.server.log]
    finally:
        life.end()


def run(choose: Choose, parts: tuple[str, ...] = ("start", *PARTS, "stop")) -> dict[str, Found]:
    """All parts of a life, each with the faults that are chosen."""
    found = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
            whole = {"start": start, "stop": stop}.get(part)
            found[part] = whole(Path(name), choose) if whole else live(Path(name), part, choose)
    return found


def results(found: dict[str, Found]) -> list[Result]:
    rows = []
    for part, one in found.items():
        names = len({error.partition(" ")[0] for error in one.errors})
        rows.append(
            Result(
                f"{part}: every fault is survived",
                f"{one.injected:,} faults ({names} calls, {len(one.errors)} errors, "
                f"{len(one.shapes)} places): {len(one.troubles)} troubles",
                one.injected > 0 and not one.troubles,
            )
        )
    return rows


_LONG = ("start", "upgrade", "stop")  # a process is started for each fault


def syscalls() -> list[Result]:
    """Every fault of the short parts; of the long ones, every place with an error, and every error at a place."""
    short = run(every, tuple(part for part in PARTS if part not in _LONG))
    return results({**short, **run(strace.covering, _LONG)})


def all_syscalls() -> list[Result]:
    """Every fault of every part: an hour, so only where it is asked for by name."""
    return results(run(every))


SCENARIOS = (syscalls,)
BY_NAME = (all_syscalls,)
