"""The table of `wsgidctl status`."""

from typing import Any

from wsgid.ctl.commands.status import COLUMNS, row

VACANT: dict[str, Any] = {"slot": 3, "state": "vacant", "pid": 0, "restarts": {"crash": 2}}


def test_a_slot_without_a_worker_has_a_cell_in_each_column() -> None:
    cells = row(VACANT, {"places": 1000})
    assert len(cells) == len(COLUMNS)
    assert (cells[0], cells[1], cells[-1]) == (3, "vacant", "2 crash")
