"""wsgidctl's commands: one JSON object a line in, one JSON object out.

    {"command": "reload"}  ->  {"ok": true, ...}  or  {"ok": false, "error": "one sentence"}

Rules
* A command is a function of the Operator, which the master is, and of the request; COMMANDS is the only list of them.
* What only a worker can say is asked of the worker: it gets the connection, and answers itself.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

from wsgid.admin.server import INCOMPLETE, Delegated, Response
from wsgid.admin.snapshot import Snapshot
from wsgid.options import Settings
from wsgid.scoreboard import Word


class Operator(Protocol):
    """What the master does when it is asked. `who` is named in the log."""

    settings: Settings

    def snapshot(self) -> Snapshot: ...

    def reload(self, who: str) -> None: ...

    def stop(self, who: str) -> None: ...

    def stop_now(self, who: str) -> None: ...

    def resize(self, workers: int, who: str) -> None: ...

    def reopen_logs(self, who: str) -> None: ...

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Hand a question and the connection that asks it to a worker. Returns False if there is none in the slot."""


WHO = "wsgidctl"


class Refused(Exception):
    """The command cannot be carried out; the message is one sentence for the operator."""


Answer = dict[str, Any] | Delegated


def respond(operator: Operator, request: bytes) -> Response:
    """The responder of the control socket."""
    if not request.endswith(b"\n"):
        return INCOMPLETE
    try:
        answer = _answer(operator, request)
    except Refused as refusal:
        answer = {"ok": False, "error": str(refusal)}
    return answer if isinstance(answer, Delegated) else json.dumps(answer).encode() + b"\n"


def _answer(operator: Operator, request: bytes) -> Answer:
    try:
        asked = json.loads(request)
    except ValueError:
        raise Refused("the request is no JSON") from None
    name = asked.get("command") if isinstance(asked, dict) else None
    command = COMMANDS.get(name) if isinstance(name, str) else None
    if command is None:
        raise Refused(f"there is no such command; there are {', '.join(COMMANDS)}")
    return command(operator, asked)


def _reload(operator: Operator, asked: dict[str, Any]) -> Answer:
    operator.reload(WHO)
    return {"ok": True}


def _stop(operator: Operator, asked: dict[str, Any]) -> Answer:
    (operator.stop_now if asked.get("now") else operator.stop)(WHO)
    return {"ok": True}


def _log_reopen(operator: Operator, asked: dict[str, Any]) -> Answer:
    operator.reopen_logs(WHO)
    return {"ok": True}


def _settings(operator: Operator, asked: dict[str, Any]) -> Answer:
    return {"ok": True, "settings": operator.settings.as_dict()}


def _question(operator: Operator, asked: dict[str, Any]) -> Answer:
    """Any question to one worker: {"command": "requests", "worker": 0, ...}."""
    slot = asked.get("worker")
    if not isinstance(slot, int) or slot not in [worker.slot for worker in operator.snapshot().workers if worker.pid]:
        raise Refused(f"there is no worker {slot!r}")

    def take(fd: int) -> None:
        operator.ask(slot, asked["command"], asked, fd)

    return Delegated(take)


def _profile(operator: Operator, asked: dict[str, Any]) -> Answer:
    """Of the given worker, or else of the busiest: the most requests in flight, and the most answered so far."""
    living = [worker for worker in operator.snapshot().workers if worker.pid]
    if asked.get("worker") is None and living:
        busiest = max(living, key=lambda worker: (worker.in_flight, worker.since[Word.REQUESTS]))
        asked = {**asked, "worker": busiest.slot}
    return _question(operator, asked)


COMMANDS: dict[str, Callable[[Operator, dict[str, Any]], Answer]] = {
    "reload": _reload,
    "stop": _stop,
    "log-reopen": _log_reopen,
    "settings": _settings,
    "requests": _question,
    "profile": _profile,
}
