"""The command line: from flags to option values; and the two help texts.

Rules
* Every flag comes from a declaration in options.py. A flag without a value also has a negative form, --no-X.
* Values of the command line are not checked here but in merge.py, together with those of all other sources.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from wsgid import __version__, compiled
from wsgid.config import uwsgi_options, values
from wsgid.config.options import Given, Group, Option, by_key, declared, nearest
from wsgid.config.uwsgi_options import Verdict
from wsgid.errors import ConfigError

_USAGE = "wsgid [OPTIONS] [FILE.ini] [MODULE:CALLABLE]"
_EPILOG = """example: wsgid --socket app.sock --workers 4 app:application

Every option can also be an environment variable (WSGID_WORKERS=4), a key in a TOML file (--config), or a key in an
ini file of uWSGI (--ini), under uWSGI's names. The command line wins over the environment, and the environment over
files."""
_EPILOG_ALL = (
    _EPILOG
    + """

--no-X switches off an option X that a file has switched on. @FILE stands for the arguments in FILE, one on each line;
USR2 reads FILE again. A value that begins with @, such as the name of an abstract socket, must follow its option."""
)


class _Parser(argparse.ArgumentParser):
    """argparse, with errors as ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"the command line: {message}")


class _Collect(argparse.Action):
    """Keeps each value with the flag that was used, in the order of the command line."""

    def __init__(self, *args: Any, declared_option: Option, **more: Any) -> None:
        super().__init__(*args, **more)
        self._option = declared_option

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        given: Any,
        option_string: str | None = None,
    ) -> None:
        flag = str(option_string)
        if self._option.kind is values.FLAG:
            text, said = ("false" if flag.startswith("--no-") else "true"), flag
        else:
            text = self._option.formats.get(flag.lstrip("-"), "{}").format(given)
            said = f"{flag} {given!r}"
        namespace.given.append(Given(self._option, (text,), said, "command line"))


def parse(argv: Sequence[str]) -> list[Given]:
    """Return the option values of a command line. A repeated option is returned once for each time.

    Args:
        argv: without the program's name.

    Raises:
        ConfigError: a flag is unknown, a value is missing, or two applications are named.
        SystemExit: the help or the version was asked for, and was printed.
    """
    namespace = argparse.Namespace(given=[])
    _, others = build_parser(everything=False).parse_known_args(_with_files(argv), namespace)
    unknown = [argument.partition("=")[0] for argument in others if argument.startswith("-") and argument != "--"]
    if unknown:  # all at once: a command line for uWSGI may have many
        raise ConfigError("; ".join(map(_unknown, dict.fromkeys(unknown))))
    given: list[Given] = namespace.given
    positionals = [argument for argument in others if argument != "--"]
    if positionals and (source := _as_file(positionals[0])):
        given.insert(0, source)
        del positionals[0]
    if len(positionals) > 1:
        raise ConfigError(f"{positionals[0]!r} and {positionals[1]!r} both name an application: leave one of them out")
    given += [_positional("application", text) for text in positionals]
    return given


def _positional(name: str, text: str) -> Given:
    return Given(by_key()[name], (text,), repr(text), "command line")


def _as_file(text: str) -> Given | None:
    """Treat the first argument as uWSGI does: a name that ends in .ini is a file of options. Here .toml is one too. For
    uWSGI's other kinds of files, ini.py raises an error."""
    match = re.fullmatch(r"(.+\.ini|.+\.xml|.+\.ya?ml|.+\.json)(:[^:]*)?", text)
    if match and (match[2] is None or Path(match[1]).is_file()):
        return _positional("ini", text)
    return _positional("config", text) if text.endswith(".toml") else None


def _unknown(flag: str) -> str:
    row = uwsgi_options.find(flag.lstrip("-"), "")
    if row is not None and flag.startswith("--"):
        remedy = f"leave it out; {row.text}" if row.verdict is Verdict.NEEDLESS else row.text
        return f"{flag} is uWSGI's, and no option here: {remedy}"
    return f"unknown option {flag}{nearest(flag, [*_flags(declared()), '--help', '--help-all', '--version'])}"


def _flags(options: Iterable[Option]) -> Iterable[str]:
    return (flag for option in options for flag in _flags_of(option))


def _with_files(argv: Sequence[str], within: tuple[str, ...] = ()) -> list[str]:
    """Replace each @FILE by the arguments in the file, unless @FILE is the value of the flag before it."""
    taking = set(_flags(option for option in declared() if option.kind is not values.FLAG and option.bare is None))
    expanded: list[str] = []
    for argument in argv:
        if argument.startswith("@") and not (expanded and expanded[-1] in taking):
            if argument in within:
                raise ConfigError(
                    f"the arguments in {argument} go round in a circle: {' -> '.join((*within, argument))}"
                )
            expanded += _with_files(_arguments_in(argument[1:]), (*within, argument))
        else:
            expanded.append(argument)
    return expanded


def _arguments_in(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # no such file, no text, or no path
        raise ConfigError(
            f"the arguments in @{path} cannot be read: {error}; correct the path, or write --socket "
            "before an address that begins with @"
        ) from error


# --- the parser and the helps ---


class _ShowHelp(argparse.Action):
    def __init__(self, *args: Any, everything: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        self._everything = everything

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        sys.stdout.write(build_parser(self._everything).format_help())
        sys.exit(0)


def build_parser(everything: bool) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        everything: whether the help shows all options by their groups, or the common ones.
    """
    parser = _Parser(
        prog="wsgid",
        usage=_USAGE,
        allow_abbrev=False,
        add_help=False,
        epilog=_EPILOG_ALL if everything else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve a WSGI application behind nginx's uwsgi_pass. MODULE:CALLABLE names the "
        "application; MODULE:FACTORY() calls a factory.",
    )
    usual = parser.add_argument_group("options" if everything else "the usual options")
    for name, all_of_them, text in (
        ("--help", False, "Show the usual options, and exit."),
        ("--help-all", True, "Show all options, and exit."),
    ):
        usual.add_argument(
            *(("-h", name) if name == "--help" else (name,)),
            action=_ShowHelp,
            nargs=0,
            help=text,
            everything=all_of_them,
        )
    usual.add_argument(
        "--version",
        action="version",
        help="Show the version, and exit.",
        version=f"wsgid {__version__} ({compiled.described()})",
    )
    groups = {group: parser.add_argument_group(group.value) if everything else usual for group in Group}
    for option in declared():
        _add_flags(groups[option.group], option, everything)
    return parser


def _add_flags(group: Any, option: Option, everything: bool) -> None:
    flags = list(_flags_of(option))
    usual = [flag for flag in flags if flag is flags[0] or len(flag) == 2] if option.common else []
    shown = flags if everything else usual
    hidden = [flag for flag in flags if flag not in shown]
    for some, text in ((shown, help_of(option).replace("%", "%%")), (hidden, argparse.SUPPRESS)):
        if some:
            _add_argument(group, option, some, text)


def _flags_of(option: Option) -> Iterable[str]:
    """Yield the flags of an option. The application is an argument without a flag, but uWSGI's flags for it are
    accepted."""
    return option.flags if option.name == "application" else (option.flag, *option.flags)


def _add_argument(group: Any, option: Option, flags: Sequence[str], help_text: str) -> None:
    common: dict[str, Any] = {
        "dest": option.name,
        "action": _Collect,
        "declared_option": option,
        "default": argparse.SUPPRESS,
    }
    if option.kind is values.FLAG:
        group.add_argument(*flags, nargs=0, help=help_text, **common)
        denials = ["--no-" + flag[2:] for flag in flags if flag.startswith("--")]
        if denials:
            group.add_argument(*denials, nargs=0, help=argparse.SUPPRESS, **common)
    elif option.bare is not None:
        group.add_argument(*flags, nargs="?", const=option.bare, metavar=option.metavar, help=help_text, **common)
    else:
        group.add_argument(*flags, metavar=option.metavar, help=help_text, **common)


def help_of(option: Option) -> str:
    """Return the help with the default, if the default is a value and the text does not name it."""
    said = option.default in ((), "", None, 0, -1, (-1, -1)) or "(default:" in option.text
    return option.text if said else f"{option.text.removesuffix('.')} (default: {option.show(option.default)})."
