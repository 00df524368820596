"""What follows each call of the application, for both protocols.

Rules
* `at_end` has what only some workers do: to end a process that the application has forked (docs/decisions/016), and to
  give back permits (permits.py). Otherwise the list is empty.
* This work may wait for the peer, and does not count for --harakiri: the greenlet has no request any more.
"""

import time
from collections.abc import Callable

from wsgid.serving import phases
from wsgid.serving.connection import Connection
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.syscalls import monotonic
from wsgid.serving.tally import Tally
from wsgid.wsgi.response import Served


class Completion:
    """The ends of a worker's requests.

    Args:
        tally: counts them.
    """

    def __init__(self, tally: Tally) -> None:
        self.at_end: list[Callable[[RequestGreenlet], None]] = []  # further work at the end of each request
        self._tally = tally

    def note_front(self, stamp: str, me: RequestGreenlet) -> None:
        """A request says when it reached the server in front: count how long that was before its turn here."""
        front_us = phases.front_us(stamp, time.time() - (monotonic() - me.started_s))
        if front_us >= 0:
            self._tally.record_front(front_us)

    def note_turn(self, waited_s: float) -> None:
        """A request has waited in this worker for its turn."""
        self._tally.record_turn(int(waited_s * 1e6))

    def finish(self, served: Served, me: RequestGreenlet, connection: Connection) -> float:
        """The application has returned, or failed. Returns the duration of the request in seconds."""
        if self.at_end:
            self.run_at_end(me)
        me.environ = None
        if served.interrupted:
            me.spend()
        took_s = monotonic() - me.started_s
        self._tally.record(served, int(took_s * 1e6))
        if connection.has_waited:
            self._note_waits(connection)
        return took_s

    def _note_waits(self, connection: Connection) -> None:
        self._tally.record_waits(int(connection.read_wait_s * 1e6), int(connection.send_wait_s * 1e6))
        connection.has_waited = False
        connection.read_wait_s = connection.send_wait_s = 0.0

    def run_at_end(self, me: RequestGreenlet) -> None:
        """Do what `at_end` says. Also called if the request was cut outside of its application call."""
        for work in self.at_end:
            work(me)
