"""`wsgidctl cache`: the caches that all workers share."""

import argparse
import json
from typing import Any

from wsgid.ctl.client import Server
from wsgid.ctl.tables import percent, show, size, table

HELP = "show how full the caches are, and how often values were found"

_COLUMNS = ("cache", "used", "of", "items", "hits", "local", "misses", "found", "evicted", "full", "waits", "errors")


def arguments(parser: argparse.ArgumentParser) -> None:
    """This subcommand has none."""


def run(server: Server, given: argparse.Namespace) -> int:
    answer: dict[str, Any] = server.ask("cache")
    if given.json:
        print(json.dumps(answer))
    elif answer["caches"]:
        show(table(_COLUMNS, [_row(cache) for cache in answer["caches"]], ("cache",)))
    else:
        show("there is no --cache")
    return 0


def _row(cache: dict[str, Any]) -> tuple[Any, ...]:
    found = cache["hits"] + cache["local_hits"]
    reads = found + cache["misses"]
    items = "?" if cache["items"] is None else cache["items"]
    return (
        cache["name"],
        size(cache["used_bytes"]),
        size(cache["size_bytes"]),
        items,
        cache["hits"],
        cache["local_hits"],
        cache["misses"],
        percent(found / reads) if reads else "-",
        cache["evictions"],
        cache["full"],
        cache["lock_waits"],
        cache["errors"],
    )
