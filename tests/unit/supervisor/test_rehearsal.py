"""The rehearsal of an upgrade: when it begins, and what follows from its end."""

import os
from math import inf
from pathlib import Path

import pytest

from wsgid.supervisor.fleet import Deadlines, Fleet
from wsgid.supervisor.rehearsal import Rehearsal
from wsgid.supervisor.upgrade import Start

DEADLINES = Deadlines(boot_s=60, mercy_s=60, hub_s=30)


class Upgrade:
    """Counts how often the new image would be executed."""

    def __init__(self) -> None:
        self.count = 0
        self.refusal: OSError | None = None

    def __call__(self) -> None:
        self.count += 1
        if self.refusal:
            raise self.refusal


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(1, DEADLINES)


@pytest.fixture
def upgrade() -> Upgrade:
    return Upgrade()


def rehearsal_of(command: str, fleet: Fleet, upgrade: Upgrade) -> Rehearsal:
    """A rehearsal whose process is `command`, run by a shell, instead of wsgid."""
    return Rehearsal(Start(("/bin/sh", "-c", command), Path("/")), fleet, upgrade)


def end(rehearsal: Rehearsal) -> None:
    """Wait until the process of the rehearsal has ended, as the master does."""
    _, status = os.waitpid(rehearsal.pid, 0)
    rehearsal.ended(status)


def test_after_a_rehearsal_that_goes_well_the_new_image_is_executed_once(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = rehearsal_of("exit 0", fleet, upgrade)
    rehearsal.request("USR2")
    assert rehearsal.pid and upgrade.count == 0
    end(rehearsal)
    assert (rehearsal.pid, upgrade.count, rehearsal.next_turn_s()) == (0, 1, inf)


def test_the_new_code_is_started_with_check(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = rehearsal_of('test "$0" = --check', fleet, upgrade)  # sh -c COMMAND --check
    rehearsal.request("USR2")
    end(rehearsal)
    assert upgrade.count == 1


def test_there_is_one_rehearsal_at_a_time(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = rehearsal_of("exit 0", fleet, upgrade)
    rehearsal.request("USR2")
    pid = rehearsal.pid
    rehearsal.request("USR2")
    assert rehearsal.pid == pid
    end(rehearsal)


@pytest.mark.parametrize("command", ["exit 1", "kill -KILL $$"])
def test_a_rehearsal_that_the_machine_has_refused_is_tried_again(fleet: Fleet, upgrade: Upgrade, command: str) -> None:
    rehearsal = rehearsal_of(command, fleet, upgrade)
    rehearsal.request("USR2")
    end(rehearsal)
    at_s = rehearsal.next_turn_s()
    assert at_s < inf and upgrade.count == 0
    rehearsal.turn(at_s - 0.001)
    assert rehearsal.pid == 0
    rehearsal.turn(at_s)
    assert rehearsal.pid
    end(rehearsal)


@pytest.mark.parametrize("code", [2, 3])
def test_a_wrong_option_or_application_is_not_tried_again(fleet: Fleet, upgrade: Upgrade, code: int) -> None:
    rehearsal = rehearsal_of(f"exit {code}", fleet, upgrade)
    rehearsal.request("USR2")
    end(rehearsal)
    assert (upgrade.count, rehearsal.next_turn_s()) == (0, inf)


def test_a_rehearsal_that_cannot_be_started_is_tried_again(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = Rehearsal(Start(("/nowhere/python",), Path("/")), fleet, upgrade)
    rehearsal.request("USR2")
    assert rehearsal.pid == 0 and rehearsal.next_turn_s() < inf


def test_an_image_that_the_kernel_does_not_execute_is_tried_again(fleet: Fleet, upgrade: Upgrade) -> None:
    upgrade.refusal = OSError(12, "Cannot allocate memory")
    rehearsal = rehearsal_of("exit 0", fleet, upgrade)
    rehearsal.request("USR2")
    end(rehearsal)
    assert upgrade.count == 1 and rehearsal.next_turn_s() < inf


def test_a_new_upgrade_does_not_wait_for_the_next_attempt(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = rehearsal_of("exit 1", fleet, upgrade)
    rehearsal.request("USR2")
    end(rehearsal)
    rehearsal.request("USR2")
    assert rehearsal.pid and rehearsal.next_turn_s() == inf
    end(rehearsal)


def test_a_server_that_stops_rehearses_nothing(fleet: Fleet, upgrade: Upgrade) -> None:
    rehearsal = rehearsal_of("exit 0", fleet, upgrade)
    rehearsal.request("USR2")
    fleet.request_end()
    end(rehearsal)
    assert upgrade.count == 0
    rehearsal.request("USR2")
    assert rehearsal.pid == 0
