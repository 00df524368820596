"""Answers to wsgidctl's questions in a worker: one JSON object, sent to the connection that came with the question.

Rules
* Nothing here runs, or costs anything, until somebody asks.
* A greenlet of its own answers each question: a slow reader holds up nobody.
* If the asker leaves, the greenlet of the question ends at once.
* While the hub is held up, the master's signal makes the signal handler answer questions of AT_ONCE without the hub.
"""

import _socket
import heapq
import json
import posix
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from types import FrameType
from typing import Any

import gevent
from gevent import socket
from gevent.hub import get_hub

from wsgid import log
from wsgid.diagnostics import held_sockets, stacks
from wsgid.diagnostics.connections import ConnectionTable, by_peer
from wsgid.diagnostics.heap import Heap
from wsgid.diagnostics.profiler import Profiler
from wsgid.errors import WsgidError
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.syscalls import poll

ANSWER_S = 10.0  # how long the asker may take to read the answer
LAST_ANSWER_S = 0.5  # the same, when the worker has nothing else left to do
LOOK_S = 0.1  # how often the worker checks whether the asker is still connected
HELD_UP_ANSWER_S = 1.0  # the same, while the signal handler answers and everything else waits
REQUESTS_MAX = 10_000  # the most requests in an answer
PEERS_MAX = 1000  # the most peers in an answer


class Queries:
    """Answers the questions to one worker.

    Args:
        slot: the worker's slot.
        greenlets: returns the greenlets that serve requests now.
        connections: the connections that go out of this worker.
    """

    def __init__(
        self, slot: int, greenlets: Callable[[], Iterable[RequestGreenlet]], connections: ConnectionTable
    ) -> None:
        self.slot = slot
        self.connections = connections
        self.greenlets = greenlets
        self.profiler = Profiler(greenlets)
        self._answering: dict[gevent.Greenlet, Any] = {}  # each with the connection of its asker
        self.heap = Heap()
        self.held_up_at: FrameType | None = None  # in the signal handler: the frame that holds the hub

    def take(self, kind: str, arguments: dict[str, Any], fd: int) -> None:
        """Answer a question soon, in a new greenlet.

        Args:
            kind: of the question.
            arguments: of the question.
            fd: the asker's connection; this object owns it from now on.
        """
        asker = socket.socket(fileno=fd)
        answering = gevent.spawn(self._answer, kind, arguments, asker)
        self._answering[answering] = asker
        answering.link(self._answered)

    def _answered(self, answering: gevent.Greenlet) -> None:
        self._answering.pop(answering, None)

    def abandon(self) -> None:
        """Close the connections in a process that was forked from the worker. The worker itself answers."""
        for asker in self._answering.values():
            if asker.fileno() >= 0:
                posix.close(asker.detach())

    def close(self) -> None:
        """The worker ends: send the answers that are ready."""
        self.profiler.end()
        gevent.joinall(list(self._answering), LAST_ANSWER_S)

    def answer_held_up(self, kind: str, arguments: dict[str, Any], fd: int, frame: FrameType | None) -> None:
        """Answer now, while the hub is held up at `frame`. Only for the kinds of AT_ONCE. Owns `fd` from now on."""
        self.held_up_at = frame
        try:
            asker = _socket.socket(fileno=fd)  # not gevent's class, which would wait in the hub
            asker.settimeout(HELD_UP_ANSWER_S)
            asker.sendall(self._said(kind, arguments))
            asker.close()
        except OSError:  # the asker has left, or does not read
            pass
        finally:
            self.held_up_at = None

    def _answer(self, kind: str, arguments: dict[str, Any], asker: Any) -> None:
        with asker, closing(get_hub().loop.timer(LOOK_S, LOOK_S)) as look:
            look.start(_end_if_left, asker, gevent.getcurrent())
            answer = self._said(kind, arguments)
            with gevent.Timeout(ANSWER_S, False):
                try:
                    asker.sendall(answer)
                except OSError:  # the asker has left
                    pass

    def _said(self, kind: str, arguments: dict[str, Any]) -> bytes:
        try:
            answer = {"ok": True, "worker": self.slot, **KINDS[kind](self, arguments)}
        except WsgidError as refusal:
            answer = {"ok": False, "error": str(refusal)}
        except Exception as error:
            log.error("the question %r could not be answered", kind, exc_info=True)
            answer = {"ok": False, "error": f"worker {self.slot} failed to answer: {error}"}
        return json.dumps(answer).encode() + b"\n"


def _end_if_left(asker: Any, answering: gevent.Greenlet) -> None:
    if poll(asker.fileno(), 0):  # POLLHUP: the asker has closed both directions
        answering.kill(block=False)


def _requests(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the oldest requests that the application works on, and how many there are."""
    running = [serving for serving in questions.greenlets() if serving.environ is not None]
    limit = min(arguments.get("limit", REQUESTS_MAX), REQUESTS_MAX)
    oldest = heapq.nsmallest(limit, running, key=lambda serving: serving.started_s)
    return {"requests": [serving.facts() for serving in oldest], "total": len(running)}


def _stacks(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    began_s = time.monotonic()
    if "request" in arguments:
        report = stacks.of_request(questions.greenlets(), arguments["request"], questions.held_up_at)
    else:
        report = stacks.report(questions.greenlets(), questions.held_up_at)
    return {**report, "took_s": round(time.monotonic() - began_s, 4)}


def _memory(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    return questions.heap.report()


def _connections(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the connections that go out, by peer; the peers with the most connections first."""
    in_use = held_sockets.held(questions.greenlets(), questions.held_up_at)
    now_s = time.monotonic()
    questions.connections.take_in(now_s)
    peers = by_peer(questions.connections.connections(), in_use, now_s)
    return {"peers": peers[:PEERS_MAX], "total": sum(peer["count"] for peer in peers)}


def _profile(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    """Profile the next few seconds, and return where the time was spent."""
    return questions.profiler.run(arguments)


KINDS: dict[str, Callable[[Queries, dict[str, Any]], dict[str, Any]]] = {
    "requests": _requests,
    "profile": _profile,
    "stacks": _stacks,
    "memory": _memory,
    "connections": _connections,
}
AT_ONCE = frozenset({"requests", "stacks", "connections"})  # questions that need no hub
