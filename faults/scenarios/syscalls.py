"""Each system call of the master fails once, with each error of its manual page, in each part of a server's life.

    start        the whole life is traced, from wsgid's own first call on
    respawn, reload, upgrade, rotation, questions, resize
                 one server lives on; the master is traced for the length of one fault
    stop         a server for each fault

Rules
* As SQLite tests itself: first the part is recorded without a fault. Then each recorded call is made to fail, one at a
  time.
* After a fault all of this has to hold: every client is answered, the part is done in the end, the log has no
  traceback, the exit code is 0, no process and no file is left. A start that is refused ends with code 1 or 2 and a
  sentence.
* Calls that Python itself makes before wsgid's first call, in the first image and after execve(2), are not made to
  fail: no code of wsgid runs yet that could handle the error.
* Which call is the N-th depends on the moment. So the calls are counted that strace reports as failed.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from faults import strace
from faults.life import OUR_CODE, PARTS, WORKERS, Life, after
from faults.report import Result, Scenario
from faults.strace import Call, Fault
from tests.support.server import Server, eventually


@dataclass
class Found:
    """The result of one part."""

    injected: int = 0
    shapes: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)
    missed: int = 0  # the server took another way, and made fewer of these calls
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
    """The first fault of each of these kinds, where the part has such a fault.

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
    """Make each call fail that the master makes in one part."""
    found, log = Found(), directory / "strace"
    life = Life(directory).visited()
    try:
        with strace.attached(life.server.pid, log, strace.RECORDING):
            PARTS[part](life)
        chosen = choose(strace.faults(_ours(strace.calls(log))))
        for fault in chosen:
            troubles = _suffer(life, part, fault, log)
            found.note(fault, log, troubles)
            # a close that was made to fail leaves a descriptor open
            if troubles or psutil.Process(life.server.pid).num_fds() > 100:
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
    """The calls without the calls that Python makes after execve(2), up to the last module of wsgid that Python
    loads."""
    executed = [at for at, call in enumerate(recorded) if call.name == "execve"]
    loaded = [at for at, call in enumerate(recorded) if OUR_CODE in call.shape and executed and at > executed[0]]
    return recorded[: executed[0] + 1] + recorded[loaded[-1] + 1 :] if loaded else recorded


def start(directory: Path, choose: Choose) -> Found:
    """Make each call fail, from wsgid's first call until the server serves."""
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
    """Start the server: it has to serve in the end, or say why it does not."""
    server = life.server
    try:
        code = eventually(lambda: _code_or_ready(server), "the server serves or ends")
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
    """Make each call fail from SIGTERM on."""
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
    """All parts of a life, each with the chosen faults."""
    found = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
            whole = {"start": start, "stop": stop}.get(part)
            found[part] = whole(Path(name), choose) if whole else live(Path(name), part, choose)
    return found


def results(found: dict[str, Found]) -> list[Result]:
    rows = []
    for part, part_found in found.items():
        names = len({error.partition(" ")[0] for error in part_found.errors})
        rows.append(
            Result(
                f"{part}: every fault is survived",
                f"{part_found.injected:,} faults ({names} calls, {len(part_found.errors)} errors, "
                f"{len(part_found.shapes)} places): {len(part_found.troubles)} troubles",
                part_found.injected > 0 and not part_found.troubles,
            )
        )
    return rows


_LONG = ("start", "upgrade", "stop")  # a process is started for each fault


def syscalls() -> list[Result]:
    """The short parts with every fault. The long parts with each place failing once, and with each error given once."""
    short = run(every, tuple(part for part in PARTS if part not in _LONG))
    return results({**short, **run(strace.covering, _LONG)})


def all_syscalls() -> list[Result]:
    """Every fault of every part. This takes an hour, so it runs only if it is named."""
    return results(run(every))


SCENARIOS: tuple[Scenario, ...] = (syscalls,)
BY_NAME: tuple[Scenario, ...] = (all_syscalls,)
