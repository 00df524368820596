"""The two help texts of the command line: --help shows the usual options, --help-all all of them by their groups."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from wsgid import __version__, compiled
from wsgid.config import values
from wsgid.config.options import Group, Option, declared

if TYPE_CHECKING:
    import argparse

_USAGE = "wsgid [OPTIONS] [FILE.ini] [MODULE:CALLABLE]"
_EPILOG = """example: wsgid --socket app.sock --workers 4 app:application

Every option can also be an environment variable (WSGID_WORKERS=4), a key in a TOML file (--config), or a key in an
ini file of uWSGI (--ini), under uWSGI's names. The command line wins over the environment, and the environment over
files. uWSGI's own flags work, too: --check says what each of them does here."""
_EPILOG_ALL = (
    _EPILOG
    + """

--no-X switches off an option X that a file has switched on. @FILE stands for the arguments in FILE, one on each line;
USR2 reads FILE again. A value that begins with @, such as the name of an abstract socket, must follow its option."""
)
HELP_FLAGS = ("--help", "-h", "--help-all", "--version")


def show_and_exit(flag: str) -> NoReturn:
    """Print what one of HELP_FLAGS asks for, and exit."""
    if flag == "--version":
        print(f"wsgid {__version__} ({compiled.described()})")
    else:
        sys.stdout.write(build_parser(everything=flag == "--help-all").format_help())
    sys.exit(0)


def build_parser(everything: bool) -> "argparse.ArgumentParser":
    """Return a parser that formats the help. commandline.py reads the command line itself.

    Args:
        everything: whether the help shows all options by their groups, or the common ones.
    """
    import argparse  # only here: it takes 0.4 MB, and the command line is read without it

    parser = argparse.ArgumentParser(
        prog="wsgid",
        usage=_USAGE,
        add_help=False,
        epilog=_EPILOG_ALL if everything else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve a WSGI application behind nginx's uwsgi_pass. MODULE:CALLABLE names the "
        "application; MODULE:FACTORY() calls a factory.",
    )
    usual = parser.add_argument_group("options" if everything else "the usual options")
    for flags, text in (
        (("-h", "--help"), "Show the usual options, and exit."),
        (("--help-all",), "Show all options, and exit."),
        (("--version",), "Show the version, and exit."),
    ):
        usual.add_argument(*flags, action="store_true", help=text)
    groups = {group: parser.add_argument_group(group.value) if everything else usual for group in Group}
    for option in declared():
        if everything or option.common:
            _add_flags(groups[option.group], option, everything)
    return parser


def _add_flags(group: Any, option: Option, everything: bool) -> None:
    flags = list(flags_of(option))
    shown: Sequence[str] = flags if everything else [flag for flag in flags if flag is flags[0] or len(flag) == 2]
    if not shown:
        return
    more: dict[str, Any] = {"action": "store_true"} if option.kind is values.FLAG else {"metavar": option.metavar}
    if option.bare is not None:
        more["nargs"] = "?"
    group.add_argument(*shown, dest=option.name, help=help_of(option).replace("%", "%%"), **more)


def flags_of(option: Option) -> Iterable[str]:
    """Yield the flags of an option that the help shows. The application is an argument without a flag, but uWSGI's
    flags for it are accepted."""
    return option.flags if option.name == "application" else (option.flag, *option.flags)


def help_of(option: Option) -> str:
    """Return the help with the default, if the default is a value and the text does not name it."""
    said = option.default in ((), "", None, 0, -1, (-1, -1)) or "(default:" in option.text
    return option.text if said else f"{option.text.removesuffix('.')} (default: {option.show(option.default)})."
