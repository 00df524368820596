"""The commands of wsgidctl, as the master sees them."""

from types import SimpleNamespace
from typing import Any

from tests.support.snapshots import worker
from wsgid.admin.commands import respond
from wsgid.admin.server import Delegated
from wsgid.supervisor.slots import SlotState


def test_a_question_about_one_worker_does_not_look_at_all_of_them() -> None:
    asked: list[int] = []

    def one(slot: int) -> Any:
        asked.append(slot)
        return worker(0, SlotState.READY) if slot == 0 else None

    operator: Any = SimpleNamespace(worker=one)  # it has no snapshot
    assert isinstance(respond(operator, b'{"command": "requests", "worker": 0}\n'), Delegated)
    assert (
        respond(operator, b'{"command": "stacks", "worker": 7}\n')
        == b'{"ok": false, "error": "there is no worker 7"}\n'
    )
    assert asked == [0, 7]
