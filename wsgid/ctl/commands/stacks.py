"""`wsgidctl stacks`: the stacks of all requests, greenlets and threads of the workers."""

import argparse
import json
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import answers
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.tables import request, show

HELP = "show the Python stack of every request, greenlet and thread"

ALL_THERE_IS = "it runs no Python code, so only the running stack of each thread can be shown:"
_TITLES = {
    "holder": "holds the event loop",
    "request": "request",
    "greenlet": "greenlet of the application",
    "thread": "thread",
}
_DUMP_PATIENCE_S = 5.0


def arguments(parser: argparse.ArgumentParser) -> None:
    answers.add_worker_argument(parser)


def run(server: Server, given: argparse.Namespace) -> int:
    said, silent = answers.ask(server, "stacks", given.worker)
    dumps = {slot: _dump(server, slot) for slot in silent}
    if given.json:
        print(json.dumps(_as_dict(said, silent, dumps)))
    else:
        for slot in sorted({*said, *dumps}):
            if slot in said:
                _show_worker(said[slot])
            else:
                _show_dump(silent[slot], dumps[slot])
    return 0 if all(dumps.values()) else 1


def collect(server: Server, worker: int, request: float | None = None) -> dict[str, Any]:
    """Return what `--json` prints about one worker.

    Args:
        worker: its slot.
        request: only the stack of this request: its `started_s`. A worker that runs no Python code shows all.
    """
    only = {} if request is None else {"request": request}
    said, silent = answers.ask(server, "stacks", worker, **only)
    return _as_dict(said, silent, {slot: _dump(server, slot) for slot in silent})


def _as_dict(said: dict[int, dict[str, Any]], silent: dict[int, str], dumps: dict[int, str]) -> dict[str, Any]:
    return {
        "workers": [*said.values()],
        "silent": [{"worker": slot, "reason": silent[slot], "text": text} for slot, text in dumps.items()],
    }


def _dump(server: Server, slot: int) -> str:
    """Return what faulthandler writes about a worker that does not answer; empty if that fails too."""
    try:
        text: str = server.ask("dump", _DUMP_PATIENCE_S, worker=slot)["text"]
        return text
    except CtlError:
        return ""


def _show_worker(said: dict[str, Any]) -> None:
    shown = sum(stack["count"] for stack in said["stacks"] if isinstance(stack["named"][0], dict))
    show(
        f"worker {said['worker']}: {counted(shown, 'request')} in the application, "
        f"{counted(said['idle'], 'greenlet')} idle or waiting for a client"
    )
    for stack in said["stacks"]:
        _show_stack(stack)
    if said["omitted"]:
        show(f"  {said['omitted']} more, at other places, are not shown")
    show("")


def _show_stack(stack: dict[str, Any]) -> None:
    show(f"  {stack['count']} x {_TITLES[stack['kind']]}:" if stack["count"] > 1 else f"  {_TITLES[stack['kind']]}:")
    for named in stack["named"]:
        show(f"    {request(named) if isinstance(named, dict) else named}")
    if stack["count"] > len(stack["named"]):
        show(f"    and {stack['count'] - len(stack['named'])} more")
    for frame in stack["frames"]:
        show(f'      File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}')
        if frame["source"]:
            show(f"        {frame['source']}")


def _show_dump(reason: str, text: str) -> None:
    show(reason)
    if text:
        show(f"  {ALL_THERE_IS}")
        for line in text.splitlines():
            show(f"    {line}")
    show("")
