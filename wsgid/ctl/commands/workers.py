"""`wsgidctl workers`: change the number of workers."""

import argparse
import json
import re
from typing import Any

from wsgid.counted import counted
from wsgid.ctl.client import Server
from wsgid.ctl.tables import show

HELP = "change the number of workers, until the server is started again"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workers", type=_wanted, metavar="N|+N|-N", help="the new number of workers, or the change")


def _wanted(text: str) -> dict[str, int]:
    if not re.fullmatch(r"[+-]?[0-9]{1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 4, +1 or -1")
    return {"change" if text[0] in "+-" else "workers": int(text)}


def run(server: Server, given: argparse.Namespace) -> int:
    answer: dict[str, Any] = server.ask("workers", **given.workers)
    if given.json:
        print(json.dumps(answer))
    else:
        show(f"{counted(answer['workers'], 'worker')} from now on, instead of {answer['before']}")
    return 0
