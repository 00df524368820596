"""`wsgidctl limits`: the limits of rate and concurrency, and the keys that they reject."""

import argparse
import json
from typing import Any

from wsgid.ctl.client import Server
from wsgid.ctl.tables import cut, escaped, show, table

HELP = "show the limits, how many requests they reject and delay, and their top keys"

COLUMNS = ("limiter", "kind", "level", "waiting", "admitted", "rejected", "delayed", "dry run", "failed open", "undone")
KEY_COLUMNS = ("key", "limiter", "admitted", "rejected")
_KEYS = 10
_NAME_MAX_CHARS = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys",
        type=int,
        default=_KEYS,
        metavar="N",
        help=f"show this many keys, those that were rejected most often first (default: {_KEYS})",
    )


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("limits", keys=given.keys)
    if given.json:
        print(json.dumps({"limits": answer["limits"], "keys": answer["keys"]}))
        return 0
    if not answer["limits"]:
        show("no limit was used yet")
        return 0
    show(table(COLUMNS, list(map(_row, answer["limits"])), ("limiter", "kind")))
    if answer["keys"]:
        show("")
        show(table(KEY_COLUMNS, list(map(_key_row, answer["keys"])), ("key", "limiter")))
    return 0


def _row(limit: dict[str, Any]) -> tuple[Any, ...]:
    return (
        cut(escaped(limit["name"]), _NAME_MAX_CHARS),
        limit["kind"],
        limit["level"],
        limit["waiting"],
        limit["admitted"],
        limit["rejected"],
        limit["delayed"],
        limit["would_reject"] if limit["dry_run"] else "-",
        limit["failed_open"],
        limit["undone"],
    )


def _key_row(key: dict[str, Any]) -> tuple[Any, ...]:
    return (
        cut(escaped(key["key"]), _NAME_MAX_CHARS),
        cut(escaped(key["limiter"]), _NAME_MAX_CHARS),
        key["admitted"],
        key["rejected"],
    )
