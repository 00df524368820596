"""The texts of --limit-req and --limit-conn.

    --limit-req  'key=remote_addr rate=10r/s burst=20 nodelay path=/api/'
    --limit-conn 'key=http_x_api_key limit=5 burst=2 delay=0.5 status=503 dry-run'

Rules
* A key is the name of a variable of the request, in lower case, as nginx writes it: remote_addr, http_x_api_key. Names
  are joined with a plus sign. `all` is one key for all requests.
* A request without a value for the key has no limit, as in nginx (ngx_http_limit_req_module, limit_req_zone).
* The same text is the same limiter in all workers, also after a reload.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from wsgid.limits.limiters import Concurrency, Limiter, RequestRate

STATUSES = {"429": "429 Too Many Requests", "503": "503 Service Unavailable"}
_ALIASES = {
    "binary_remote_addr": "REMOTE_ADDR",
    "host": "HTTP_HOST",
    "uri": "PATH_INFO",
    "path": "PATH_INFO",
    "method": "REQUEST_METHOD",
}
_VARIABLE = re.compile(r"\$?([a-z][a-z0-9_]*)")
_COMMON = ("key", "path", "status", "name", "dry-run")


class Rule:
    """One of these options.

    Args:
        limiter: decides.
        variables: of the environ, which make the key; none for `all`.
        path: the beginning of the paths that the rule is about.
        status: of the answer to a rejected request.
    """

    def __init__(self, limiter: Limiter, variables: tuple[str, ...], path: str, status: str) -> None:
        self.limiter = limiter
        self.status = status
        self._variables = variables
        self._path = path

    def key(self, environ: Mapping[str, Any]) -> str | None:
        """Return the key of a request; None if the rule is not about this request."""
        if self._path and not (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).startswith(self._path):
            return None
        values = [environ.get(name, "") for name in self._variables]
        if len(values) == 1:
            return values[0] or None
        return "\n".join(values) if not values or any(values) else None


def parse_req(text: str) -> Rule:
    """Return the rule of a --limit-req.

    Raises:
        ValueError: this is none; the message says what was expected.
    """
    given = _words(text, "rate", "burst", "nodelay")
    rate = given.get("rate")
    if not rate:
        raise ValueError("a rate, such as rate=10r/s")
    return _rule(
        text,
        "limit-req",
        given,
        lambda name, dry_run: RequestRate(
            rate, _number(given, "burst"), delay="nodelay" not in given, name=name, dry_run=dry_run
        ),
    )


def parse_conn(text: str) -> Rule:
    """Return the rule of a --limit-conn. Raises ValueError, as parse_req does."""
    given = _words(text, "limit", "burst", "delay")
    if not given.get("limit"):
        raise ValueError("a number of requests at the same time, such as limit=5")
    return _rule(
        text,
        "limit-conn",
        given,
        lambda name, dry_run: Concurrency(
            _number(given, "limit"), _number(given, "burst"), _seconds(given, "delay", 1.0), name=name, dry_run=dry_run
        ),
    )


def _rule(text: str, option: str, given: Mapping[str, str], make: Callable[[str, bool], Limiter]) -> Rule:
    status = given.get("status", "429")
    if status not in STATUSES:
        raise ValueError(f"status=429 or status=503, and not status={status}")
    name = given.get("name") or f"{option} {' '.join(text.split())}"[:96]
    return Rule(make(name, "dry-run" in given), _variables(given), given.get("path", ""), STATUSES[status])


def _words(text: str, *known: str) -> dict[str, str]:
    """Return the words of an option. A word without a value, such as nodelay, has an empty one."""
    given: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        is_flag = name in ("nodelay", "dry-run")
        if name not in (*known, *_COMMON) or name in given or is_flag == bool(equals) or (equals and not value):
            expected = ", ".join(
                f"{other}" if other in ("nodelay", "dry-run") else f"{other}=" for other in (*known, *_COMMON)
            )
            raise ValueError(f"words out of {expected}, each once and with its value, and not {word!r}")
        given[name] = value
    return given


def _variables(given: Mapping[str, str]) -> tuple[str, ...]:
    key = given.get("key", "")
    if key == "all":
        return ()
    found = [_VARIABLE.fullmatch(part) for part in key.split("+")]
    if not all(found):
        raise ValueError(f"a key such as key=remote_addr, key=http_x_api_key or key=all, and not {key!r}")
    return tuple(_ALIASES.get(match[1], match[1].upper()) for match in found if match)


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "0")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"a whole number for {name}, and not {text!r}")
    return int(text)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", text):
        raise ValueError(f"seconds for {name}, such as 0.5, and not {text!r}")
    return float(text)
