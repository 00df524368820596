"""The cause under which the end of a worker is counted: a cause that was known before, else exit status and state."""

import selectors
import signal
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest

from wsgid.config.options import Settings
from wsgid.ipc import scoreboard
from wsgid.ipc.scoreboard import DeathCause, Word
from wsgid.limits.ledger import Ledger
from wsgid.linux.syscall_errors import close
from wsgid.supervisor.boot_failures import BootFailures
from wsgid.supervisor.children import Children
from wsgid.supervisor.deaths import Deaths
from wsgid.supervisor.fleet import Deadlines, Fleet
from wsgid.supervisor.rehearsal import Rehearsal
from wsgid.supervisor.retry import Net
from wsgid.supervisor.slots import Slot, SlotState
from wsgid.supervisor.upgrade import Start

PID = 1 << 30  # no process has this pid
EXIT_0, EXIT_1 = 0, 1 << 8  # wait(2)
KILLED, TERMINATED = int(signal.SIGKILL), int(signal.SIGTERM)
OLD, NEW = 0, 1  # generations


@dataclass(frozen=True)
class End:
    """The end of a worker."""

    state: SlotState
    status: int
    counted: DeathCause
    was_ready: bool = True
    generation: int = NEW
    expected: DeathCause | None = None


ENDS = {
    "by a signal": End(SlotState.READY, KILLED, DeathCause.CRASH),
    "with an error": End(SlotState.READY, EXIT_1, DeathCause.CRASH),
    "with code 0, without an order": End(SlotState.READY, EXIT_0, DeathCause.LEFT),
    "before it was ready": End(SlotState.SPAWNING, EXIT_1, DeathCause.BOOT, was_ready=False),
    "after an order, before it was ready": End(SlotState.DRAINING, TERMINATED, DeathCause.BOOT, was_ready=False),
    "drained, with older code": End(SlotState.DRAINING, EXIT_0, DeathCause.RELOAD, generation=OLD),
    "drained, with the newest code": End(SlotState.DRAINING, EXIT_0, DeathCause.SURPLUS),
    "after it asked to be replaced": End(SlotState.DRAINING, EXIT_0, DeathCause.REQUESTS, expected=DeathCause.REQUESTS),
    "after it had grown too much": End(SlotState.READY, KILLED, DeathCause.EVIL_RSS, expected=DeathCause.EVIL_RSS),
    "held up, by a signal": End(SlotState.ABORTING, KILLED, DeathCause.HUB, expected=DeathCause.HUB),
    "held up, then drained": End(SlotState.DRAINING, EXIT_0, DeathCause.SURPLUS, expected=DeathCause.HUB),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_cause_of_an_end(end: End) -> None:
    fleet = Fleet(1, Deadlines(boot_s=60, mercy_s=60, hub_s=30), proven=True)
    fleet.templates.wanted_generation = NEW
    fleet.slots = [Slot(0, end.state, end.generation, PID, ready_s=1.0 if end.was_ready else inf)]
    board, limits = scoreboard.keep_or_create(), Ledger.keep_or_create(-1, 1)
    board.line(0)[Word.REQUESTS] = 5
    with selectors.DefaultSelector() as selector:
        rehearsal = Rehearsal(Start(("/bin/true",), Path("/")), fleet, lambda: None)
        failures = BootFailures(fleet)
        deaths = Deaths(fleet, Children(Settings(), selector, Net()), rehearsal, board, failures, limits)
        if end.expected:
            deaths.expect(0, end.expected)
        deaths.reaped(PID, end.status, 7)
    assert {cause for cause, count in board.deaths(0).items() if count} == {end.counted}
    assert fleet.slots[0].state is SlotState.VACANT
    assert (board.line(0)[Word.REQUESTS], board.past(0)[Word.REQUESTS]) == (0, 5)  # the sums stay
    assert board.past(0)[Word.CPU_US] == 7
    assert (failures.last is not None) is (end.counted is DeathCause.BOOT)
    for fd in (board.fd, board.past_fd, limits.fd):
        close(fd)


def test_an_unknown_process_changes_nothing() -> None:
    """The application's children come to the master when their parent has ended (PR_SET_CHILD_SUBREAPER)."""
    fleet = Fleet(1, Deadlines(boot_s=60, mercy_s=60, hub_s=30))
    fleet.slots = [Slot(0, SlotState.READY, NEW, PID, ready_s=1.0)]
    board, limits = scoreboard.keep_or_create(), Ledger.keep_or_create(-1, 1)
    with selectors.DefaultSelector() as selector:
        rehearsal = Rehearsal(Start(("/bin/true",), Path("/")), fleet, lambda: None)
        deaths = Deaths(fleet, Children(Settings(), selector, Net()), rehearsal, board, BootFailures(fleet), limits)
        deaths.reaped(PID - 1, KILLED)
    assert fleet.slots[0].state is SlotState.READY and not any(board.deaths(0).values())
    for fd in (board.fd, board.past_fd, limits.fd):
        close(fd)
