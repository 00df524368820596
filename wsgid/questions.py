"""What a worker says of itself when wsgidctl asks: one JSON object, to the connection that came with the question.

Rules
* Nothing of this runs, or costs anything, until somebody asks.
* Each question is answered in a greenlet of its own: whoever is slow to read holds up nobody.
* Whoever leaves gets no answer: its greenlet ends at once.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import gevent
from gevent import socket
from gevent.hub import get_hub

from wsgid import log
from wsgid.errors import WsgidError
from wsgid.profiler import Profiler
from wsgid.syscalls import poll
from wsgid.timeouts import RequestGreenlet

ANSWER_S = 10.0  # how long the asker may take to read
LAST_ANSWER_S = 0.5  # the same, when the worker has nothing else to do any more
LOOK_S = 0.1  # how often we look whether the asker is still there


class Questions:
    """Answers for one worker.

    Args:
        slot: the worker's.
        greenlets: those that serve requests, as they are at any time.
    """

    def __init__(self, slot: int, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self.slot = slot
        self.greenlets = greenlets
        self.profiler = Profiler(greenlets)
        self._answering: set[gevent.Greenlet] = set()

    def take(self, kind: str, arguments: dict[str, Any], fd: int) -> None:
        """Answer later; owns `fd` from now on."""
        answering = gevent.spawn(self._answer, kind, arguments, socket.socket(fileno=fd))
        self._answering.add(answering)
        answering.link(self._answering.discard)

    def close(self) -> None:
        """The worker ends: say what is known by now."""
        self.profiler.end()
        gevent.joinall(list(self._answering), LAST_ANSWER_S)

    def _answer(self, kind: str, arguments: dict[str, Any], asker: Any) -> None:
        with asker, closing(get_hub().loop.timer(LOOK_S, LOOK_S)) as look:
            look.start(_end_if_left, asker, gevent.getcurrent())
            try:
                answer = {"ok": True, "worker": self.slot, **KINDS[kind](self, arguments)}
            except WsgidError as refusal:
                answer = {"ok": False, "error": str(refusal)}
            except Exception as error:
                log.error("the question %r could not be answered", kind, exc_info=True)
                answer = {"ok": False, "error": f"worker {self.slot} failed to answer: {error}"}
            with gevent.Timeout(ANSWER_S, False):
                try:
                    asker.sendall(json.dumps(answer).encode() + b"\n")
                except OSError:  # the asker has left
                    pass


def _end_if_left(asker: Any, answering: gevent.Greenlet) -> None:
    if poll(asker.fileno(), 0):  # POLLHUP: it has closed both ways
        answering.kill(block=False)


def _requests(questions: Questions, arguments: dict[str, Any]) -> dict[str, Any]:
    """Every request that the application has now."""
    now_s = time.monotonic()
    return {"requests": [
        {"age_s": now_s - one.started_s, "method": one.environ.get("REQUEST_METHOD"),
         "path": one.environ.get("PATH_INFO"), "peer": one.environ.get("REMOTE_ADDR")}
        for one in questions.greenlets() if one.environ is not None]}


def _profile(questions: Questions, arguments: dict[str, Any]) -> dict[str, Any]:
    """Where the time goes, in the next few seconds."""
    return questions.profiler.run(arguments)


KINDS: dict[str, Callable[[Questions, dict[str, Any]], dict[str, Any]]] = {
    "requests": _requests,
    "profile": _profile,
}
