"""Merges the options of all sources: the command line wins over the environment, then come files, then defaults.

Rules
* The values of a repeatable option come from one source: the highest that names the option. Only --env adds up.
* An invalid value is a ConfigError, even if a higher source overrides the value. The error names the place, the value
  and what was expected.
* commandline.py, sources.py and ini.py read the sources; options.py has the list of options.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wsgid.config import commandline, sources
from wsgid.config.options import Given, Settings, from_dict
from wsgid.config.sources import Said
from wsgid.errors import ConfigError
from wsgid.records import dataclass, replace

__all__ = ["Configuration", "Settings", "from_dict", "read"]

_APPLICATION = re.compile(r"[\w.]+:[\w.]+(\(\))?")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The merged options.

    Args:
        settings: the resulting values.
        given: for each option's name, the sources that count; several for a repeatable option.
        notes: about options of a file that have no effect.
        warnings: about options that may not mean what they seem to mean.
    """

    settings: Settings
    given: Mapping[str, Sequence[Given]]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def sources(self) -> Mapping[str, str]:
        """Return the source of each option that is not a default, by the option's name: `uwsgi.ini:7`."""
        return {name: ", ".join(dict.fromkeys(value.origin for value in given)) for name, given in self.given.items()}


def read(argv: Sequence[str], environ: Mapping[str, str], restarted: bool = False) -> Configuration:
    """Read and merge all sources.

    Args:
        argv: without the program's name.
        environ: the environment.
        restarted: whether if-reload of an ini file holds.

    Raises:
        ConfigError: an option is unknown or has an invalid value, or a required option is missing.
        SystemExit: the help or the version was asked for, and was printed.
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
    """Read the file that the command line or the environment names."""
    files, toml = values.get("ini", ()), values.get("config", "")
    if files and toml:
        raise ConfigError(f"both --ini {files[0]} and --config {toml} are given: put the options into one of them")
    if toml:
        return sources.from_toml(toml)
    said = sources.from_ini(files, environ, values.get("set_placeholder", ()), restarted) if files else Said()
    return replace(said, given=_based(said.given, values.get("chdir")))


def _based(given: Sequence[Given], chdir: str | None) -> list[Given]:
    """Make relative paths absolute where uWSGI does: some paths in an ini start from the directory of chdir."""
    own = [value.texts[-1] for value in given if value.option.name == "chdir"]
    directory = chdir or (own[-1] if own else "")
    return [
        replace(value, texts=tuple(os.path.join(directory, text) for text in value.texts))
        if directory and value.option.after_chdir
        else value
        for value in given
    ]


def _merged(lowest_first: Sequence[Sequence[Given]]) -> dict[str, list[Given]]:
    """Return the values that count, by the option's name."""
    merged: dict[str, list[Given]] = {}
    for source in lowest_first:
        own: dict[str, list[Given]] = {}
        for value in source:
            _require_value(value)
            own[value.option.name] = [*own.get(value.option.name, []), value] if value.option.repeatable else [value]
        for name, given in own.items():
            merged[name] = [*merged.get(name, []), *given] if given[0].option.adds else given
    return merged


def _require_value(given: Given) -> None:
    """Raise an error for an invalid value, even if another value counts."""
    try:
        given.value()
    except ConfigError as error:
        raise ConfigError(f"{error}{_swallowed(given)}") from error


def _values(merged: Mapping[str, Sequence[Given]]) -> dict[str, Any]:
    return {
        name: tuple(value for source in given for value in source.value())
        if given[0].option.repeatable
        else given[-1].value()
        for name, given in merged.items()
    }


def _decide_rivals(merged: dict[str, list[Given]], highest_first: Sequence[Sequence[Given]]) -> None:
    """Decide between the application's module and its file: the higher source wins.

    Raises:
        ConfigError: one source names both.
    """
    for source in highest_first:
        named = {value.option.name: value for value in source if value.option.name in ("application", "wsgi_file")}
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


def _swallowed(given: Given) -> str:
    """Return an explanation if an option with an optional value has taken the application's name as its value."""
    if given.option.bare is None or not given.said.startswith("-") or not _APPLICATION.fullmatch(given.texts[0]):
        return ""
    flag = given.said.split()[0]
    return (
        f"; {given.said} has taken the application for its value: write {flag}={given.option.bare}, or the application "
        "first"
    )
