"""The command line: from flags to option values.

Rules
* Every flag comes from a declaration in options.py. uWSGI's flags are read as getopt_long(3) reads them, also those of
  options that wsgid does not have: then --check says why the flag needs nothing, or an error names the remedy.
* A value follows an equals sign or a blank. After a letter it may follow at once (-p4), and letters without a value may
  share a dash (-Mp4).
* Values of the command line are not checked here but in merge.py, together with those of all other sources.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import cache
from pathlib import Path

from wsgid.config import foreign, other_servers, uwsgi_numbers, uwsgi_words, values
from wsgid.config.foreign import Said
from wsgid.config.options import Given, Option, also_given, by_key, declared, nearest
from wsgid.config.usage import HELP_FLAGS, flags_of, show_and_exit
from wsgid.config.uwsgi_words import Arity
from wsgid.errors import ConfigError
from wsgid.records import replace

_FILE = re.compile(r"(?P<path>.+\.(?:ini|xml|ya?ml|json|toml))(?P<section>:[^:]*)?")
_PYTHON_FILE = re.compile(r"(?P<path>.+\.(?:py|wsgi))(?::(?P<callable>\w+))?")  # uwsgi_python_magic of uWSGI's plugin


class _Takes(Enum):
    """How a flag finds its value."""

    NOTHING = auto()
    NUMBER = auto()  # the next argument, if that is a number
    PERHAPS = auto()  # the next argument, if that can be one
    VALUE = auto()
    ATTACHED = auto()  # only after an equals sign


def parse(argv: Sequence[str]) -> Said:
    """Return the option values of a command line. A repeated option is returned once for each time. Unknown and refused
    flags, missing values and a second application are complaints.

    Args:
        argv: without the program's name.

    Raises:
        ConfigError: an @FILE cannot be read.
        SystemExit: the help or the version was asked for, and was printed.
    """
    return _Line(_with_files(argv)).read()


class _Line:
    """Reads the arguments one after the other, and gathers the errors: a command line for uWSGI may have many."""

    def __init__(self, arguments: list[str]) -> None:
        self._left = arguments
        self._said = Said()
        self._named: list[Given] = []  # the application, and files of options

    def read(self) -> Said:
        while self._left:
            argument = self._left.pop(0)
            if argument == "--":
                break
            if argument.startswith("--"):
                self._try(self._long, argument)
            elif argument.startswith("-") and argument != "-":
                self._try(self._letters, argument)
            else:
                self._try(self._positional, argument)
        for argument in self._left:
            self._try(self._positional, argument)
        if self._said.words or any(given.option.name == "ini" for given in (*self._named, *self._said.given)):
            self._said.given = list(map(self._as_uwsgi_reads, self._said.given))
        # A file stands for what it says at its place; here the other flags count more in any case.
        self._said.given[:0] = self._named
        return self._said

    def _as_uwsgi_reads(self, given: Given) -> Given:
        """Take a number of a command line that was written for uWSGI as uWSGI does."""
        flag = given.said.split()[0]
        name = uwsgi_words.LETTERS.get(flag[1:], flag.removeprefix("--"))
        if not flag.startswith("-") or flag == given.said or name not in given.option.uwsgi:
            return given
        text, warning = uwsgi_numbers.read(given.option, name, given.texts[0])
        self._said.warnings += [f"the command line's {flag}: {warning}"] * bool(warning)
        return replace(given, texts=(text,))

    def _try(self, take: Callable[[str], None], argument: str) -> None:
        try:
            take(argument)
        except ConfigError as error:
            self._said.complaints.append(str(error))

    def _long(self, argument: str) -> None:
        flag, equals, text = argument.partition("=")
        if flag in HELP_FLAGS or flag == "--usage":
            show_and_exit(flag)
        takes = _takes(flag)
        value = text if equals else self._value(flag, takes)
        if equals and _is_known(flag) and takes is _Takes.NOTHING and text.lower() not in values.BOOLEANS:
            raise ConfigError(f"{argument}: {flag} takes no value but true or false: write {flag}")
        self._add(flag, value)

    def _letters(self, argument: str) -> None:
        if argument in HELP_FLAGS:
            show_and_exit(argument)
        letters = argument[1:]
        while letters:
            flag, letters = "-" + letters[0], letters[1:]
            takes = _takes(flag)
            if takes is _Takes.NOTHING:
                self._add(flag, None)
                continue
            attached = letters.removeprefix("=")
            self._add(flag, attached or self._value(flag, takes))
            return

    def _value(self, flag: str, takes: _Takes) -> str | None:
        """Return the next argument, if it is the value of this flag.

        Raises:
            ConfigError: the flag needs a value.
        """
        following = self._left[0] if self._left else None
        is_there = following is not None and not _is_flag(following)
        if takes is _Takes.VALUE:
            if not is_there:
                raise ConfigError(f"{flag} needs a value: write {flag} VALUE, or {flag}=VALUE")
            return self._left.pop(0)
        if takes is _Takes.NUMBER:
            is_there = is_there and str(following).isdigit()
        elif takes is _Takes.PERHAPS:
            is_there = is_there and _may_be_value(flag, str(following))
        else:
            is_there = False
        return self._left.pop(0) if is_there else None

    def _add(self, flag: str, value: str | None) -> None:
        option = _options().get(flag)
        if flag == "--config" and value and value.endswith(".ini"):  # uWSGI takes all kinds of files there
            option = by_key()["ini"]
        if option is not None:
            self._said.given.append(_given(option, flag, value))
            self._said.given += also_given(option, flag.removeprefix("--"), _ORIGIN)
            if flag.startswith("--ini-paste"):  # the file also has a section [uwsgi]
                self._named.append(_named("ini", str(value)))
            return
        if remedy := other_servers.remedy(flag, value):
            raise ConfigError(f"unknown option {flag}: {remedy}")
        name = uwsgi_words.LETTERS.get(flag[1:], flag.removeprefix("--"))
        if not foreign.take(self._said, f"{flag}: " if len(flag) == 2 else "", "--" + name, value or ""):
            raise ConfigError(f"unknown option {flag}{nearest(flag, [*_options(), *HELP_FLAGS, *_uwsgis()])}")

    def _positional(self, text: str) -> None:
        """uWSGI takes files of options, Python files, and MODULE:CALLABLE."""
        file, python = _FILE.fullmatch(text), _PYTHON_FILE.fullmatch(text)
        if file and (file["section"] is None or Path(file["path"]).is_file()):
            self._named.append(_named("config" if file["path"].endswith(".toml") else "ini", text))
            return
        rivals = [given for given in self._said.given if given.said == repr(given.texts[0])]
        if rivals:
            raise ConfigError(f"{rivals[0].texts[0]!r} and {text!r} both name an application: leave one of them out")
        if python and (python["callable"] is None or Path(python["path"]).is_file()):
            self._said.given.append(Given(by_key()["wsgi_file"], (python["path"],), repr(python["path"]), _ORIGIN))
            if python["callable"]:
                self._said.given.append(_named("callable", python["callable"]))
        else:
            self._said.given.append(_named("application", text))


_ORIGIN = "command line"


def _named(name: str, text: str) -> Given:
    return Given(by_key()[name], (text,), repr(text), _ORIGIN)


def _given(option: Option, flag: str, value: str | None) -> Given:
    if option.kind is values.FLAG:
        text = "false" if flag.startswith("--no-") and flag != option.flag else "true"
        if value is not None:
            return Given(option, (value,), f"{flag} {value!r}", _ORIGIN)
        return Given(option, (text,), flag, _ORIGIN)
    if value is None:
        value = str(option.bare)
    text = option.formats.get(flag.lstrip("-"), "{}").format(value)
    return Given(option, (text,), f"{flag} {value!r}", _ORIGIN)


@cache
def _options() -> dict[str, Option]:
    """Return the options by all their flags: those of the help, uWSGI's names, and --no-X."""
    found = {flag: option for option in declared() for flag in flags_of(option)}
    found |= {f"--{name}": option for option in declared() for name in option.uwsgi if len(name) > 1}
    denials = {"--no-" + flag[2:]: option for flag, option in found.items() if option.kind is values.FLAG}
    return {**{flag: option for flag, option in denials.items() if not flag.startswith("--no--")}, **found}


def _uwsgis() -> list[str]:
    return ["--" + name for name in uwsgi_words.names()]


def _takes(flag: str) -> _Takes:
    option = _options().get(flag)
    if flag in other_servers.SWITCHES:
        return _Takes.NOTHING
    if flag in other_servers.WITH_VALUE:
        return _Takes.VALUE
    name = uwsgi_words.LETTERS.get(flag[1:], flag.removeprefix("--"))
    arity = uwsgi_words.arity(name)
    if option is None:
        return {Arity.ONE: _Takes.VALUE, Arity.OPTIONAL: _Takes.ATTACHED}.get(arity or Arity.NONE, _Takes.NOTHING)
    if option.kind is values.FLAG:
        return _Takes.NUMBER if arity is Arity.ONE else _Takes.NOTHING
    return _Takes.VALUE if option.bare is None else _Takes.PERHAPS


def _is_known(flag: str) -> bool:
    return flag in _options() or uwsgi_words.arity(flag.removeprefix("--")) is not None


def _may_be_value(flag: str, text: str) -> bool:
    """Whether an argument can be the value of a flag that also stands alone: `--chmod-socket 660`, but not
    `--chmod-socket uwsgi.ini`."""
    if _FILE.fullmatch(text) or _PYTHON_FILE.fullmatch(text):
        return False
    return not _options()[flag].kind.is_number or not re.match(r"[A-Za-z_]", text) or text.lower() in values.BOOLEANS


def _is_flag(text: str) -> bool:
    return text.startswith("--") or (len(text) == 2 and text[0] == "-" and text[1].isalpha())


def _with_files(argv: Sequence[str], within: tuple[str, ...] = ()) -> list[str]:
    """Replace each @FILE by the arguments in the file, unless @FILE is the value of the flag before it."""
    expanded: list[str] = []
    for argument in argv:
        if argument.startswith("@") and not (
            expanded and expanded[-1].startswith("-") and _takes(expanded[-1]) is _Takes.VALUE
        ):
            if argument in within:
                raise ConfigError(f"the argument files include each other: {' -> '.join((*within, argument))}")
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
