"""The environment and files as sources of options: each source becomes a list of Given, in the order of its lines.

Rules
* An unknown name is an error with the place and the most similar name. The environment is different, because other
  programs write there (Kubernetes makes WSGID_PORT for a service called wsgid): a name that resembles no option is only
  a warning.
* All errors of a source are reported at once, one line each: a new uwsgi.ini often has several.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from wsgid.config import ini, uwsgi_options, values
from wsgid.config.ini import Entry, Ini
from wsgid.config.options import Given, Option, by_key, declared, nearest
from wsgid.config.uwsgi_options import Verdict
from wsgid.errors import ConfigError
from wsgid.records import dataclass, field

_OTHER_VARIABLES = ("WSGID_PURE", "WSGID_HANDOVER")  # compiled.py, supervisor/upgrade.py
_OF_KUBERNETES = re.compile("WSGID_(.*_)?(PORT|SERVICE)(_.*)?")  # for a service called wsgid or wsgid-x
_COMMAND_LINE_ONLY = ("check", "ini", "config", "set_placeholder")
_FALSE = ("false", "off", "no", "0")


T = TypeVar("T")


@dataclass(slots=True)
class Said:
    """The contents of one source.

    Args:
        given: the option values.
        notes: for --check, about options that have no effect.
        warnings: about options that may not mean what they seem to mean.
    """

    given: list[Given] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _take_each(items: Iterable[T], take: Callable[[T], Given | None], said: Said) -> Said:
    """Add the option values of all items to `said`.

    Raises:
        ConfigError: with the errors of all items.
    """
    complaints: list[str] = []
    for item in items:
        try:
            given = take(item)
            if given is not None:
                given.value()  # an invalid value is an error, even if another value counts
                said.given.append(given)
        except ConfigError as error:
            complaints.append(str(error))
    if complaints:
        raise ConfigError("\n".join(complaints))
    return said


# --- the environment ---


def from_environment(environ: Mapping[str, str]) -> Said:
    """Read variables such as WSGID_WORKERS=4, under any name of the option. An empty variable is ignored.

    The values of a repeatable option are separated by line breaks or, if there is no line break, by semicolons.

    Raises:
        ConfigError: a name resembles an option's name, or two names mean the same option.
    """
    said = Said()
    known = {"WSGID_" + key.upper().replace("-", "_"): option for key, option in by_key().items()}

    def take(name: str) -> Given | None:
        if name in known and environ[name]:
            return _from_variable(known[name], name, environ[name], said)
        if name.startswith("WSGID_") and name not in (*known, *_OTHER_VARIABLES):
            said.warnings.append(_foreign_variable(name))
        return None

    return _take_each(environ, take, said)


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
    said = Said(warnings=list(read.warnings), notes=list(read.prints))

    def take(entry: Entry) -> Given | None:
        option = _option(entry, read)
        if option is not None:
            return _from_entry(option, entry, said)
        _take_foreign(entry, read, said)
        return None

    return _take_each(read.entries, take, said)


def _option(entry: Entry, read: Ini) -> Option | None:
    """Return the option of a key. None for a name that only wsgid knows, if the file uses it as its own placeholder."""
    option = by_key().get(entry.key)
    if option is None or option.name in _COMMAND_LINE_ONLY or "_" in entry.key:
        return None
    return option if entry.key in option.uwsgi or entry.key not in read.references else None


def _from_entry(option: Option, entry: Entry, said: Said) -> Given:
    text = entry.value
    if not text or (option.bare is not None and text.lower() in ("true", "1")):
        text = option.bare if option.bare is not None else "true" if option.kind is values.FLAG else ""
    stripped = re.sub(r"\s+[;#].*", "", text) if option.kind.is_number else text
    if stripped != text:
        said.warnings.append(
            f"{entry.place}: the text after {stripped!r} is taken for a comment; uWSGI's ini has no comments "
            "after a value: put the comment on a line of its own"
        )
    elif re.search(r"\s[;#](\s|$)", text) and option.name != "log_format":
        said.warnings.append(
            f"{entry.place}: {entry.key} = {text!r}: all of it is the value, as in uWSGI, which has "
            "no comments there: put a comment on a line of its own"
        )
    shown = f"{entry.place}: {entry.key} = {entry.value!r}"
    if not stripped and option.kind is not values.FLAG:
        raise ConfigError(f"{shown} cannot be used: a value is missing")
    return Given(option, (option.formats.get(entry.key, "{}").format(stripped),), shown, entry.place)


def _take_foreign(entry: Entry, read: Ini, said: Said) -> None:
    """Handle a key that is no option: an option of uWSGI, a placeholder, or a mistake."""
    is_used = entry.key in read.references
    row = uwsgi_options.find(entry.key, entry.value, is_used)
    if row is None:
        if not is_used:
            raise ConfigError(
                f"{entry.place}: unknown option {entry.key!r}"
                f"{nearest(entry.key, [*(key for key in by_key() if '_' not in key), *uwsgi_options.names()])}"
                f" (a key of your own would be used somewhere, as %({entry.key}))"
            )
    elif row.verdict is Verdict.NEEDLESS:
        said.notes.append(f"{entry.place}: {entry.key}: {row.text}")
    elif entry.value.lower() in _FALSE:
        said.notes.append(f"{entry.place}: {entry.key} is off, as it is here")
    else:
        shown = f" = {entry.value}" if entry.value else ""
        raise ConfigError(f"{entry.place}: {entry.key}{shown}: wsgid does not have this: {row.text}")
