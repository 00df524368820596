"""The options of all sources, merged: the command line before the environment before a file before the defaults.

Rules
* A repeatable option is whole in one source: the highest that names it decides; only --env adds up.
* A wrong value is a ConfigError that names where it stands, the value and what was expected, even if another source
  overrules it.
* How each source is read is the business of commandline.py, sources.py and ini.py; what options there are, that of
  options.py.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wsgid.config import commandline, sources
from wsgid.config.options import Given, Settings, from_dict
from wsgid.config.sources import Said
from wsgid.errors import ConfigError

__all__ = ["Configuration", "Settings", "from_dict", "read"]

_APPLICATION = re.compile(r"[\w.]+:[\w.]+(\(\))?")


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    Args:
        settings: what holds.
        given: who has said so, by the option's name; of a repeatable option all that count.
        notes: what of a file needs nothing here.
        warnings: what is not as it looks.
    """

    settings: Settings
    given: Mapping[str, Sequence[Given]]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def sources(self) -> Mapping[str, str]:
        """Where each option comes from that somebody gave, by its name: `uwsgi.ini:7`."""
        return {name: ", ".join(dict.fromkeys(one.origin for one in given)) for name, given in self.given.items()}


def read(argv: Sequence[str], environ: Mapping[str, str], restarted: bool = False) -> Configuration:
    """All sources.

    Args:
        argv: without the program's name.
        restarted: whether if-reload of an ini holds.

    Raises:
        ConfigError: an option is unknown or has a wrong value, or one that is needed is missing.
        SystemExit: the help or the version was asked for, and is printed.
    """
    line = commandline.parse(argv)
    environment = sources.from_environment(environ)
    named = _merged([environment.given, line])
    file = _file(_values(named), environ, restarted)
    given = _merged([file.given, environment.given, line])
    _decide_rivals(given, [line, environment.given, file.given])
    settings = Settings(**_values(given))
    _require_application(settings, line)
    return Configuration(settings, given, [*environment.notes, *file.notes], [*environment.warnings, *file.warnings])


def _file(values: Mapping[str, Any], environ: Mapping[str, str], restarted: bool) -> Said:
    """What the file says that the command line or the environment has named."""
    files, toml = values.get("ini", ()), values.get("config", "")
    if files and toml:
        raise ConfigError(f"both --ini {files[0]} and --config {toml} are given: put the options into one of them")
    if toml:
        return sources.from_toml(toml)
    said = sources.from_ini(files, environ, values.get("set_placeholder", ()), restarted) if files else Said()
    return replace(said, given=_based(said.given, values.get("chdir")))


def _based(given: Sequence[Given], chdir: str | None) -> list[Given]:
    """uWSGI takes some relative paths of an ini from the directory that chdir names."""
    own = [one.texts[-1] for one in given if one.option.name == "chdir"]
    directory = chdir or (own[-1] if own else "")
    return [
        replace(one, texts=tuple(os.path.join(directory, text) for text in one.texts))
        if directory and one.option.after_chdir
        else one
        for one in given
    ]


def _merged(lowest_first: Sequence[Sequence[Given]]) -> dict[str, list[Given]]:
    """What counts, by the option's name."""
    merged: dict[str, list[Given]] = {}
    for source in lowest_first:
        own: dict[str, list[Given]] = {}
        for one in source:
            _require_value(one)
            own[one.option.name] = [*own.get(one.option.name, []), one] if one.option.repeatable else [one]
        for name, given in own.items():
            merged[name] = [*merged.get(name, []), *given] if given[0].option.adds else given
    return merged


def _require_value(one: Given) -> None:
    """A wrong value is an error, even if another one counts."""
    try:
        one.value()
    except ConfigError as error:
        raise ConfigError(f"{error}{_swallowed(one)}") from error


def _values(merged: Mapping[str, Sequence[Given]]) -> dict[str, Any]:
    return {
        name: tuple(value for one in given for value in one.value())
        if given[0].option.repeatable
        else given[-1].value()
        for name, given in merged.items()
    }


def _decide_rivals(merged: dict[str, list[Given]], highest_first: Sequence[Sequence[Given]]) -> None:
    """The application is named by its module or by its file: the higher source decides.

    Raises:
        ConfigError: one source names both.
    """
    for source in highest_first:
        named = {one.option.name: one for one in source if one.option.name in ("application", "wsgi_file")}
        if len(named) == 2:
            module, file = (named[name].texts[0] for name in ("application", "wsgi_file"))
            raise ConfigError(f"both {module!r} and --wsgi-file {file!r} name an application: leave one of them out")
        if named:
            merged.pop("wsgi_file" if "application" in named else "application", None)
            return


def _require_application(settings: Settings, line: Sequence[Given]) -> None:
    if settings.application or settings.wsgi_file:
        return
    raise ConfigError(
        "no application is named: add MODULE:CALLABLE, such as app:application, or --wsgi-file PATH"
        + "".join(map(_swallowed, line))
    )


def _swallowed(one: Given) -> str:
    """What to say if an option whose value is optional has taken what looks like the application; empty if not."""
    if one.option.bare is None or not _APPLICATION.fullmatch(one.texts[0]):
        return ""
    flag = one.said.split()[0]
    return (
        f"; {one.said} has taken the application for its value: write {flag}={one.option.bare}, or the application "
        "first"
    )
