"""`wsgidctl requests`: all requests in flight, oldest first."""

import argparse
import json
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import answers
from wsgid.ctl.client import Server
from wsgid.ctl.tables import age, complain, cut, printable, show, table

HELP = "show all requests in flight, oldest first"

COLUMNS = ("age", "worker", "method", "path", "peer")
LIMIT = 200
LIMIT_MAX = 10_000
PATH_MAX_CHARS = 120


def arguments(parser: argparse.ArgumentParser) -> None:
    answers.add_worker_argument(parser)
    parser.add_argument(
        "--limit",
        type=_limit,
        default=LIMIT,
        metavar="N",
        help=f"show at most this many (default: {LIMIT}; up to {LIMIT_MAX})",
    )


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {LIMIT_MAX}")
    return int(text)


def run(server: Server, given: argparse.Namespace) -> int:
    said, silent = answers.ask(server, "requests", given.worker, limit=given.limit)
    oldest, total = merged(said, given.limit)
    if given.json:
        print(json.dumps({"requests": oldest, "total": total, "silent": silent}))
        return 1 if silent else 0
    if oldest:
        show(table(COLUMNS, list(map(_row, oldest)), ("method", "path", "peer")))
    more = f"; {total - len(oldest)} younger ones are not shown (--limit)" if total > len(oldest) else ""
    show(f"{counted(total, 'request')} in flight{more}")
    for reason in silent.values():
        complain(reason)
    return 1 if silent else 0


def merged(said: dict[int, dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], int]:
    """Return the oldest requests of all workers, each with its worker; and the number of all requests."""
    every = [{"worker": slot, **shown} for slot, answer in said.items() for shown in answer["requests"]]
    every.sort(key=lambda request: -request["age_s"])
    return every[:limit], sum(answer["total"] for answer in said.values())


def _row(request: dict[str, Any]) -> tuple[Any, ...]:
    path = cut(printable(request["path"]), PATH_MAX_CHARS)
    return age(request["age_s"]), request["worker"], printable(request["method"]), path, printable(request["peer"])
