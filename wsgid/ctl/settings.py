"""`wsgidctl settings`: the options with which the server runs."""

import argparse
import json
from dataclasses import fields
from typing import Any

from wsgid.config import Settings, flag_of
from wsgid.ctl.client import Server
from wsgid.ctl.text import show, table

HELP = "show the options with which the server runs"

COLUMNS = ("option", "value", "from")


def arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("settings")
    if given.json:
        print(json.dumps(answer))
        return 0
    defaults = {one.name: json.loads(json.dumps(one.default)) for one in fields(Settings)}
    sources: dict[str, Any] = answer.get("sources") or {}
    rows = []
    for name, value in answer["settings"].items():
        source = sources.get(name) or ("default" if name in defaults and value == defaults[name] else "set")
        rows.append((flag_of(name), f"{value:o}" if _is_mode(name, value) else _shown(value), source))
    show(table(COLUMNS, rows, COLUMNS))
    return 0


def _is_mode(name: str, value: Any) -> bool:
    return name in ("chmod_socket", "umask") and isinstance(value, int) and value >= 0


def _shown(value: Any) -> str:
    """A value as one would read it, on one line."""
    match value:
        case str():
            return value or "-"
        case list():
            return ", ".join(map(_shown, value)) or "-"
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
