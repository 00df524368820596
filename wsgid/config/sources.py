"""The environment and files as sources of options: each source becomes a list of Given, in the order of its lines.

Rules
* An unknown name is an error with the place and the most similar name. The environment is different, because other
  programs write there (Kubernetes makes WSGID_PORT for a service called wsgid): a name that resembles no option is only
  a warning.
* The errors of a source are gathered in Said.complaints: a new uwsgi.ini often has several, and merge.py reports all.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from wsgid.config import foreign, ini, uwsgi_numbers, uwsgi_words, values
from wsgid.config.foreign import Said
from wsgid.config.ini import Entry, Ini
from wsgid.config.options import Given, Option, also_given, by_key, declared, nearest
from wsgid.errors import ConfigError

_OTHER_VARIABLES = ("WSGID_PURE", "WSGID_HANDOVER", "WSGID_DEV_PORT")  # compiled.py, supervisor/upgrade.py, dev.py
_OF_KUBERNETES = re.compile("WSGID_(.*_)?(PORT|SERVICE)(_.*)?")  # for a service called wsgid or wsgid-x
_WITH_VARIABLES = ("log_format", "log_date")  # their values have variables of their own
_NAMES = ("application", "wsgi_file", "callable")  # a name of Python has no blank, so it ends there
_NAME_AND_COMMENT = r"\s[;#]"
_COMMAND_LINE_ONLY = ("check", "migrate", "ini", "config", "set_placeholder")


T = TypeVar("T")


def _take_each(items: Iterable[T], take: Callable[[T], Given | None], said: Said) -> Said:
    """Add the option values of all items, and their errors, to `said`."""
    for item in items:
        try:
            given = take(item)
            if given is not None:
                if not given.option.after_chdir:  # merge.py looks at these
                    given.value()  # an invalid value is an error, even if another value counts
                said.given.append(given)
        except ConfigError as error:
            said.complaints.append(str(error))
    return said


# --- the environment ---


def from_environment(environ: Mapping[str, str]) -> Said:
    """Read variables such as WSGID_WORKERS=4, under any name of the option, and uWSGI's own, such as UWSGI_PROCESSES=4.
    An empty variable is ignored.

    The values of a repeatable option are separated by line breaks or, if there is no line break, by semicolons.

    A name that resembles an option's name, and two names for the same option, are errors.
    """
    said = Said()
    known = {"WSGID_" + key.upper().replace("-", "_"): option for key, option in by_key().items()}

    def take(name: str) -> Given | None:
        if name.startswith("UWSGI_"):
            return _from_uwsgis_variable(name, environ[name], said)
        if name in known and environ[name]:
            return _from_variable(known[name], name, environ[name], said)
        if name.startswith("WSGID_") and name not in (*known, *_OTHER_VARIABLES):
            said.warnings.append(_foreign_variable(name))
        return None

    return _take_each(environ, take, said)


def _from_uwsgis_variable(name: str, value: str, said: Said) -> Given | None:
    """uWSGI takes UWSGI_PROCESSES=4 for an option (parse_sys_envs), and any other name for a placeholder."""
    key = name.removeprefix("UWSGI_").lower().replace("_", "-")
    option = by_key().get(key)
    if key == "ini":
        said.words[key] = value
    elif option is not None and key in option.uwsgi and value:
        text = option.bare if option.bare is not None and value.lower() in ("true", "1") else value
        text, warning = uwsgi_numbers.read(option, key, text)
        said.warnings += [f"the environment's {name}: {warning}"] * bool(warning)
        return Given(option, (option.formats.get(key, "{}").format(text),), f"{name}={value!r}", name)
    elif uwsgi_words.arity(key) is not None:
        foreign.take(said, "the environment's ", name, value)
    return None


def _from_variable(option: Option, name: str, value: str, said: Said) -> Given | None:
    rivals = [given.origin for given in said.given if given.option is option]
    if rivals:
        raise ConfigError(f"the environment's {rivals[0]} and {name} are the same option: leave one of them out")
    separator = "\n" if "\n" in value else ";"
    texts = tuple(filter(None, value.split(separator))) if option.repeatable else (value,)
    form = option.formats.get(name.removeprefix("WSGID_").lower().replace("_", "-"), "{}")
    return Given(option, tuple(map(form.format, texts)), f"{name}={value!r}", name) if texts else None


def _foreign_variable(name: str) -> str:
    guess = nearest(name.removeprefix("WSGID_"), (option.variable.removeprefix("WSGID_") for option in declared()))
    if guess and not _OF_KUBERNETES.fullmatch(name):
        raise ConfigError(f"the environment's {name} is no option" + guess.replace("mean '", "mean 'WSGID_"))
    return f"the environment's {name} is no option: ignored"


# --- TOML ---


def from_toml(path: str) -> Said:
    """Read a TOML file: a flat table, or a table [wsgid]. A list gives several values.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    import tomllib  # needed only with such a file

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror or error}; correct the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    own = table.get("wsgid")
    pairs = (own if isinstance(own, dict) else table).items()
    return _take_each(pairs, lambda pair: _from_pair(path, *pair), Said())


def _from_pair(path: str, key: str, value: Any) -> Given:
    option = by_key().get(key)
    if option is None:
        raise ConfigError(f"{path}: unknown option {key!r}{nearest(key, by_key())}")
    if option.name in _COMMAND_LINE_ONLY:
        raise ConfigError(f"{path}: {key} belongs on the command line")
    said = f"{path}: {key} = {value!r}"
    items = value if isinstance(value, list) and option.repeatable else [value]
    if not all(isinstance(item, (str, int, float)) for item in items):
        expected = "a text, a number, or a list of them" if option.repeatable else "one text, number, true or false"
        raise ConfigError(f"{said} cannot be used: expected {expected}")
    texts = tuple(option.formats.get(key, "{}").format(_text_of(item)) for item in items)
    return Given(option, texts or ("",) * (not option.repeatable), said, f"{path}: {key}")


def _text_of(item: str | int | float) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return values.SECONDS.show(item) if isinstance(item, float) else str(item)


# --- uWSGI's ini ---


def from_ini(
    files: Iterable[str], environ: Mapping[str, str], keys: Iterable[tuple[str, str]] = (), restarted: bool = False
) -> Said:
    """Read ini files; see ini.read. An unknown key must be used as %(key), otherwise it is an error.

    Raises:
        ConfigError: with file and line.
    """
    keys = tuple(keys)
    for key, value in keys:
        if key in by_key():
            raise ConfigError(f"--set-placeholder {key}={value} names an option: write {by_key()[key].flag} {value}")
    read = ini.read(files, environ, keys, restarted)
    said = Said(warnings=list(read.warnings), notes=list(read.prints), complaints=list(read.complaints))
    strict = any(entry.key == "strict" and entry.value.lower() not in foreign.FALSE for entry in read.entries)

    def take(entry: Entry) -> Given | None:
        option = _option(entry, read)
        if option is not None:
            if entry.key in option.uwsgi:
                said.words[entry.key] = entry.value
            return _from_entry(option, entry, read, said)
        _take_foreign(entry, read, strict, said)
        return None

    _take_each(read.entries, take, said)
    said.given += [
        given
        for entry in read.entries
        if (option := by_key().get(entry.key))
        for given in also_given(option, entry.key, entry.place)
    ]
    return said


def _option(entry: Entry, read: Ini) -> Option | None:
    """Return the option of a key. None for a name that only wsgid knows, if the file uses it as its own placeholder."""
    option = by_key().get(entry.key)
    if option is None or option.name in _COMMAND_LINE_ONLY or "_" in entry.key:
        return None
    return option if entry.key in option.uwsgi or entry.key not in read.references else None


def _from_entry(option: Option, entry: Entry, read: Ini, said: Said) -> Given:
    text = _without_comment(option, entry, said)
    shown = f"{entry.place}: {entry.key} = {entry.value!r}"
    if not text and option.kind is not values.FLAG:
        raise ConfigError(f"{shown} cannot be used: a value is missing")
    given = Given(option, (option.formats.get(entry.key, "{}").format(text),), shown, entry.place)
    undefined = "" if option.name in _WITH_VARIABLES else _undefined(entry, read)
    try:
        if not option.after_chdir:
            given.value()
    except ConfigError as error:
        raise ConfigError(f"{error}{undefined and '; ' + undefined}") from error
    if undefined:
        said.warnings.append(f"{entry.place}: {entry.key}: {undefined}")
    return given


def _without_comment(option: Option, entry: Entry, said: Said) -> str:
    """Return the value of an option as uWSGI understands it, and warn where that is not what the line seems to say."""
    text = entry.value
    if not text or (option.bare is not None and text.lower() in ("true", "1")):
        text = option.bare if option.bare is not None else "true" if option.kind is values.FLAG else ""
    stripped = re.sub(r"\s+[;#].*", "", text) if option.kind.is_number else text
    if stripped != text:
        said.warnings.append(
            f"{entry.place}: the text after {stripped!r} is taken for a comment; uWSGI's ini has no comments "
            "after a value: put the comment on a line of its own"
        )
    elif re.search(_NAME_AND_COMMENT if option.name in _NAMES else r"\s[;#](\s|$)", text) and (
        option.name != "log_format"
    ):
        said.warnings.append(
            f"{entry.place}: {entry.key} = {text!r}: all of it is the value, as in uWSGI, which has "
            "no comments there: put a comment on a line of its own"
        )
    if entry.key in option.uwsgi and stripped:
        stripped, warning = uwsgi_numbers.read(option, entry.key, stripped)
        said.warnings += [f"{entry.place}: {warning}"] * bool(warning)
    return stripped


def _undefined(entry: Entry, read: Ini) -> str:
    """Return a sentence about a variable that has stayed in a value; empty if there is none."""
    for name in re.findall(r"%\(([\w.-]+)\)", entry.value):
        return f"%({name}) stays as it is, because no line sets {name}: add a line {name} = ..."
    for name in re.findall(r"\$\((\w+)\)", entry.value):
        return f"$({name}) stays as it is, because the environment has no {name}: set it, or write $({name}:-default)"
    return ""


def _take_foreign(entry: Entry, read: Ini, strict: bool, said: Said) -> None:
    """Handle a key that is no option: an option of uWSGI, a placeholder, or a mistake."""
    is_used = entry.key in read.references
    if foreign.take(said, f"{entry.place}: ", entry.key, entry.value, is_used) or is_used:
        return
    guess = foreign.similar(entry.key)
    if strict:
        raise ConfigError(f"{entry.place}: unknown option {entry.key!r}{guess} (the file has strict)")
    said.warnings.append(
        f"{entry.place}: {entry.key} is no option, of uWSGI neither, and has no effect{guess or ': remove the line'}"
    )
