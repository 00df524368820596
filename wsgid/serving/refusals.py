"""The answers to refused packets and requests, and the log lines about them.

Rules
* Each refusal is counted. The log has them at a limited rate, whatever their number: docs/decisions/018-refusals.md.
* The answer is a status and one sentence, which nginx can show.
"""

import time

from wsgid import log
from wsgid.errors import PeerError
from wsgid.ipc.scoreboard import Word
from wsgid.log.rate_limit import RateLimit
from wsgid.serving.connection import Connection
from wsgid.serving.http_connection import HttpConnection, date_line
from wsgid.serving.lingering_close import LingeringClose
from wsgid.serving.tally import Tally

REFUSALS_PER_S = 1.0  # the rate of log lines about refused packets
REFUSALS_BURST = 50


class Refusals:
    """The refusals of a worker.

    Args:
        tally: counts them.
        lingering: closes the connection after the answer.
    """

    def __init__(self, tally: Tally, lingering: LingeringClose) -> None:
        self._tally = tally
        self._lingering = lingering
        self._logged = RateLimit(REFUSALS_PER_S, REFUSALS_BURST)

    def refuse(self, connection: Connection, error: PeerError) -> None:
        """Answer, and close the connection.

        Args:
            connection: of the peer.
            error: the reason.

        Raises:
            ClientDisconnected: the peer has left before the answer was sent.
        """
        answer = self._answer(connection, error)
        if connection.opening():  # the peer could not understand the answer
            connection.close()
            return
        connection.send(*answer)
        self._lingering.close(connection)

    def refuse_late(self, exchange: HttpConnection) -> None:
        """Refuse without a greenlet. All bytes of this client are read. Bytes that the kernel does not take at once are
        lost."""
        connection = exchange.connection
        answer = self._answer(connection, exchange.late())
        if not connection.opening():
            connection.try_send(b"".join(answer))
        connection.close()

    def _answer(self, connection: Connection, error: PeerError) -> tuple[bytes, bytes]:
        """Return head and body of the answer; count and log the refusal."""
        self._tally.count(Word.REJECTED)
        self._log(connection, error)
        text = f"{error}\n".encode("latin-1", "replace")
        last = f"{date_line()}Connection: close\r\n" if connection.http else ""
        head = (
            f"HTTP/1.1 {error.status_hint}\r\nContent-Type: text/plain; charset=latin-1\r\n"
            f"Content-Length: {len(text)}\r\n{last}\r\n"
        )
        return head.encode("ascii"), text

    def _log(self, connection: Connection, error: PeerError) -> None:
        if not self._logged.admit(time.monotonic()):
            return
        unsaid = self._logged.take_refused()
        log.warning(
            "refused a packet from %s: %s%s",
            connection.peer(),
            error,
            f" (and {unsaid} more that are not logged)" if unsaid else "",
        )
