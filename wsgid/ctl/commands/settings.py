"""`wsgidctl settings`: the options with which the server runs, and where each comes from."""

import argparse
import json

from wsgid.config.options import declared, from_dict
from wsgid.ctl.client import Server
from wsgid.ctl.tables import show, table

HELP = "show the options with which the server runs"

COLUMNS = ("option", "value", "from")
_NOTHING = ("", None, -1, (-1, -1))  # an option that nobody gave, and whose default says nothing


def arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("settings")
    if given.json:
        print(json.dumps(answer))
        return 0
    settings = from_dict(answer["settings"])
    rows = []
    for one in declared():
        value = getattr(settings, one.name)
        texts = map(one.show, value) if one.repeatable else [] if value in _NOTHING else [one.show(value)]
        rows.append((one.key, ", ".join(texts) or "-", answer["sources"].get(one.name, "default")))
    show(table(COLUMNS, rows, COLUMNS))
    return 0
