"""Variables and placeholders in uWSGI's ini files: %n, $(NAME), @(FILE) and %(key).

Rules
* Magic variables (such as %d) are replaced in the raw text of a file, before it is parsed.
* In a value, environment variables are replaced first, then files, then other keys: $(NAME), @(FILE), %(key).
* A key that nobody has set stays as it is, so that %(pid) of a log format survives. The same holds for $(NAME) if the
  variable is not set.
* An error is a ValueError with a description. The caller adds the file and the line.
"""

import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from wsgid import __version__

TEXT_MAX_CHARS = 1 << 20  # of a file or an expanded value; real configurations are far shorter

_ENVIRONMENT = re.compile(r"\$\(([^()]+?)(?:(:?-)([^()]*))?\)")
_FILE = re.compile(r"@\(([^()]+)\)")
_KEY = re.compile(r"%\(([^()]+)\)")
_MAGIC = re.compile("%(.)", re.DOTALL)


def magic_of_machine() -> dict[str, str]:
    """Return the magic variables that are the same in all files."""
    now_s = time.time()
    return {
        "%": "%",
        "(": "%(",
        "[": "\033",
        "v": os.getcwd(),
        "h": socket.gethostname(),
        "V": __version__,
        "k": str(len(os.sched_getaffinity(0))),
        "t": str(int(now_s)),
        "T": str(int(now_s * 1e6)),
        "u": str(os.getuid()),
        "U": _name("pwd", os.getuid()),
        "g": str(os.getgid()),
        "G": _name("grp", os.getgid()),
    }


def _name(database: str, number: int) -> str:
    import grp
    import pwd

    try:
        return pwd.getpwuid(number).pw_name if database == "pwd" else grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def magic_of_file(path: str, section: str) -> dict[str, str]:
    """Return the magic variables of one file. The caller adds the upper-case ones, which stand for the first file."""
    whole = os.path.abspath(path) if os.path.islink(path) else os.path.realpath(path)
    directory, _, name = whole.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    parts = [part for part in directory.split("/") if part]
    try:
        inode = str(os.lstat(whole).st_ino)
    except OSError:
        inode = ""
    return {
        "o": path,
        "p": whole,
        "s": name,
        "n": stem if dot else name,
        "e": extension if dot else "",
        "d": directory + "/",
        "c": parts[-1] if parts else "",
        "x": section,
        "i": inode,
        "j": _hash(whole),
        **{str(place): parts[place] if place < len(parts) else "" for place in range(10)},
    }


def _hash(text: str) -> str:
    """Return Bernstein's hash (the xor form) with 32 bits, in the byte order of the machine, as uWSGI writes it."""
    number = 5381
    for byte in os.fsencode(text):
        number = (number * 33 ^ byte) & 0xFFFFFFFF
    return number.to_bytes(4, "little").hex().upper()


def substitute_magic(text: str, magic: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace the magic variables in a file's text. Returns the text, and the characters that stand for nothing: uWSGI
    drops them with their % (magic_sub of core/utils.c)."""
    unknown = [character for character in _MAGIC.findall(text) if character not in magic]
    return _MAGIC.sub(lambda match: magic.get(match[1], ""), text), unknown


def references(text: str) -> set[str]:
    """Return the keys that a value refers to: %(key), and %(key other + 1)."""
    return {word for inner in _KEY.findall(text) for word in [inner, *inner.split()]}


def expand(text: str, environ: Mapping[str, str], keys: Mapping[str, str], above: tuple[str, ...] = ()) -> str:
    """Expand a value.

    Args:
        text: the value as it is written.
        environ: for $(NAME).
        keys: the keys that are set, with values that are not expanded.
        above: the keys that are being expanded already.

    Raises:
        ValueError: a file cannot be read, keys refer to each other in a circle, or the result is too long.
    """
    text = _ENVIRONMENT.sub(lambda match: _variable(match, environ), text)
    text = _FILE.sub(lambda match: read_text(match[1]).rstrip("\n"), text)

    def value(match: re.Match[str]) -> str:
        if " " in match[1]:
            return _calculated(match[1], environ, keys, above)
        return _value(match[1], match[0], environ, keys, above)

    text = _KEY.sub(value, text)
    if len(text) > TEXT_MAX_CHARS:
        raise ValueError("the expanded value is longer than 1 MiB")
    return text


def _variable(match: re.Match[str], environ: Mapping[str, str]) -> str:
    """$(NAME); $(NAME-text) for a default if it is not set; $(NAME:-text) for a default if it is not set or empty."""
    name, operator, fallback = match.groups()
    found = environ.get(name)
    if operator and (found is None or (operator == ":-" and not found)):
        return str(fallback)
    return match[0] if found is None else found


def _value(
    key: str, otherwise: str, environ: Mapping[str, str], keys: Mapping[str, str], above: tuple[str, ...]
) -> str:
    if key not in keys:
        return otherwise
    if key in above:
        raise ValueError(f"%({key}) refers to itself: {' -> '.join([*above, key])}")
    if len(above) > 50:
        raise ValueError(f"%({key}) is the end of a chain of more than 50 references")
    return expand(keys[key], environ, keys, (*above, key))


def _calculated(expression: str, environ: Mapping[str, str], keys: Mapping[str, str], above: tuple[str, ...]) -> str:
    """Calculate as uWSGI does: words from left to right. Two values side by side are joined; + - * / apply to the next
    word; ++ and -- add and subtract 1. A key that is not set is empty, and a word that is no number counts as 0."""
    result, operator = "", ""
    for word in expression.split():
        if word in ("+", "-", "*", "/"):
            operator = word
        elif word in ("++", "--"):
            result, operator = str(_number(result) + (1 if word == "++" else -1)), ""
        else:
            value = word if re.fullmatch("-?[0-9]+", word) else _value(word, "", environ, keys, above)
            result, operator = _applied(operator, result, value), ""
    return result


def _applied(operator: str, left: str, right: str) -> str:
    if not operator:
        return left + right
    first, second = _number(left), _number(right)
    if operator == "/":
        return str(int(first / second)) if second else "0"
    return str(first + second if operator == "+" else first - second if operator == "-" else first * second)


def _number(text: str) -> int:
    match = re.match(r"\s*(-?[0-9]{1,15})(?![0-9])", text)
    return int(match[1]) if match else 0


def read_text(path: str) -> str:
    """Read a file of a configuration.

    Raises:
        ValueError: the file cannot be read, is no text, or is too long for a configuration.
    """
    if re.match(r"[a-z][a-z0-9]*://", path):
        raise ValueError(f"{path} is no file of this machine: fetch it before wsgid starts")
    try:
        with Path(path).open("rb") as file:
            data = file.read(TEXT_MAX_CHARS + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read: it is not UTF-8 at byte {error.start}") from error
    if len(data) > TEXT_MAX_CHARS or "\0" in text:
        raise ValueError(f"{path} is no configuration: it is longer than 1 MiB or has NUL bytes")
    return text
