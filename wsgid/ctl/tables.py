"""Words and tables for a terminal.

Rules
* Text from outside, above all paths, is escaped: it could control the terminal.
* Columns are as wide as their contents; numbers are aligned to the right.
"""

import sys
from collections.abc import Sequence
from typing import Any

PATH_MAX_CHARS = 120


def show(text: str) -> None:
    """Print one line or more, escaped."""
    print("\n".join(map(escaped, text.split("\n"))))


def complain(sentence: str) -> None:
    """Print one sentence on standard error, escaped."""
    print(f"wsgidctl: {escaped(sentence)}", file=sys.stderr)


def escaped(text: str) -> str:
    """Return a line of printable characters; other characters are escaped as in a Python literal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable(text: Any) -> str:
    """Return text from the environ, which has one character for each byte (PEP 3333), decoded and escaped."""
    raw = str(text)
    try:
        raw = raw.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # the application has put another text there
        pass
    return escaped(raw)


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` characters; a cut is marked."""
    return text if len(text) <= width else text[: width - 1] + "…"


def request(facts: dict[str, Any]) -> str:
    """Describe a request in flight, from its worker's data."""
    return (
        f"{age(facts['age_s'])}  {printable(facts['method'])} "
        f"{cut(printable(facts['path']), PATH_MAX_CHARS)}  {printable(facts['peer'])}".rstrip()
    )


def age(seconds: float) -> str:
    """Return an age such as 1.2s, 12m05s, 3h07m or 12d04h: at most six characters, up to a hundred days."""
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 100:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def size(size_bytes: int | None) -> str:
    """Return a size in MiB, with one decimal below 100."""
    if size_bytes is None:
        return "?"
    mib = size_bytes / (1 << 20)
    return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.0f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], left: Sequence[str] = ()) -> str:
    """Return a table with the names of its columns. Columns in `left` are aligned to the left."""
    lines = [[*map(str, head)], *[[*map(str, row)] for row in rows]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width) for cell, width, name in zip(line, widths, head)
        ).rstrip()
        for line in lines
    )
