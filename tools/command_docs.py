"""Write the manual pages and the shells' completions, from the two command lines: python -m tools.command_docs

The files are in share/, and setup.cfg has a wheel install them. argparse-manpage and shtab write them from the parsers
of `wsgid` and `wsgidctl`, and so from the declarations of the options. tests/unit/test_command_docs.py fails if a file
is not what this program would write.

Rules
* The files are the same on each Python and each day: the date is that of the release in CHANGELOG.md, and no text is
  wrapped at the width of a terminal.
"""

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import shtab
from argparse_manpage.manpage import Manpage

from wsgid import __version__
from wsgid.config import usage, values
from wsgid.config.options import by_key
from wsgid.ctl import main as ctl
from wsgid.errors import ExitCode

ROOT = Path(__file__).parent.parent
SHARE = ROOT / "share"
MANUAL = "wsgid's manual"
SHORT = {
    "wsgid": "a WSGI application server for gevent workers behind nginx",
    "wsgidctl": "look at a running wsgid, and control it",
}
FILE_METAVARS = ("FILE", "PATH", "FILE[:SECTION]")  # the value is a file, which a shell can complete
COMPLETIONS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
CTL_EXIT_CODES = "0: done; 1: refused or not possible, with one sentence on standard error; 2: a wrong command line."


def documents() -> dict[Path, str]:
    """Return the text of each file in share/."""
    with mock.patch.dict(os.environ, COLUMNS="1000"):  # argparse wraps usages at the width of the terminal
        found = {SHARE / "man/man1" / f"{name}.1": manual(name) for name in SHORT}
        for shell, place in COMPLETIONS.items():
            found |= {SHARE / place.format(name): completion(name, shell) for name in SHORT}
    return found


# --- manual pages ---


def manual(name: str) -> str:
    data = {
        "date": released(),
        "project_name": "wsgid",
        "version": __version__,
        "manual_title": MANUAL,
        "description": SHORT[name],
    }
    page = Manpage(_parser(name), _data=data, format="single-commands-section")
    if name == "wsgid":
        page.add_section("exit status", "=", _definitions(_exit_codes()))
        page.add_section("signals", "=", "The page docs/signals.md of the documentation has all signals to the master.")
        page.add_section("environment", "=", _environment())
    else:
        page.add_section("exit status", "=", _roff(CTL_EXIT_CODES))
    other = "wsgidctl" if name == "wsgid" else "wsgid"
    page.add_section("see also", "=", f"\\fB{other}\\fR(1)")
    text = re.sub(r"(?m)^\.SH\nPOSITIONAL ARGUMENTS$", ".SH SUBCOMMANDS", str(page))
    return text.replace(".SH COMMENTS", ".SH NOTES")


def released() -> str:
    """Return the date of the newest version in CHANGELOG.md, as 2026-11-26."""
    found = re.search(r"(?m)^## \d+\.\d+\.\d+ - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text())
    if not found:
        raise ValueError("CHANGELOG.md has no line such as `## 0.2.0 - 2026-11-26`")
    return found[1]


def _exit_codes() -> Iterable[tuple[str, str]]:
    return ((str(int(code)), code.meaning) for code in ExitCode)


def _environment() -> str:
    names = (
        ("WSGID_OPTION", "the value of the option --option, for each option: WSGID_WORKERS=4"),
        ("WSGID_PURE", "with the value 1, the hot path runs as pure Python, also where it is compiled"),
    )
    return _definitions(names)


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n\\fB{_roff(term)}\\fR\n{_roff(text)}" for term, text in pairs)


def _roff(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", r"\-")


# --- completions ---


def completion(name: str, shell: str) -> str:
    parser = _parser(name)
    for action in _actions(parser):
        if kind := _completed(action):
            action.complete = kind  # type: ignore[attr-defined]  # shtab's way
    if name == "wsgid":
        positional = parser.add_argument("application", nargs="?", help="FILE.ini, FILE.toml or MODULE:CALLABLE")
        positional.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell).rstrip("\n") + "\n"


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions(subparser)


def _completed(action: argparse.Action) -> Any:
    option = by_key().get(action.dest)
    if option and option.kind in (values.DIRECTORY, values.DIRECTORIES):
        return shtab.DIRECTORY
    return shtab.FILE if action.metavar in FILE_METAVARS else None


def _parser(name: str) -> argparse.ArgumentParser:
    return usage.build_parser(everything=True) if name == "wsgid" else ctl.build_parser()


def main() -> None:
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
