"""`wsgidctl stacks`: where every request, greenlet and thread of the workers is."""

import argparse
import json
from typing import Any

from wsgid.ctl import answers
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.tables import count, request, show

HELP = "show the Python stack of every request, greenlet and thread"

ALL_THERE_IS = "it runs no Python code, so this is all that can be had: the running stack of each thread"
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
        print(
            json.dumps(
                {
                    "workers": [*said.values()],
                    "silent": [{"worker": slot, "reason": silent[slot], "text": text} for slot, text in dumps.items()],
                }
            )
        )
    else:
        for slot in sorted({*said, *dumps}):
            if slot in said:
                _show_worker(said[slot])
            else:
                _show_dump(silent[slot], dumps[slot])
    return 0 if all(dumps.values()) else 1


def _dump(server: Server, slot: int) -> str:
    """What faulthandler says of a worker that answers nothing; empty if even that is not to be had."""
    try:
        text: str = server.ask("dump", _DUMP_PATIENCE_S, worker=slot)["text"]
        return text
    except CtlError:
        return ""


def _show_worker(said: dict[str, Any]) -> None:
    shown = sum(one["count"] for one in said["stacks"] if isinstance(one["named"][0], dict))
    show(
        f"worker {said['worker']}: {count(shown, 'request')} in the application, "
        f"{count(said['idle'], 'greenlet')} idle or waiting for a client"
    )
    for one in said["stacks"]:
        _show_stack(one)
    if said["omitted"]:
        show(f"  {said['omitted']} more, at other places, are not shown")
    show("")


def _show_stack(one: dict[str, Any]) -> None:
    show(f"  {one['count']} x {_TITLES[one['kind']]}:" if one["count"] > 1 else f"  {_TITLES[one['kind']]}:")
    for named in one["named"]:
        show(f"    {request(named) if isinstance(named, dict) else named}")
    if one["count"] > len(one["named"]):
        show(f"    and {one['count'] - len(one['named'])} more")
    for frame in one["frames"]:
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
