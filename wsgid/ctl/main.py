"""wsgidctl's command line: `wsgidctl [--control PATH | --pidfile PATH] SUBCOMMAND ...`.

Rules
* A subcommand is a module with HELP, arguments(parser) and run(server, given) -> exit code. SUBCOMMANDS is the list.
* All subcommands have `--json`: then they print one JSON object, and nothing else.
* Exit codes: 0: done; 1: refused or not possible, with one sentence on standard error; 2: a wrong command line.
"""

import argparse
import io
import os
import sys
from types import ModuleType

from wsgid import __version__
from wsgid.ctl import client
from wsgid.ctl.client import CtlError
from wsgid.ctl.commands import (
    connections,
    log_reopen,
    memory,
    profile,
    reload,
    requests,
    settings,
    stacks,
    status,
    stop,
    top,
    workers,
)
from wsgid.ctl.tables import complain

SUBCOMMANDS: dict[str, ModuleType] = {
    "status": status,
    "reload": reload,
    "stop": stop,
    "workers": workers,
    "log-reopen": log_reopen,
    "settings": settings,
    "requests": requests,
    "stacks": stacks,
    "memory": memory,
    "connections": connections,
    "profile": profile,
    "top": top,
}


def main() -> int:
    """Run the console script `wsgidctl`. Returns the exit code."""
    _print_anywhere()
    given = build_parser().parse_args()
    try:
        code: int = SUBCOMMANDS[given.subcommand].run(client.find(given.control, given.pidfile, given.user), given)
        sys.stdout.flush()
        return code
    except CtlError as error:
        return _failed(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise the interpreter would complain at its end
        return 1
    except KeyboardInterrupt:
        return 1
    except OSError as error:
        return _failed(f"the system refuses: {error}")
    except Exception as error:
        return _failed(f"this is a bug of wsgidctl's, please report it: {error!r}")


def _print_anywhere() -> None:
    """Escape characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _failed(sentence: str) -> int:
    complain(sentence)
    return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser for all subcommands."""
    parser = argparse.ArgumentParser(
        prog="wsgidctl", allow_abbrev=False, description="Look at a running wsgid, and control it."
    )
    parser.add_argument("--version", action="version", version=f"wsgidctl {__version__}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--control",
        default="",
        metavar="PATH",
        help="the server's control socket (default: the one in the working directory)",
    )
    which.add_argument("--pidfile", default="", metavar="PATH", help="find the control socket by the server's pid")
    parser.add_argument(
        "--user",
        default="",
        metavar="NAME",
        help="the user who runs the server, by name or number (default: root, or the present user)",
    )
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        subparser.add_argument("--json", action="store_true", help="print one JSON object")
        module.arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
