"""`wsgidctl log-reopen`: reopen the log files after a rotation."""

import argparse
import json

from wsgid.ctl.client import Server
from wsgid.ctl.tables import show

HELP = "reopen the log files, after logrotate has moved them away"


def arguments(parser: argparse.ArgumentParser) -> None:
    """This subcommand has no arguments of its own."""


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("log-reopen")
    if given.json:
        print(json.dumps(answer))
    else:
        show("the server has been told to reopen its logs")
    return 0
