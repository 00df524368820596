"""`wsgidctl connections`: the connections that go out of the workers, by peer."""

import argparse
import json
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import answers
from wsgid.ctl.client import Server
from wsgid.ctl.tables import age, complain, show, table

HELP = "show the connections to databases, caches and services, by worker and peer"

COLUMNS = ("worker", "peer", "connections", "in use", "not in use", "oldest", "youngest")


def arguments(parser: argparse.ArgumentParser) -> None:
    answers.add_worker_argument(parser)


def collect(server: Server, worker: int | None) -> dict[str, Any]:
    """Return what `--json` prints.

    Args:
        worker: the slot of a worker; None for all.
    """
    said, silent = answers.ask(server, "connections", worker)
    rows = [{"worker": slot, **peer} for slot, answer in sorted(said.items()) for peer in answer["peers"]]
    return {"connections": rows, "total": sum(answer["total"] for answer in said.values()), "silent": silent}


def run(server: Server, given: argparse.Namespace) -> int:
    found = collect(server, given.worker)
    rows, total, silent = found["connections"], found["total"], found["silent"]
    if given.json:
        print(json.dumps(found))
        return 1 if silent else 0
    if rows:
        show(table(COLUMNS, list(map(_row, rows)), ("peer",)))
    more = total - sum(row["count"] for row in rows)
    show(f"{counted(total, 'connection')}{f'; {more} of them to peers that are not shown' if more else ''}")
    for reason in silent.values():
        complain(reason)
    return 1 if silent else 0


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    in_use = row["in_use"]
    return (
        row["worker"],
        row["peer"],
        row["count"],
        in_use,
        row["count"] - in_use,
        age(row["oldest_s"]),
        age(row["youngest_s"]),
    )
