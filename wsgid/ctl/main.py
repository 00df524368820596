"""wsgidctl's command line: `wsgidctl [--control PATH | --pidfile PATH] SUBCOMMAND ...`.

Rules
* A subcommand is a module with HELP, arguments(parser) and run(server, given) -> exit code; SUBCOMMANDS is the list.
* `--json` is everybody's: then the answer is one JSON object, and nothing else is printed.
* Exit code 0: done; 1: refused, or not possible, with one sentence on standard error; 2: a wrong command line.
"""

import argparse
import sys
from types import ModuleType

from wsgid import __version__
from wsgid.ctl import client, profile, requests
from wsgid.ctl.client import CtlError

SUBCOMMANDS: dict[str, ModuleType] = {
    "profile": profile,
    "requests": requests,
}


def main() -> int:
    """The console script `wsgidctl`."""
    given = build_parser().parse_args()
    try:
        code: int = SUBCOMMANDS[given.subcommand].run(client.find(given.control, given.pidfile), given)
        return code
    except CtlError as error:
        print(f"wsgidctl: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wsgidctl", allow_abbrev=False, description="See and steer a running wsgid.")
    parser.add_argument("--version", action="version", version=f"wsgidctl {__version__}")
    parser.add_argument("--control", default="", metavar="PATH", help="the server's control socket "
                        "(default: the one in the working directory)")
    parser.add_argument("--pidfile", default="", metavar="PATH", help="find the control socket by the server's pid")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        subparser.add_argument("--json", action="store_true", help="print one JSON object")
        module.arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
