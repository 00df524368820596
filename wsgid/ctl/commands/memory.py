"""`wsgidctl memory`: the memory of each process, and what fills a worker's memory."""

import argparse
import json
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import answers
from wsgid.ctl.client import WORKER_PATIENCE_S, Server
from wsgid.ctl.tables import complain, show, size, table
from wsgid.linux import memory

HELP = "show the memory of each process, and what fills a worker's memory"

_PATIENCE_S = 30.0  # a worker counts its objects; with tracemalloc it also sorts all allocations
COLUMNS = ("process", "pid", "rss", "pss", "private", "shared", "swap")
HOW_TO_TRACE = (
    "what has grown is only known to tracemalloc: start the server with --env PYTHONTRACEMALLOC=1, which "
    "costs time and memory, and ask twice"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--worker", type=int, default=None, metavar="N", help="look into this worker (default: the largest)"
    )


def collect(server: Server, worker: int | None) -> dict[str, Any]:
    """Return what `--json` prints.

    Args:
        worker: the slot of the worker to look into; None for the largest.
    """
    status = server.ask("status")
    weights = [{**named, "parts": memory.parts(named["pid"])} for named in _processes(status)]
    workers = answers.workers_of(status, worker)
    if not workers:
        return {"processes": weights, "worker": None, "silent": {}}
    largest = max(workers, key=lambda worker: worker["rss_bytes"])
    chosen = largest["slot"]
    # An event loop that stood still before the question will hardly answer it: the table need not wait half a minute.
    patience_s = WORKER_PATIENCE_S if answers.stands_still(largest) else _PATIENCE_S
    said, silent = answers.ask(server, "memory", chosen, patience_s=patience_s)
    inside = said.get(chosen)
    for weight in weights:  # a worker of another user reports its own
        if weight["parts"] is None and inside and weight["process"] == f"worker {chosen}":
            weight["parts"] = inside["parts"]
    return {"processes": weights, "worker": inside, "silent": silent}


def run(server: Server, given: argparse.Namespace) -> int:
    found = collect(server, given.worker)
    weights, inside, silent = found["processes"], found["worker"], found["silent"]
    if given.json:
        print(json.dumps(found))
        return 1 if silent else 0
    show(table(COLUMNS, [_row(weight) for weight in weights], ("process",)))
    whole = [weight["parts"]["pss"] for weight in weights if weight["parts"]]
    show(f"together: {size(sum(whole))} (the sum of pss, in which a page that n processes share counts for 1/n)")
    if any(weight["parts"] is None for weight in weights):
        show("?: the process has ended, or only its user and root may see its memory")
    if inside:
        show("")
        _show_inside(inside)
    for reason in silent.values():
        complain(reason)
    return 1 if silent else 0


def _processes(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all processes of the server, each with its name."""
    named = [("master", status["pid"])]
    named += [(f"template {template['generation']}", template["pid"]) for template in status["templates"]]
    named += [("spare", status["spare_pid"])]
    named += [(f"worker {worker['slot']}", worker["pid"]) for worker in status["workers"]]
    return [{"process": name, "pid": pid} for name, pid in named if pid]


def _row(weight: dict[str, Any]) -> tuple[Any, ...]:
    parts = weight["parts"] or {}
    return (weight["process"], weight["pid"], *(size(parts.get(name)) for name in COLUMNS[2:]))


def _show_inside(said: dict[str, Any]) -> None:
    objects = said["objects"]
    partly = f", of which {objects['counted']} are counted here" if objects["counted"] < objects["tracked"] else ""
    show(
        f"worker {said['worker']}: {counted(objects['tracked'], 'object')} that the collector knows{partly}; "
        f"{objects['frozen']} more are the template's"
    )
    show(table(("objects", "type"), [(kind["count"], kind["type"]) for kind in objects["types"]], ("type",)))
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
                (size(line["bytes"]), "-" if line["grown_bytes"] is None else size(line["grown_bytes"]), line["line"])
                for line in traced["lines"]
            ],
            ("line",),
        )
    )
