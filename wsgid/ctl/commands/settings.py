"""`wsgidctl settings`: the server's options, and the source of each."""

import argparse
import json

from wsgid.config.options import declared, from_dict
from wsgid.ctl.client import Server
from wsgid.ctl.tables import show, table

HELP = "show the server's options, and where each comes from"

COLUMNS = ("option", "value", "from")
_NOTHING = ("", None, -1, (-1, -1))  # values of options that are not set and have no default


def arguments(parser: argparse.ArgumentParser) -> None:
    """This subcommand has no arguments of its own."""


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("settings")
    if given.json:
        print(json.dumps(answer))
        return 0
    settings = from_dict(answer["settings"])
    rows = []
    for option in declared():
        value = getattr(settings, option.name)
        texts = map(option.show, value) if option.repeatable else [] if value in _NOTHING else [option.show(value)]
        rows.append((option.key, ", ".join(texts) or "-", answer["sources"].get(option.name, "default")))
    show(table(COLUMNS, rows, COLUMNS))
    return 0
