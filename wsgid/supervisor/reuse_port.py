"""--reuse-port: each worker accepts from a socket of its own, and every socket always has a worker.

    share 0: one socket of each address -> the worker of seat 0; any other worker while there is none
    share 1:                            -> the worker of seat 1 ...

Rules
* The master binds the sockets and keeps them. If a worker dies, the connections in its queue wait for the next worker.
* No socket is closed before the server ends, even with fewer workers: closing would reset connections in its queue.
* Two workers may accept from one socket for a while, as all workers do without --reuse-port. So a socket can change
  hands without an agreement.
docs/decisions/010-reuse-port.md has the reasons.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.records import asdict
from wsgid.sockets import listener
from wsgid.sockets.listener import Listener


def deal(shares: int, seats: Sequence[int]) -> list[set[int]]:
    """Assign each worker its own share, and spread shares without a worker round-robin.

    Args:
        shares: the number of shares, from 1 on.
        seats: of the workers that serve.

    Returns:
        The shares of each of these workers.
    """
    dealt = [{seat % shares} for seat in seats]
    for share in set(range(shares)).difference(*dealt) if dealt else ():
        dealt[share % len(dealt)].add(share)
    return dealt


class ReusePort:
    """The sockets with SO_REUSEPORT, and the workers that have them.

    Args:
        listeners: all listeners of the server; those of one address are in the order of their shares.
        backlog: of further sockets.
    """

    def __init__(self, listeners: Sequence[Listener], backlog: int) -> None:
        addresses: dict[str, list[Listener]] = {}
        for bound in listeners:
            if bound.reuse_port:
                addresses.setdefault(bound.spec, []).append(bound)
        self._shares = [[bound for bound in share if bound] for share in zip_longest(*addresses.values())]
        self._backlog = backlog
        self._held: dict[Channel, set[int]] = {}

    def grow(self, count: int) -> list[Listener]:
        """Add shares until there are `count`. Returns the new sockets.

        Raises:
            ListenerError: the kernel refused a socket.
        """
        added = []
        while self._shares and len(self._shares) < count:
            self._shares.append([listener.open_share(first, self._backlog) for first in self._shares[0]])
            added += self._shares[-1]
        return added

    def deal(self, workers: Mapping[Channel, int | None]) -> None:
        """Send the workers what has changed.

        Args:
            workers: all workers with an open channel, and their seats; None for those that do not serve.
        """
        if not self._shares:
            return
        seats = {worker: seat for worker, seat in workers.items() if seat is not None}
        wanted = dict(zip(seats, deal(len(self._shares), list(seats.values()))))
        self._held = {worker: self._held.get(worker, set()) for worker in workers}
        for worker, held in self._held.items():
            for number in wanted.get(worker, set()) - held:
                share = self._shares[number]
                order = messages.LendSockets(number, [asdict(lent.spoken) for lent in share])
                if worker.send(order, [lent.socket.fileno() for lent in share]):  # otherwise again in the next turn
                    held.add(number)
            for number in held - wanted.get(worker, set()):
                if worker.send(messages.ReturnSockets(number)):
                    held.discard(number)
