"""Words and tables for a terminal.

Rules
* What came from outside, paths above all, is escaped: it could be commands to the terminal.
* Columns are as wide as what is in them; numbers stand to the right.
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
    """A line whose characters are all printable; the others as in a Python literal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def printable(text: Any) -> str:
    """Text of the environ, which has bytes as characters (PEP 3333), as it was meant, and escaped."""
    raw = str(text)
    try:
        raw = raw.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # the application has put something else there
        pass
    return escaped(raw)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def request(facts: dict[str, Any]) -> str:
    """One request in flight, as its worker describes it."""
    return (
        f"{age(facts['age_s'])}  {printable(facts['method'])} "
        f"{cut(printable(facts['path']), PATH_MAX_CHARS)}  {printable(facts['peer'])}".rstrip()
    )


def age(seconds: float) -> str:
    """1.2s, 12m05s, 3h07m, 12d04h: never longer than six characters, up to a hundred days."""
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
    """In MiB, with a digit after the point below 100."""
    if size_bytes is None:
        return "?"
    mib = size_bytes / (1 << 20)
    return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"


def count(number: int, thing: str) -> str:
    """1 worker, 2 workers."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], left: Sequence[str] = ()) -> str:
    """Columns under their names; those named in `left` stand to the left."""
    lines = [[*map(str, head)], *[[*map(str, row)] for row in rows]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width) for cell, width, name in zip(line, widths, head)
        ).rstrip()
        for line in lines
    )
