"""What follows each call of the application, for both protocols.

Rules
* In a process that the application has forked, nothing follows: the process ends (docs/decisions/016).
* This work may wait for the peer, and does not count for --harakiri: the greenlet has no request any more.
"""

from wsgid.linux import forked_child
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
        self.serves_nobody = False  # True in a process that the application has forked
        self._tally = tally

    def finish(self, served: Served, me: RequestGreenlet) -> float:
        """The application has returned, or failed. Returns the duration of the request in seconds."""
        if self.serves_nobody:
            forked_child.end_if_one()
        me.environ = None
        if served.interrupted:
            me.spend()
        took_s = monotonic() - me.started_s
        self._tally.record(served, int(took_s * 1e6))
        return took_s
