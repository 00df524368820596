"""uWSGI's ini files with sections, includes, loops and conditions: parsed to a list of keys and values with their
places.

Rules
* The grammar is uWSGI's (core/ini.c, core/config.c). Only the requested section counts. A comment is a line whose first
  character is ; or #. There are no quotes and no continued lines. A key without = has an empty value.
* Some keys act at once and are not in the result: include, if-..., for..., set, print.
* Where uWSGI silently ignores a mistake, wsgid raises a ConfigError with file and line.
* There is no I/O except reading files.
"""

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from wsgid.config import expand
from wsgid.errors import ConfigError
from wsgid.records import dataclass, field

_BLANKS = " \t\r"
_REPEATS_MAX = 10_000
_ENDS = ("end", "endfor", "end-for", "endif", "end-if")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value, with the place in the file."""

    key: str
    value: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """The place as an operator writes it: `uwsgi.ini:7`."""
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class Ini:
    """The contents of ini files.

    Args:
        entries: keys and values, in the order in which they count.
        references: the keys that are used as %(key).
        warnings: about lines that may not mean what they seem to mean.
        prints: texts that the files want to have printed.
        complaints: errors that concern one line: the others can still be read.
    """

    entries: list[Entry] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    prints: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    """An open loop or condition. Each line inside counts once for each of `values`, and %(_) stands for the value."""

    opener: Entry
    values: tuple[str, ...]
    holds: bool = True  # whether the condition holds, for `else`


def read(
    files: Iterable[str], environ: Mapping[str, str], keys: Iterable[tuple[str, str]] = (), restarted: bool = False
) -> Ini:
    """Read files one after the other, as if they were one.

    Args:
        files: paths; each may have a :SECTION.
        environ: for $(NAME) and if-env.
        keys: placeholders from outside.
        restarted: whether if-reload holds.

    Raises:
        ConfigError: with file and line.
    """
    reader = _Reader(environ, keys, restarted)
    for name in files:
        reader.include(name, Entry("ini", name, "the command line", 0))
    return reader.result()


class _TooMany(ConfigError):
    """There is no use in reading on."""


class _Reader:
    def __init__(self, environ: Mapping[str, str], keys: Iterable[tuple[str, str]], restarted: bool) -> None:
        self._environ = dict(environ)
        self._keys = dict(keys)  # %(key) means the first value of a key
        self._restarted = restarted
        self._ini = Ini()
        self._read: list[Entry] = []
        self._magic = expand.magic_of_machine()
        self._open: list[tuple[str, str]] = []  # the files that are being read, each with its section
        self._inherited: list[Entry] = []
        self._count = 0

    def result(self) -> Ini:
        while self._inherited:  # uWSGI reads these after everything else
            entry = self._inherited.pop(0)
            self._try_to_act(Entry("include", entry.value, entry.file, entry.line))
        for entry in self._read:
            try:
                self._ini.entries.append(Entry(entry.key, self._expanded(entry), entry.file, entry.line))
            except ConfigError as error:
                self._ini.complaints.append(str(error))
        return self._ini

    def include(self, name: str, by: Entry) -> None:
        """Read another file in this place, or another section of the same file for `:section`."""
        path, colon, section = name.rpartition(":") if ":" in name else (name, "", "")
        section = section or "uwsgi"
        if not path and colon:
            path = self._open[-1][0] if self._open else ""
        if not path:
            raise ConfigError(f"{_place(by)}{by.key} = {name!r} names no file")
        if path.endswith((".xml", ".yaml", ".yml", ".json", ".js")):
            raise ConfigError(f"{_place(by)}{path} is no ini: write the options into an ini or into a TOML file")
        identity = (os.path.realpath(path), section)
        if identity in [(os.path.realpath(opened), part) for opened, part in self._open] or len(self._open) > 50:
            raise ConfigError(
                f"{_place(by)}{by.key} = {name!r} includes itself: "
                f"{' -> '.join([*(opened for opened, _ in self._open), path])}"
            )
        text = self._text(path, section if colon else "", by)
        self._open.append((path, section))
        block: _Block | None = None
        for entry in _section(text, path, section):
            block = self._take(entry, block)
        self._open.pop()

    def _text(self, path: str, section: str, by: Entry) -> str:
        try:
            text = expand.read_text(path)
        except ValueError as error:
            raise ConfigError(f"{_place(by)}{error}") from error
        mine = expand.magic_of_file(path, section)
        if not self._open and "P" not in self._magic:
            self._magic |= {letter.upper(): value for letter, value in mine.items() if letter in "odspcenxij"}
        lines = []
        for number, line in enumerate(text.split("\n"), 1):
            line, unknown = expand.substitute_magic(line, {**self._magic, **mine})
            if unknown and not line.lstrip(_BLANKS).startswith((";", "#")):
                self._ini.warnings.append(
                    f"{path}:{number}: %{unknown[0]} stands for nothing and is dropped, as in uWSGI: write "
                    f"%%{unknown[0]} for one that reaches the option"
                )
            lines.append(line)
        return "\n".join(lines)

    # --- lines ---

    def _take(self, entry: Entry, block: _Block | None) -> _Block | None:
        """Process one line. Returns the block that is open after it."""
        self._ini.references |= expand.references(entry.value)
        if entry.key in _ENDS:
            return None
        if entry.key == "else":
            if block is None:
                raise ConfigError(f"{entry.place}: else without an if")
            return _Block(block.opener, () if block.holds else ("",))
        if entry.key in _LOOPS or _condition(entry.key):
            if block is not None:
                raise ConfigError(
                    f"{entry.place}: {entry.key} within {block.opener.key} (line {block.opener.line}): "
                    "close that one first, with endif or endfor; uWSGI can't nest them"
                )
            return self._opened(entry)
        for value in block.values if block else ("",):
            self._try_to_act(
                entry if block is None else Entry(entry.key, entry.value.replace("%(_)", value), entry.file, entry.line)
            )
        return block

    def _try_to_act(self, entry: Entry) -> None:
        try:
            self._act(entry)
        except _TooMany:
            raise
        except ConfigError as error:
            self._ini.complaints.append(str(error))

    def _opened(self, entry: Entry) -> _Block:
        argument = self._expanded(entry)
        if entry.key in _LOOPS:
            try:
                values = tuple(_LOOPS[entry.key](argument))
            except ValueError as error:
                raise ConfigError(f"{entry.place}: {entry.key} = {argument!r}: {error}") from error
            return _Block(entry, values)
        negated, question = _condition(entry.key) or (False, "")
        if question == "opt":
            self._ini.references.add(argument.partition("=")[0])
        found = self._answer(question, argument)
        holds = (found is None) if negated else (found is not None)
        return _Block(entry, (found or "",) if holds else (), holds)

    def _answer(self, question: str, argument: str) -> str | None:
        """Return what %(_) stands for if a condition holds; None if the condition does not hold."""
        if question in ("env", "opt"):
            name, equals, wanted = argument.partition("=")
            found = self._environ.get(name) if question == "env" else self._keys.get(name)
            return None if found is None or (equals and found != wanted) else found
        if question == "reload":
            return "" if self._restarted else None
        if question == "hostname":
            return argument if argument == socket.gethostname() else None
        test = {"exists": os.path.exists, "file": os.path.isfile}.get(question, os.path.isdir)
        return argument if test(argument) else None

    def _act(self, entry: Entry) -> None:
        """Process an ordinary line once."""
        self._count += 1
        if self._count > _REPEATS_MAX:
            raise _TooMany(f"{entry.place}: more than {_REPEATS_MAX} options: a loop is too long")
        if entry.key in ("ini", "include"):
            self.include(self._expanded(entry), entry)
        elif entry.key == "inherit":
            self._inherited.append(entry)
        elif entry.key == "print":
            self._ini.prints.append(f"{entry.place}: {self._expanded(entry)}")
        elif entry.key in ("set", "set-ph", "set-placeholder"):
            self._set(entry)
        else:
            self._add(entry)

    def _set(self, entry: Entry) -> None:
        key, equals, value = entry.value.partition("=")
        if not (key and equals):
            raise ConfigError(f"{entry.place}: {entry.key} = {entry.value!r} sets nothing: expected KEY=VALUE")
        if entry.key == "set":  # `set` may also set an option
            self._add(Entry(key, value, entry.file, entry.line))
        self._ini.references.add(key)
        self._keys.setdefault(key, value)

    def _add(self, entry: Entry) -> None:
        if entry.key == "env":  # at once, because $(NAME) and if-env use it
            entry = Entry(entry.key, self._expanded(entry), entry.file, entry.line)
            name, equals, value = entry.value.partition("=")
            if equals:
                self._environ[name] = value
        self._keys.setdefault(entry.key, entry.value)
        self._read.append(entry)

    def _expanded(self, entry: Entry) -> str:
        try:
            return expand.expand(entry.value, self._environ, self._keys)
        except ValueError as error:
            raise ConfigError(f"{entry.place}: {entry.key}: {error}") from error


def _place(by: Entry) -> str:
    return f"{by.place}: " if by.line else ""


def _section(text: str, path: str, asked: str) -> Iterator[Entry]:
    """Yield the lines of one section.

    Raises:
        ConfigError: the section does not exist, but other sections or keys outside of sections do.
    """
    section, found, others = "", False, False
    sections: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(_BLANKS)
        header = re.match(r"\[([^\]]*)\]?", line)
        if header:
            section = header[1]
            sections[section] = None
            found |= section == asked
            others = True
        elif line and line[0] not in ";#":
            key, _, value = line.partition("=")
            if section == asked:
                yield Entry(key.strip(_BLANKS), value.strip(_BLANKS), path, number)
            others = True
    if others and not found:
        there = f"; it has {', '.join(f'[{name}]' for name in sections)}" if sections else ", and no other section"
        remedy = (
            f"write --ini {path}:{next(iter(sections))} for another section" if sections else "begin it with [uwsgi]"
        )
        raise ConfigError(f"{path} has no section [{asked}]{there}: {remedy}")


def _condition(key: str) -> tuple[bool, str] | None:
    """Split the key of a condition: whether the condition is negated, and its question."""
    match = re.fullmatch("if-?(not-)?(env|opt|exists|file|dir|directory|reload|hostname)", key)
    return None if match is None else (match[1] is not None, match[2])


def _times(argument: str) -> Iterable[str]:
    match = re.match(r"\s*([0-9]{1,4})(?![0-9])", argument)
    if match is None:
        raise ValueError("expected how many times, below 10000")
    return map(str, range(1, int(match[1]) + 1))


def _matching(argument: str) -> Iterable[str]:
    return sorted(glob.glob(argument)) or [argument]  # GLOB_NOCHECK


_LOOPS: dict[str, Callable[[str], Iterable[str]]] = {
    "for": str.split,
    "for-glob": _matching,
    "for-times": _times,
    "for-readline": lambda argument: expand.read_text(argument).splitlines(),
}
