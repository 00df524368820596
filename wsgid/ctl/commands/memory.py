"""`wsgidctl memory`: what each process weighs, and what fills a worker."""

import argparse
import json
from typing import Any

from wsgid.ctl import answers
from wsgid.ctl.client import Server
from wsgid.ctl.tables import complain, count, show, size, table
from wsgid.linux import memory

HELP = "show what each process weighs, and what fills a worker's memory"

_PATIENCE_S = 30.0  # a worker counts its objects, and where tracemalloc runs it sorts all that was allocated
COLUMNS = ("process", "pid", "rss", "pss", "private", "shared", "swap")
HOW_TO_TRACE = (
    "what has grown is only known to tracemalloc: start the server with --env PYTHONTRACEMALLOC=1, which "
    "costs time and memory, and ask twice"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--worker", type=int, default=None, metavar="N", help="look into this worker (default: the largest)"
    )


def run(server: Server, given: argparse.Namespace) -> int:
    status = server.ask("status")
    workers = answers.workers_of(status, given.worker)
    chosen = max(workers, key=lambda one: one["rss_bytes"])["slot"] if workers else None
    said, silent = answers.ask(server, "memory", chosen, patience_s=_PATIENCE_S) if chosen is not None else ({}, {})
    inside = said.get(chosen) if chosen is not None else None
    weights = [{**one, "parts": memory.parts(one["pid"])} for one in _processes(status)]
    for one in weights:  # a worker of another user tells its own
        if one["parts"] is None and inside and one["process"] == f"worker {chosen}":
            one["parts"] = inside["parts"]
    if given.json:
        print(json.dumps({"processes": weights, "worker": inside, "silent": silent}))
        return 1 if silent else 0
    show(table(COLUMNS, [_row(one) for one in weights], ("process",)))
    whole = [one["parts"]["pss"] for one in weights if one["parts"]]
    show(f"together: {size(sum(whole))} (the sum of pss, in which a page that n processes share counts for 1/n)")
    if any(one["parts"] is None for one in weights):
        show("?: only that process's user, or root, may see it")
    if inside:
        show("")
        _show_inside(inside)
    for reason in silent.values():
        complain(reason)
    return 1 if silent else 0


def _processes(status: dict[str, Any]) -> list[dict[str, Any]]:
    """All of the server's, by name."""
    named = [("master", status["pid"])]
    named += [(f"template {one['generation']}", one["pid"]) for one in status["templates"]]
    named += [("spare", status["spare_pid"])]
    named += [(f"worker {one['slot']}", one["pid"]) for one in status["workers"]]
    return [{"process": name, "pid": pid} for name, pid in named if pid]


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    parts = one["parts"] or {}
    return (one["process"], one["pid"], *(size(parts.get(name)) for name in COLUMNS[2:]))


def _show_inside(said: dict[str, Any]) -> None:
    objects = said["objects"]
    partly = f", of which {objects['counted']} are counted here" if objects["counted"] < objects["tracked"] else ""
    show(
        f"worker {said['worker']}: {count(objects['tracked'], 'object')} that the collector knows{partly}; "
        f"{objects['frozen']} more are the template's"
    )
    show(table(("objects", "type"), [(one["count"], one["type"]) for one in objects["types"]], ("type",)))
    show("")
    traced = said["traced"]
    if traced is None:
        show(HOW_TO_TRACE)
        return
    show(
        f"tracemalloc knows {size(traced['total_bytes'])}; "
        + ("the largest (ask again to see what grows):" if traced["first"] else "since the last time:")
    )
    show(
        table(
            ("size", "grown", "line"),
            [
                (size(one["bytes"]), "-" if one["grown_bytes"] is None else size(one["grown_bytes"]), one["line"])
                for one in traced["lines"]
            ],
            ("line",),
        )
    )
