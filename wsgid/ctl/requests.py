"""`wsgidctl requests`: every request in flight in a worker."""

import argparse
import json

from wsgid.ctl.client import Server

HELP = "show every request in flight"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", type=int, default=0, metavar="N", help="of this worker")


def run(server: Server, given: argparse.Namespace) -> int:
    answer = server.ask("requests", worker=given.worker)
    if given.json:
        print(json.dumps(answer))
        return 0
    for one in answer["requests"]:
        print(f"{one['age_s']:8.1f} s  {one['method']} {one['path']}  {one['peer']}")
    return 0
