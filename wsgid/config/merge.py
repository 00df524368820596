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
from contextlib import suppress
from typing import Any

from wsgid.config import commandline, dev, sources, together
from wsgid.config.foreign import Said
from wsgid.config.options import Given, Settings, from_dict
from wsgid.errors import ConfigError
from wsgid.records import dataclass, replace

__all__ = ["Configuration", "Settings", "from_dict", "read"]

_APPLICATION = re.compile(r"[\w.]+:[\w.]+(\(.*\))?")
_APPLICATIONS = ("application", "wsgi_file", "paste")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The merged options.

    Args:
        settings: the resulting values.
        given: for each option's name, the sources that count; several for a repeatable option.
        notes: about options of a file that have no effect.
        warnings: about options that may not mean what they seem to mean.
        differences: what works in another way than in uWSGI, for a site that comes from there.
    """

    settings: Settings
    given: Mapping[str, Sequence[Given]]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    differences: Sequence[str] = ()

    def sources(self) -> Mapping[str, str]:
        """Return the source of each option that is not a default, by the option's name: `uwsgi.ini:7`."""
        return {name: ", ".join(dict.fromkeys(value.origin for value in given)) for name, given in self.given.items()}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What all sources say, valid or not.

    Args:
        given: the valid values that count, by the option's name.
        complaints: the errors, one sentence each.
        notes, warnings: as for Configuration.
        words: uWSGI's options with their last values.
    """

    given: dict[str, list[Given]]
    complaints: Sequence[str]
    notes: Sequence[str]
    warnings: Sequence[str]
    words: Mapping[str, str]


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
    gathered = gather(argv, environ, restarted)
    if gathered.complaints:
        raise ConfigError("\n".join(gathered.complaints))
    given = gathered.given
    settings = Settings(**_values(given))
    warnings = [*gathered.warnings, *together.warnings(settings, gathered.words, "gevent" in given)]
    differences = together.differences(settings, gathered.words)
    return Configuration(settings, given, gathered.notes, warnings, differences)


def gather(argv: Sequence[str], environ: Mapping[str, str], restarted: bool = False) -> Gathered:
    """Read and merge all sources, as `read` does, and keep the errors.

    Raises:
        ConfigError: a file cannot be read.
        SystemExit: the help or the version was asked for, and was printed.
    """
    line = commandline.parse(argv)
    environment = sources.from_environment(environ)
    found = _sources(environment, line)
    if "ini" in environment.words:  # uWSGI reads UWSGI_INI after the files of its command line
        found["ini"] = (*found.get("ini", ()), environment.words["ini"])
    file = _file(found, environ, restarted)
    lowest_first = (file, environment, line)
    for source in lowest_first:
        source.given = _based(source.given, lowest_first)
    given = _merged(lowest_first)
    _decide_rivals(given, [line.given, environment.given, file.given])
    words = file.words | line.words | environment.words
    if dev.is_wanted(given):
        given = dev.fill(given, environ)
    complaints, notes, warnings = (
        [text for source in lowest_first[::-1] for text in getattr(source, name)]
        for name in ("complaints", "notes", "warnings")
    )
    if not any(name in given for name in (*_APPLICATIONS, "mount")):
        complaints.append(_no_application(line, words))
    return Gathered(together.adjusted(given, words), complaints, notes, warnings, words)


def _sources(environment: Said, line: Said) -> dict[str, Any]:
    """Return the options that name other sources. An invalid one is a complaint later, as other options are."""
    found: dict[str, Any] = {}
    for said in (environment, line):
        for name in ("ini", "config", "set_placeholder"):
            given = [value for value in said.given if value.option.name == name]
            with suppress(ConfigError):
                found |= _values({name: given}) if given else {}
    return found


def _file(values: Mapping[str, Any], environ: Mapping[str, str], restarted: bool) -> Said:
    """Read the file that the command line or the environment names."""
    files, toml = values.get("ini", ()), values.get("config", "")
    if files and toml:
        raise ConfigError(f"both --ini {files[0]} and --config {toml} are given: put the options into one of them")
    if toml:
        return sources.from_toml(toml)
    return sources.from_ini(files, environ, values.get("set_placeholder", ()), restarted) if files else Said()


def _based(given: Sequence[Given], lowest_first: Sequence[Said]) -> list[Given]:
    """Make some relative paths absolute: as in uWSGI, they start from the directory of chdir, wherever it is named."""
    named = [value.texts[-1] for source in lowest_first for value in source.given if value.option.name == "chdir"]
    directory = os.path.abspath(named[-1]) if named else ""
    return [
        replace(value, texts=tuple(os.path.join(directory, text) for text in value.texts))
        if directory and value.option.after_chdir
        else value
        for value in given
    ]


def _merged(lowest_first: Sequence[Said]) -> dict[str, list[Given]]:
    """Return the values that count, by the option's name. An invalid value becomes a complaint of its source, even if
    another value counts."""
    merged: dict[str, list[Given]] = {}
    for source in lowest_first:
        own: dict[str, list[Given]] = {}
        for value in _valid(source):
            own[value.option.name] = [*own.get(value.option.name, []), value] if value.option.repeatable else [value]
        for name, given in own.items():
            merged[name] = [*merged.get(name, []), *given] if given[0].option.adds else given
    return merged


def _valid(source: Said) -> list[Given]:
    """Return the valid values of a source, and take the others out of it."""
    valid: list[Given] = []
    for given in source.given:
        try:
            given.value()
            valid.append(given)
        except ConfigError as error:
            source.complaints.append(f"{error}{_swallowed(given)}")
    source.given = valid
    return valid


def _values(merged: Mapping[str, Sequence[Given]]) -> dict[str, Any]:
    return {
        name: tuple(value for source in given for value in source.value())
        if given[0].option.repeatable
        else given[-1].value()
        for name, given in merged.items()
    }


def _decide_rivals(merged: dict[str, list[Given]], highest_first: Sequence[Sequence[Given]]) -> None:
    """Decide between the application's module, its file, and paste.deploy: the higher source wins. If one source names
    both module and file, the importer tries them in this order, as uWSGI does."""
    for source in highest_first:
        named = {value.option.name for value in source if value.option.name in _APPLICATIONS}
        if named:
            for name in _APPLICATIONS:
                if name not in named:
                    merged.pop(name, None)
            return


def _no_application(line: Said, words: Mapping[str, str]) -> str:
    vhost = "vhost" in words or "vhost-host" in words
    return (
        "no application is named: add MODULE:CALLABLE, such as app:application, or --wsgi-file PATH"
        + "; in uWSGI nginx names it (UWSGI_SCRIPT, UWSGI_MODULE): start a wsgid for each application" * vhost
        + "".join(map(_swallowed, line.given))
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
