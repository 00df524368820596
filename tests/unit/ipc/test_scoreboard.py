"""The layout of the scoreboard: each word has a place of its own, and every counter is kept when its worker dies."""

import os
from enum import IntEnum
from itertools import pairwise

import pytest

from wsgid.ipc import scoreboard
from wsgid.ipc.scoreboard import COUNTERS, DURATION_BOUNDS_US, DeathCause, Word

# all other words: 1
WIDTHS = {Word.STATUS_1XX: 5, Word.DURATIONS: len(DURATION_BOUNDS_US) + 1, Word.DEATHS: len(DeathCause)}


def test_no_word_lies_on_another_and_all_fit_the_line() -> None:
    ends = [word + WIDTHS.get(word, 1) for word in Word]
    assert all(end <= following for end, following in zip(ends, list(Word)[1:]))
    assert max(ends) * 8 <= scoreboard.LINE_BYTES


def test_words_are_declared_in_the_order_of_their_places() -> None:
    assert all(first < second for first, second in pairwise(Word))


def test_what_a_worker_counts_is_among_the_counters() -> None:
    present = {
        Word.HEARTBEAT_NS,
        Word.IN_FLIGHT,
        Word.LAG_US,
        Word.AVERAGE_US,
        Word.HELD_US,
        Word.HUB_LATE_PERMILLE,
        Word.IDLE_GREENLETS,
        Word.OFFLOAD_RUNNING,
        Word.OFFLOAD_WAITING,
        Word.UPGRADED_NOW,
        Word.COLLECTOR_LONGEST_US,
    }
    of_the_master = {Word.SPAWNS, Word.SPAWNED_S, Word.CPU_US, Word.DEATHS}
    for word in set(Word) - present - of_the_master:
        assert word in COUNTERS and word + WIDTHS.get(word, 1) - 1 in COUNTERS


def test_counters_of_another_layout_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade that has moved a word, an old counter would be read under a new name."""
    fds = [scoreboard.create("live"), scoreboard.create("past")]
    assert scoreboard.fits(*fds) and not scoreboard.fits(fds[0], -1)
    moved = IntEnum("Word", {"HEARTBEAT_NS": 1, "IN_FLIGHT": 0})  # type: ignore[misc]
    monkeypatch.setattr(scoreboard, "Word", moved)
    assert not scoreboard.fits(*fds)
    for fd in fds:
        os.close(fd)


def test_a_counter_that_the_application_has_filled_goes_on_at_zero() -> None:
    line = memoryview(bytearray(scoreboard.LINE_BYTES)).cast("Q")
    line[Word.REQUESTS] = scoreboard.WORD_MAX
    scoreboard.add(line, Word.REQUESTS)
    scoreboard.add(line, Word.REQUESTS, 2)
    assert line[Word.REQUESTS] == 2
