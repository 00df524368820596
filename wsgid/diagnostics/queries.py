"""What a worker says of itself when wsgidctl asks: one JSON object, to the connection that came with the question.

Rules
* Nothing of this runs, or costs anything, until somebody asks.
* Each question is answered in a greenlet of its own: whoever is slow to read holds up nobody.
* Whoever leaves gets no answer: its greenlet ends at once.
* While the hub is held up, the master's signal has those of AT_ONCE answered in its handler, without the hub.
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
from wsgid.diagnostics import stacks
from wsgid.diagnostics.heap import Heap
from wsgid.diagnostics.profiler import Profiler
from wsgid.errors import WsgidError
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.syscalls import poll

ANSWER_S = 10.0  # how long the asker may take to read
LAST_ANSWER_S = 0.5  # the same, when the worker has nothing else to do any more
LOOK_S = 0.1  # how often we look whether the asker is still there
HELD_UP_ANSWER_S = 1.0  # while everything waits for it
REQUESTS_MAX = 10_000  # in an answer


class Queries:
    """Answers for one worker.

    Args:
        slot: the worker's.
        greenlets: those that serve requests, as they are at any time.
    """

    def __init__(self, slot: int, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self.slot = slot
        self.greenlets = greenlets
        self.profiler = Profiler(greenlets)
        self._answering: dict[gevent.Greenlet, Any] = {}  # with who has asked
        self.heap = Heap()
        self.held_up_at: FrameType | None = None  # in the signal handler: what holds the hub

    def take(self, kind: str, arguments: dict[str, Any], fd: int) -> None:
        """Answer later; owns `fd` from now on."""
        asker = socket.socket(fileno=fd)
        answering = gevent.spawn(self._answer, kind, arguments, asker)
        self._answering[answering] = asker
        answering.link(self._answered)

    def _answered(self, answering: gevent.Greenlet) -> None:
        self._answering.pop(answering, None)

    def abandon(self) -> None:
        """In a process that was forked from the worker: the worker answers."""
        for asker in self._answering.values():
            if asker.fileno() >= 0:
                posix.close(asker.detach())

    def close(self) -> None:
        """The worker ends: say what is known by now."""
        self.profiler.end()
        gevent.joinall(list(self._answering), LAST_ANSWER_S)

    def answer_held_up(self, kind: str, arguments: dict[str, Any], fd: int, frame: FrameType | None) -> None:
        """Answer now, while the hub is held up at `frame`; owns `fd`. Only for the kinds of AT_ONCE."""
        self.held_up_at = frame
        try:
            asker = _socket.socket(fileno=fd)  # not gevent's, which would wait in the hub
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
    if poll(asker.fileno(), 0):  # POLLHUP: it has closed both ways
        answering.kill(block=False)


def _requests(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    """The oldest requests that the application has now, and how many there are."""
    running = [one for one in questions.greenlets() if one.environ is not None]
    limit = min(arguments.get("limit", REQUESTS_MAX), REQUESTS_MAX)
    oldest = heapq.nsmallest(limit, running, key=lambda one: one.started_s)
    return {"requests": [one.facts() for one in oldest], "total": len(running)}


def _stacks(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    began_s = time.monotonic()
    report = stacks.report(questions.greenlets(), questions.held_up_at)
    return {**report, "took_s": round(time.monotonic() - began_s, 4)}


def _memory(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    return questions.heap.report()


def _profile(questions: Queries, arguments: dict[str, Any]) -> dict[str, Any]:
    """Where the time goes, in the next few seconds."""
    return questions.profiler.run(arguments)


KINDS: dict[str, Callable[[Queries, dict[str, Any]], dict[str, Any]]] = {
    "requests": _requests,
    "profile": _profile,
    "stacks": _stacks,
    "memory": _memory,
}
AT_ONCE = frozenset({"requests", "stacks"})  # those that need no hub
