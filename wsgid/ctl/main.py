"""wsgidctl's command line: `wsgidctl [--control PATH | --pidfile PATH] [--json] SUBCOMMAND ...`.

Rules
* A subcommand is a module with HELP, arguments(parser) and run(server, given) -> exit code. SUBCOMMANDS is the list.
* All subcommands have `--json`: then they print one JSON object, and nothing else.
* These common options may stand before or after the subcommand.
* Exit codes: 0: done; 1: refused or not possible, with one sentence on standard error; 2: a wrong command line.
"""

import argparse
import io
import os
import sys
from types import ModuleType
from typing import Any

from wsgid import __version__
from wsgid.ctl import client
from wsgid.ctl.client import CtlError
from wsgid.ctl.commands import (
    cache,
    connections,
    dashboard,
    limits,
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
    "cache": cache,
    "limits": limits,
    "profile": profile,
    "top": top,
    "dashboard": dashboard,
}


def main() -> int:
    """Run the console script `wsgidctl`. Returns the exit code."""
    _print_anywhere()
    parser = build_parser()
    given = parser.parse_args()
    if given.control and given.pidfile:
        parser.error("--control and --pidfile both name a server: leave one of them out")
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
    _add_common(parser, control="", pidfile="", user="", json=False)
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        _add_common(subparser)
        module.arguments(subparser)
    return parser


def _add_common(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the options that may stand before and after the subcommand. After the subcommand there are no defaults: these
    would replace what stands before."""

    def add(name: str, text: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", default=defaults.get(name, argparse.SUPPRESS), help=text, **more)

    add("control", "the server's control socket (default: the one in the working directory)", metavar="PATH")
    add("pidfile", "find the control socket by the server's pid", metavar="PATH")
    add("user", "the user who runs the server, by name or number (default: root, or the present user)", metavar="NAME")
    add("json", "print one JSON object", action="store_true")


if __name__ == "__main__":
    sys.exit(main())
