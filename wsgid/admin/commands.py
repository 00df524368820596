"""wsgidctl's commands: one JSON object on a line in, one JSON object out.

    {"command": "reload"}  ->  {"ok": true, ...}  or  {"ok": false, "error": "one sentence"}

Rules
* A command is a function of the Operator (the master) and of the request. COMMANDS is the only list of commands.
* Questions that only a worker can answer go to the worker, which gets the connection and answers itself.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from signal import Signals
from typing import Any, Protocol

from wsgid.admin.server import INCOMPLETE, Delegated, Later, Response
from wsgid.admin.snapshot import Snapshot, WorkerView
from wsgid.admin.status import status
from wsgid.config.options import Settings
from wsgid.errors import WsgidError
from wsgid.ipc import stackdump
from wsgid.ipc.scoreboard import SLOTS_MAX, Word
from wsgid.limits.ledger import KeyView
from wsgid.linux.syscall_errors import words
from wsgid.records import asdict
from wsgid.supervisor.children import send_signal


class Operator(Protocol):
    """What the master can do for an operator. `who` is named in the log."""

    settings: Settings
    sources: Mapping[str, str]  # the source of each setting, by the option's name; all others are defaults

    def snapshot(self) -> Snapshot:
        """Return the present state of the server."""

    def worker(self, slot: int) -> WorkerView | None:
        """Return the worker in a slot; None if there is none."""

    def reload(self, who: str) -> str:
        """Start a reload. Returns a warning; empty if there is none."""

    def limit_keys(self, most: int) -> list[KeyView]:
        """The keys that limits have rejected most often, then those that they have admitted most often."""

    def stop(self, who: str) -> None:
        """Stop gracefully."""

    def stop_now(self, who: str) -> None:
        """Stop now."""

    def resize(self, workers: int, who: str) -> None:
        """Change the number of workers."""

    def reopen_logs(self, who: str) -> bool:
        """Reopen the log files. Returns False if there are none."""

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Pass a question and the asker's connection to a worker. Returns False if the slot has no worker."""

    def dump_fd(self, slot: int) -> int | None:
        """The memfd into which the worker in a slot writes its stack (stackdump.py); None if there is none."""


WHO = "wsgidctl"
WORKERS_MAX = SLOTS_MAX // 2  # the other half of the slots is for replacements
STALE_S = 0.75  # a busy event loop without a heartbeat for this long may be held up; it has four in a second
LIMIT_MAX = 10_000  # the most entries in an answer
QUESTION_MAX_CHARS = 8000


class CommandRefused(WsgidError):
    """The command cannot be carried out. The message is one sentence for the operator."""


Request = dict[str, Any]
Answer = dict[str, Any] | Delegated | Later


def respond(operator: Operator, request: bytes) -> Response:
    """Answer a request on the control socket.

    Args:
        operator: the master.
        request: the bytes that have arrived.
    """
    if not request.endswith(b"\n"):
        return INCOMPLETE
    try:
        answer = _answer(operator, request)
    except OSError as error:
        answer = {"ok": False, "error": f"the kernel has refused it: {words(error)}"}
    except WsgidError as error:
        answer = {"ok": False, "error": str(error)}
    return _encoded(answer) if isinstance(answer, dict) else answer


def _answer(operator: Operator, request: bytes) -> Answer:
    try:
        asked = json.loads(request)
    except (ValueError, RecursionError):
        raise CommandRefused("the request is no JSON") from None
    name = asked.get("command") if isinstance(asked, dict) else None
    command = COMMANDS.get(name) if isinstance(name, str) else None
    if command is None:
        raise CommandRefused(f"there is no such command; there are {', '.join(COMMANDS)}")
    return command(operator, asked)


def _status(operator: Operator, asked: Request) -> Answer:
    return {"ok": True, **status(operator.snapshot(), operator.settings)}


def _reload(operator: Operator, asked: Request) -> Answer:
    """Start a reload. `generation` in the answer: the new generation has this number, or a higher one after another
    reload."""
    before = operator.snapshot()
    _refuse_while_stopping(before)
    warning = operator.reload(WHO)
    return {"ok": True, "generation": before.next_generation, **({"warning": warning} if warning else {})}


def _stop(operator: Operator, asked: Request) -> Answer:
    now = asked.get("now", False)
    if not isinstance(now, bool):
        raise CommandRefused("now has to be true or false")
    (operator.stop_now if now else operator.stop)(WHO)
    return {"ok": True}


def _workers(operator: Operator, asked: Request) -> Answer:
    """Change the number of workers: {"workers": 4} or {"change": -1}."""
    before = operator.snapshot()
    _refuse_while_stopping(before)
    if "change" in asked:
        wanted = before.wanted + _integer(asked, "change", -WORKERS_MAX, WORKERS_MAX)
    else:
        wanted = _integer(asked, "workers", 1, WORKERS_MAX)
    if not 1 <= wanted <= WORKERS_MAX:
        raise CommandRefused(
            f"the number of workers cannot be {wanted}, only 1 to {WORKERS_MAX}; now it is {before.wanted}"
        )
    operator.resize(wanted, WHO)
    return {"ok": True, "workers": wanted, "before": before.wanted}


def _log_reopen(operator: Operator, asked: Request) -> Answer:
    if not operator.reopen_logs(WHO):
        raise CommandRefused("there is no log to reopen; --logto, --logger file: or --access-log name one")
    return {"ok": True}


def _settings(operator: Operator, asked: Request) -> Answer:
    return {"ok": True, "settings": operator.settings.as_dict(), "sources": dict(operator.sources)}


def _cache(operator: Operator, asked: Request) -> Answer:
    from wsgid.admin import caches

    return {"ok": True, "caches": [caches.as_dict(view) for view in operator.snapshot().caches]}


def _limits(operator: Operator, asked: Request) -> Answer:
    """The limiters, and their top keys: {"command": "limits", "keys": 10}."""
    from wsgid.admin import stats  # only when it is asked

    most = _integer(asked, "keys", 0, LIMIT_MAX)
    return {
        "ok": True,
        "limits": list(map(stats.limiter, operator.snapshot().limiters)),
        "keys": list(map(asdict, operator.limit_keys(most) if most else [])),
    }


def _question(operator: Operator, asked: Request) -> Answer:
    """Pass any question to one worker: {"command": "requests", "worker": 0, ...}."""
    worker = _worker(operator, asked)
    if "limit" in asked:
        _integer(asked, "limit", 1, LIMIT_MAX)
    if len(json.dumps(asked)) > QUESTION_MAX_CHARS:
        raise CommandRefused(f"a question has at most {QUESTION_MAX_CHARS} characters")

    def take(fd: int) -> None:
        if not operator.ask(worker.slot, asked["command"], asked, fd):
            _say(fd, {"ok": False, "error": f"worker {worker.slot} takes no question: it leaves, or is stuck"})
        elif worker.heartbeat_age_s > STALE_S:
            send_signal(worker.pid, Signals.SIGXCPU)  # its signal handler answers instead of the event loop

    return Delegated(take)


def _profile(operator: Operator, asked: Request) -> Answer:
    """Profile the given worker, or the busiest: the worker with the most requests in flight, then with the most
    answered."""
    living = [worker for worker in operator.snapshot().workers if worker.pid]
    if asked.get("worker") is None and living:
        busiest = max(living, key=lambda worker: (worker.in_flight, worker.since[Word.REQUESTS]))
        asked = {**asked, "worker": busiest.slot}
    return _question(operator, asked)


def _dump(operator: Operator, asked: Request) -> Answer:
    """Return the stack of a worker that answers no question, as faulthandler writes it."""
    worker = _worker(operator, asked)
    fd = operator.dump_fd(worker.slot)
    if fd is None:
        raise CommandRefused(f"worker {worker.slot} cannot show its stack: it does not serve yet, or no longer")
    try:
        stackdump.request(worker.pid, fd)
    except OSError as error:
        raise CommandRefused(f"worker {worker.slot} cannot be asked for its stack: {words(error)}") from error

    def answer() -> bytes:
        gone = operator.dump_fd(worker.slot) != fd
        try:
            return _encoded({"ok": True, "worker": worker.slot, "text": "" if gone else stackdump.read(fd)})
        except OSError as error:
            return _encoded({"ok": False, "error": f"the stack of worker {worker.slot} cannot be read: {words(error)}"})

    return Later(time.monotonic() + stackdump.WRITTEN_AFTER_S, answer)


def _worker(operator: Operator, asked: Request) -> WorkerView:
    slot = _integer(asked, "worker", 0, SLOTS_MAX)
    if worker := operator.worker(slot):
        return worker
    raise CommandRefused(f"there is no worker {slot}")


def _integer(asked: Request, name: str, least: int, most: int) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CommandRefused(f"{name} has to be a whole number from {least} to {most}")
    return value


def _refuse_while_stopping(snapshot: Snapshot) -> None:
    if snapshot.mode != "running":
        raise CommandRefused("the server stops")


def _encoded(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _say(fd: int, answer: dict[str, Any]) -> None:
    """Send a short answer to an asker who would otherwise get none. Never waits."""
    try:
        os.write(fd, _encoded(answer))
    except OSError:  # the asker has left
        pass


COMMANDS: dict[str, Callable[[Operator, Request], Answer]] = {
    "status": _status,
    "reload": _reload,
    "stop": _stop,
    "workers": _workers,
    "log-reopen": _log_reopen,
    "settings": _settings,
    "cache": _cache,
    "limits": _limits,
    "requests": _question,
    "profile": _profile,
    "stacks": _question,
    "memory": _question,
    "connections": _question,
    "dump": _dump,
}
