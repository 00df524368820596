"""What a worker says of itself when wsgidctl asks: one JSON object, to the connection that came with the question.

Rules
* Nothing of this runs, or costs anything, until somebody asks.
* Each question is answered in a greenlet of its own: whoever is slow to read holds up nobody.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent import socket

from wsgid import log
from wsgid.timeouts import RequestGreenlet

ANSWER_S = 10.0  # how long the asker may take to read


class Questions:
    """Answers for one worker.

    Args:
        slot: the worker's.
        greenlets: those that serve requests, as they are at any time.
    """

    def __init__(self, slot: int, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self.slot = slot
        self.greenlets = greenlets

    def take(self, kind: str, arguments: dict[str, Any], fd: int) -> None:
        """Answer later; owns `fd` from now on."""
        gevent.spawn(self._answer, kind, arguments, socket.socket(fileno=fd))

    def _answer(self, kind: str, arguments: dict[str, Any], asker: Any) -> None:
        with asker, gevent.Timeout(ANSWER_S, False):
            try:
                answer = {"ok": True, "worker": self.slot, **KINDS[kind](self, arguments)}
            except Exception as error:
                log.error("the question %r could not be answered", kind, exc_info=True)
                answer = {"ok": False, "error": f"worker {self.slot} failed to answer: {error}"}
            try:
                asker.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:  # the asker has left
                pass


def _requests(questions: Questions, arguments: dict[str, Any]) -> dict[str, Any]:
    """Every request that the application has now."""
    now_s = time.monotonic()
    return {"requests": [
        {"age_s": now_s - one.started_s, "method": one.environ.get("REQUEST_METHOD"),
         "path": one.environ.get("PATH_INFO"), "peer": one.environ.get("REMOTE_ADDR")}
        for one in questions.greenlets() if one.environ is not None]}


KINDS: dict[str, Callable[[Questions, dict[str, Any]], dict[str, Any]]] = {
    "requests": _requests,
}
