"""What a peer is told whose packet or request is refused, and what the operator is told of that.

Rules
* Each refusal is counted. It is logged at a limited rate, however many there are: docs/decisions/018-refusals.md.
* The answer is one that nginx can show: a status, and one sentence.
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

REFUSALS_PER_S = 1.0  # refused packets are logged at this rate, however many there are
REFUSALS_BURST = 50


class Refusals:
    """The refusals of one worker.

    Args:
        tally: where they are counted.
        lingering: closes the connection after the answer.
    """

    def __init__(self, tally: Tally, lingering: LingeringClose) -> None:
        self._tally = tally
        self._lingering = lingering
        self._logged = RateLimit(REFUSALS_PER_S, REFUSALS_BURST)

    def refuse(self, connection: Connection, error: PeerError) -> None:
        """Answer, and close the connection.

        Raises:
            ClientDisconnected: the peer has left before the answer was sent.
        """
        answer = self._answer(connection, error)
        if connection.opening():  # what we said would not be understood
            connection.close()
            return
        connection.send(*answer)
        self._lingering.close(connection)

    def refuse_late(self, exchange: HttpConnection) -> None:
        """Without a greenlet: nothing of this client is unread, and what the kernel does not take at once is lost."""
        connection = exchange.connection
        answer = self._answer(connection, exchange.late())
        if not connection.opening():
            connection.try_send(b"".join(answer))
        connection.close()

    def _answer(self, connection: Connection, error: PeerError) -> tuple[bytes, bytes]:
        """Head and body; counts and logs that there is one."""
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
            f" ({unsaid} more were refused without a word)" if unsaid else "",
        )
