"""The lines of a head as nearly all clients send them, read in C: the hottest loop of HTTP.

There are two sources. plain_lines.pyx is compiled where a compiler is. This one takes no line, so that http.py reads
all of them itself. Both forms behave the same, because a line is taken here only if http.py would accept it, with the
same result. Whatever is seldom or wrong is left to http.py: there alone is the grammar, and there are the errors.
"""

from typing import Any


def take_request_line(data: bytes, at: int, line_bytes: int, base: dict[str, Any]) -> dict[str, Any] | None:
    """Take a request line of HTTP/1.1 with a plain path: no percent sign, no URL.

    Args:
        data: bytes that have arrived.
        at: where the line begins.
        line_bytes: the most bytes of the line.
        base: variables that every request has.

    Returns:
        the variables of the line with those of `base`; None if the line was not taken.
    """
    return None


def take_fields(
    data: bytes, at: int, lines_max: int, bytes_max: int, names: dict[str, str], variables: dict[str, Any]
) -> int:
    """Take header lines, up to the first one that is seldom, wrong or incomplete, or ends the head.

    Args:
        data: bytes that have arrived.
        at: where the first line begins.
        lines_max: the most lines.
        bytes_max: the most bytes of all lines.
        names: header names that were seen, with their variables.
        variables: each line that is taken adds one variable.

    Returns:
        where the first line begins that was not taken.
    """
    return at
