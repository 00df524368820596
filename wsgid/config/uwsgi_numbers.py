"""How uWSGI reads a number and a switch, where this differs from how wsgid reads its own options.

Rules
* uWSGI reads numbers with atoi(3) and strtoul(3): the digits at the start count, the rest of the text does not. A text
  without digits is 0 (uwsgi_opt_set_int, uwsgi_opt_set_64bit and uwsgi_opt_set_megabytes of core/uwsgi.c). A switch
  is off for false, off, no and 0, and on for each other text (uwsgi_opt_true).
* The value is what uWSGI makes of it, with a warning. Files that have worked for years go on to work.
* A number that no server can use stays an error: uWSGI, too, does not serve with `processes = four`.
"""

import re

from wsgid.config import foreign, values
from wsgid.config.options import Option

_NUMBERS = (
    values.COUNT,
    values.LIMIT,
    values.MEGABYTES,
    values.MILLISECONDS,
    values.WORKERS,
    values.SECONDS,
    values.SECONDS_OR_NONE,
    values.SIZE,
    values.KEEPALIVE,
    values.OPTIMIZE,
)
_MAX = 10**9 - 1  # wsgid's largest number; uWSGI's are larger and mean the same: never
_SWITCHES_BY_NUMBER = ("py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload")  # seconds in uWSGI


def read(option: Option, name: str, text: str) -> tuple[str, str]:
    """Return the text that stands for what uWSGI makes of a value, and a sentence where that is not the text itself.

    Args:
        option: the option.
        name: uWSGI's name of the option, without dashes.
        text: the value, as it is written.
    """
    if name in _SWITCHES_BY_NUMBER:
        number = _atoi(text)
        if number == 0 and text.lower() not in foreign.FALSE:
            return "false", f"{name} = {text!r} is off, as in uWSGI, which reads a number of seconds: write {name} = 1"
        return ("true" if number else "false"), ""
    if _is_valid(option, text):
        return text, ""
    if option.kind is values.FLAG:
        return "true", f"{name} = {text!r} is on, as in uWSGI, where all but false, off, no and 0 is on: write true"
    number = _atoi(text)
    if option.kind not in _NUMBERS or number is None or number < 0:
        return text, ""
    read_as = str(min(number, _MAX))
    if not _is_valid(option, read_as):
        return text, ""
    if number > _MAX:
        return read_as, f"{name} = {text!r} is {read_as}, the largest number"
    return (
        read_as,
        f"{name} = {text!r} is {read_as}, as in uWSGI, which reads the digits at the start: write a number",
    )


def _atoi(text: str) -> int | None:
    """Read a number as atoi(3) does. None for one that is too long for any computer."""
    match = re.match(r"\s*([+-]?[0-9]{1,18})(?![0-9])", text)
    if match is None:
        return None if re.match(r"\s*[+-]?[0-9]", text) else 0
    return int(match[1])


def _is_valid(option: Option, text: str) -> bool:
    try:
        option.kind.parse(text)
    except ValueError:
        return False
    return True
