"""The connections that go out of this process: to databases, caches and services.

    the worker's round -> look: a few descriptors each time -> report what is there to the master (--metrics)
    wsgidctl's question -> take_in: all descriptors now

Rules
* A connection is a connected stream socket. Listeners, connections that were accepted and wsgid's own sockets do not
  count.
* The kernel does not tell when a socket was made. So the regular round looks at the descriptors, and notes when a
  socket was there first. A descriptor's number and inode name the socket.
* A round looks for at most BUDGET_S. With ten thousand descriptors, a look at all of them takes half a minute, and no
  request waits for it.  Numbers are tried one by one: a list of /proc/self/fd would take 10 ms at once.
* A sweep over many descriptors that finds nothing new is followed by a pause of PAUSE times its duration: a crowd that
  sleeps costs next to nothing.
* A worker that rests (serving/rounds.py) looks every two seconds, unless the present sweep has found a new connection.
* As long as there are no more descriptors than before the first request, nothing is looked at.
* A socket that vanishes while it is looked at is no error.
"""

import _socket
import math
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from wsgid.application import forks, peers
from wsgid.ipc.peer_counts import busiest
from wsgid.records import dataclass
from wsgid.serving.clock import ROUND_S

BUDGET_S = ROUND_S / 2000  # of each round; one descriptor takes 1.5 us
SWEEP_S = 1.0  # a look at all descriptors begins at most once in this time
PAUSE = 3  # see the rules
CHECK_S = 10.0  # the same for the question whether known connections still are connected, which takes 7 us for each
REPORT_S = 10.0  # an unchanged report is repeated after this time: the master may be a new image (SIGUSR2)
_STANDARD_FDS = 3  # under systemd, standard output is a connection to the journal

_perf_counter = time.perf_counter


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that goes out.

    Args:
        inode: of the socket.
        peer: as an operator writes it.
        local: its own name.
        since_s: when it was seen first, by the monotonic clock.
    """

    inode: int
    peer: str
    local: Any
    since_s: float


class ConnectionTable:
    """The connections of one worker.

    Args:
        report: gets how many connections there are for each peer; returns False if it has to be called again. None if
            there is no --metrics.
    """

    def __init__(self, report: Callable[[dict[str, int]], bool] | None = None) -> None:
        self._report = report
        self._found: dict[int, Connection] = {}  # by descriptor
        self._others: dict[int, int] = {}  # sockets that are no connections: descriptor -> inode
        self._listening: dict[int, Any] = {}  # the application's own listeners: descriptor -> name
        self._standard = set(filter(None, map(_inode, range(_STANDARD_FDS))))
        self._size = 0  # no descriptor had this number or a higher one
        self._next = self._end = 0  # of the present sweep
        self._checks = False  # whether the present sweep also asks for known connections
        self._is_new = False  # whether the present sweep has found a new socket
        self._hurries = False  # whether that was a connection: others may follow
        self._began_s = self._sweep_at_s = self._check_at_s = self._report_at_s = 0.0
        self._reported: dict[str, int] = {}
        self._quiet = 0  # how many descriptors there are without connections

    def start(self, now_s: float) -> None:
        """Find what is there before the first request.

        Args:
            now_s: of time.monotonic().
        """
        self.take_in(now_s)
        self._quiet = 0 if self._found else _count()

    def look(self, now_s: float) -> None:
        """Look at some descriptors. Called by the worker's round.

        Args:
            now_s: of time.monotonic().
        """
        if self._next >= self._end and (now_s < self._sweep_at_s or not self._begin(now_s)):
            return
        until_s = _perf_counter() + BUDGET_S
        while self._next < self._end:
            self._look_at(self._next, now_s, self._checks)
            self._next += 1
            if _perf_counter() >= until_s:
                break
        if self._next >= self._end:
            if not self._is_new:
                self._sweep_at_s = max(self._sweep_at_s, now_s + PAUSE * (now_s - self._began_s))
            self._tell(now_s)

    def due_s(self) -> float:
        """Return when `look` has to be called again, beside the calls of a resting worker: at once (-inf) while there
        are new connections to find."""
        return -math.inf if self._hurries and self._next < self._end else math.inf

    def _begin(self, now_s: float) -> bool:
        """Begin a sweep. Returns False if there is nothing to find."""
        self._began_s, self._is_new, self._hurries = now_s, False, False
        self._sweep_at_s = now_s + SWEEP_S
        if not self._found and not self._reported and 0 < _count() <= self._quiet:
            return False
        self._next, self._end = 0, self._measure()
        self._checks = now_s >= self._check_at_s
        if self._checks:
            self._check_at_s = now_s + CHECK_S
        return True

    def take_in(self, now_s: float) -> None:
        """Look at all descriptors.

        Args:
            now_s: of time.monotonic().
        """
        for fd in range(self._measure()):
            self._look_at(fd, now_s, True)

    def _measure(self) -> int:
        """Return a number that no descriptor reaches."""
        self._size = table_size() or self._size
        return self._size

    def connections(self) -> dict[int, Connection]:
        """Return the connections by their descriptors, as far as they were seen."""
        accepted = set(self._listening.values())
        return {fd: found for fd, found in self._found.items() if _comparable(found.local) not in accepted}

    def _look_at(self, fd: int, now_s: float, checks: bool) -> None:
        inode = _inode(fd)
        before = self._found.get(fd)
        known = before.inode if before and not checks else self._others.get(fd)
        if inode and known == inode:
            return
        self._is_new |= bool(before is None and inode) or bool(before and before.inode != inode)
        self._found.pop(fd, None)
        self._others.pop(fd, None)
        self._listening.pop(fd, None)
        if not inode:
            return
        if inode in self._standard:
            self._others[fd] = inode
            return
        try:
            self._classify(fd, inode, before.since_s if before and before.inode == inode else now_s, now_s)
        except OSError:  # it is not connected yet, or no longer, or was closed meanwhile
            pass

    def _classify(self, fd: int, inode: int, since_s: float, now_s: float) -> None:
        """Find out what kind of socket this is. Raises OSError if it is a stream socket that is not connected."""
        with peers.copy_of(fd) as copy:
            local = copy.getsockname()
            if _listens(copy):
                self._listening[fd] = _comparable(local)
            peer = "" if forks.is_of_listener(local) else peers.peer_of(copy)
        if peer:
            self._hurries |= since_s == now_s
            self._found[fd] = Connection(inode, peer, local, since_s)
        else:
            self._others[fd] = inode

    def _tell(self, now_s: float) -> None:
        if self._report is None:
            return
        counts = count(self.connections().values())
        if counts == self._reported and (not counts or now_s < self._report_at_s):
            return
        if self._report(counts):
            self._reported, self._report_at_s = counts, now_s + REPORT_S


def count(connections: Iterable[Connection]) -> dict[str, int]:
    """Return how many connections there are for each peer, in the form of ipc/peer_counts.py."""
    return busiest(Counter(found.peer for found in connections))


def by_peer(connections: Mapping[int, Connection], in_use: Set[int], now_s: float) -> list[dict[str, Any]]:
    """Return a summary for each peer, the peer with the most connections first.

    Args:
        connections: by their descriptors.
        in_use: descriptors that requests hold.
        now_s: of time.monotonic().
    """
    peers: dict[str, list[tuple[bool, float]]] = {}
    for fd, found in connections.items():
        peers.setdefault(found.peer, []).append((fd in in_use, now_s - found.since_s))
    return [
        {
            "peer": peer,
            "count": len(seen),
            "in_use": sum(used for used, _ in seen),
            "oldest_s": round(max(age_s for _, age_s in seen), 1),
            "youngest_s": round(min(age_s for _, age_s in seen), 1),
        }
        for peer, seen in sorted(peers.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def table_size() -> int:
    """Return a number that no descriptor of this process reaches (proc_pid_status(5), FDSize). 0 if the kernel does not
    tell: no descriptor is left for the question, or there is no /proc."""
    try:
        with open("/proc/self/status", "rb") as status:
            return next((int(line.split()[1]) for line in status if line.startswith(b"FDSize:")), 0)
    except OSError:
        return 0


def _listens(copy: Any) -> bool:
    return bool(copy.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))


def _comparable(name: Any) -> Any:
    """Return what a listener and its accepted connections have in common. For TCP that is the port, because a listener
    may have all addresses of the machine."""
    return name[1] if isinstance(name, tuple) else name


def _count() -> int:
    """Return how many descriptors there are; 0 before Linux 6.2."""
    try:
        return os.stat("/proc/self/fd").st_size
    except OSError:
        return 0


def _inode(fd: int) -> int:
    """Return the inode of a socket; 0 if this is none."""
    try:
        status = os.fstat(fd)
    except OSError:
        return 0
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0
