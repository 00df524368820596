"""--reuse-port: each worker accepts from a socket of its own, and no socket is ever without a worker.

    share 0: one socket of each address -> the worker of seat 0; while there is none, any other
    share 1:                            -> the worker of seat 1 ...

Rules
* The master binds the sockets and keeps them: what waits in the queue of a worker that dies waits on, for the next.
* None is closed before the end, even when there are fewer workers: closing resets what waits in its queue.
* Two workers may accept from one socket, as all do without --reuse-port: so handing one over needs no agreement.
docs/decisions/010-reuse-port.md says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest

from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.sockets import listener
from wsgid.sockets.listener import Listener


def deal(shares: int, seats: Sequence[int]) -> list[set[int]]:
    """Which worker accepts from which shares: each from that of its seat. The shares that then have no worker are
    spread over the workers, one after the other.

    Args:
        shares: how many there are, from 1 on.
        seats: of the workers that serve.

    Returns the shares of each of these workers.
    """
    dealt = [{seat % shares} for seat in seats]
    for share in set(range(shares)).difference(*dealt) if dealt else ():
        dealt[share % len(dealt)].add(share)
    return dealt


class ReusePort:
    """The sockets with SO_REUSEPORT, and who has which.

    Args:
        listeners: all of the server's; those of one address in the order of their shares.
        backlog: for those to come.
    """

    def __init__(self, listeners: Sequence[Listener], backlog: int) -> None:
        addresses: dict[str, list[Listener]] = {}
        for each in listeners:
            if each.reuse_port:
                addresses.setdefault(each.spec, []).append(each)
        self._shares = [[each for each in share if each] for share in zip_longest(*addresses.values())]
        self._backlog = backlog
        self._held: dict[Channel, set[int]] = {}

    def grow(self, count: int) -> list[Listener]:
        """Make it so many shares, if there are fewer. Returns the new sockets.

        Raises:
            ListenerError: the kernel refuses one.
        """
        added = []
        while self._shares and len(self._shares) < count:
            self._shares.append([listener.open_share(other, self._backlog) for other in self._shares[0]])
            added += self._shares[-1]
        return added

    def deal(self, workers: Mapping[Channel, int | None]) -> None:
        """Tell the workers what has changed.

        Args:
            workers: all that can be told something, and their seats; None for those that do not serve.
        """
        if not self._shares:
            return
        seats = {worker: seat for worker, seat in workers.items() if seat is not None}
        wanted = dict(zip(seats, deal(len(self._shares), list(seats.values()))))
        self._held = {worker: self._held.get(worker, set()) for worker in workers}
        for worker, held in self._held.items():
            for number in wanted.get(worker, set()) - held:
                share = self._shares[number]
                order = messages.LendSockets(number, [asdict(each.spoken) for each in share])
                if worker.send(order, [each.socket.fileno() for each in share]):  # else again, in the next turn
                    held.add(number)
            for number in held - wanted.get(worker, set()):
                if worker.send(messages.ReturnSockets(number)):
                    held.discard(number)
