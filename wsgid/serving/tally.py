"""The counters of a worker for its connections and requests, in its own line of the scoreboard.

Rules
* Only this worker writes the line, so counting needs no lock.
* Sums are modulo 2^64, as in C, because the application can write to the line.
* The indexes of the words are taken once, here: Word is an Enum, and looking a member up for each request costs too
  much.
"""

from bisect import bisect_left

from wsgid.ipc.scoreboard import DURATION_BOUNDS_US, WORD_MAX, Word
from wsgid.wsgi.response import Outcome, Served

# Looking a member up through its class costs several times as much, on Python 3.11.
_COMPLETE, _FAILED, _TORN, _DISCONNECTED = Outcome
_COUNTED = {_FAILED: Word.FAILED, _TORN: Word.TORN, _DISCONNECTED: Word.DISCONNECTED}
_IN_FLIGHT, _REQUESTS, _SENT_BYTES = int(Word.IN_FLIGHT), int(Word.REQUESTS), int(Word.SENT_BYTES)
_BUSY_US, _AVERAGE_US, _DURATIONS = int(Word.BUSY_US), int(Word.AVERAGE_US), int(Word.DURATIONS)
_STATUS_0XX = int(Word.STATUS_1XX) - 1
_UPGRADED = 101
_FIRST_BOUND_US = DURATION_BOUNDS_US[0]
_FRONTED, _FRONT_US, _WAITING_US = int(Word.FRONTED), int(Word.FRONT_US), int(Word.WAITING_US)
_READING_US, _SENDING_US = int(Word.READING_US), int(Word.SENDING_US)
_WORD_MAX = WORD_MAX


class Tally:
    """The counters of one worker.

    Args:
        line: the worker's words of the scoreboard.
    """

    def __init__(self, line: memoryview) -> None:
        self._line = line

    def count(self, word: Word) -> None:
        """Add one to this counter."""
        self._line[word] = (self._line[word] + 1) & _WORD_MAX

    def show(self, word: Word, value: int) -> None:
        """Show this present value."""
        self._line[word] = value

    def show_in_flight(self, connections: int) -> None:
        """Show how many connections hold a place of --gevent."""
        self._line[_IN_FLIGHT] = connections

    def record(self, served: Served, duration_us: int) -> None:
        """Count an answer, by its outcome, status, size and duration. The life of an upgraded connection is no
        duration."""
        line = self._line
        line[_REQUESTS] = (line[_REQUESTS] + 1) & _WORD_MAX
        line[_SENT_BYTES] = (line[_SENT_BYTES] + served.sent_bytes) & _WORD_MAX
        if served.status == _UPGRADED:
            duration_us = 0
        line[_BUSY_US] = (line[_BUSY_US] + duration_us) & _WORD_MAX
        line[_AVERAGE_US] = (line[_AVERAGE_US] + duration_us) >> 1
        # Most requests are in the first bucket, and bisect costs more than the rest of this function.
        bucket = _DURATIONS + (bisect_left(DURATION_BOUNDS_US, duration_us) if duration_us > _FIRST_BOUND_US else 0)
        line[bucket] = (line[bucket] + 1) & _WORD_MAX
        if served.status:
            kind = _STATUS_0XX + served.status // 100
            line[kind] = (line[kind] + 1) & _WORD_MAX
        if served.outcome is not _COMPLETE:
            self.count(_COUNTED[served.outcome])

    def record_front(self, front_us: int) -> None:
        """Count a request that says when it reached the server in front: how long ago that was."""
        self._line[_FRONTED] = (self._line[_FRONTED] + 1) & _WORD_MAX
        self._line[_FRONT_US] = (self._line[_FRONT_US] + front_us) & _WORD_MAX

    def record_turn(self, waited_us: int) -> None:
        """Count how long a request waited in this worker for its turn."""
        self._line[_WAITING_US] = (self._line[_WAITING_US] + waited_us) & _WORD_MAX

    def record_waits(self, read_us: int, send_us: int) -> None:
        """Count how long a request waited for its client: for bytes, and until the client took bytes."""
        self._line[_READING_US] = (self._line[_READING_US] + read_us) & _WORD_MAX
        self._line[_SENDING_US] = (self._line[_SENDING_US] + send_us) & _WORD_MAX
