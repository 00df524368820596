"""--limit-req and --limit-conn: the operator's limits, in front of the application (WSGI).

Rules
* All rules about a request make one decision: the request spends in all of them, or in none (limiters.combine).
* A rejected request gets 429 or 503 with Retry-After, and never reaches the application.
* An admitted request that a rate is about gets the headers of its limit (draft-ietf-httpapi-ratelimit-headers-06).
* Permits end with the response: the server gives them back (serving/permits.py).
* The log has rejections at a limited rate: somebody who is rejected often must not fill the log.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wsgid import log
from wsgid.errors import Rejected
from wsgid.limits.limiters import Combined, Permits
from wsgid.limits.rules import Rule
from wsgid.log.rate_limit import RateLimit

_LOGGED_PER_S = 1.0
_LOGGED_BURST = 5
_SHOWN_MAX_CHARS = 80


class Gate:
    """The limits, and the application behind them.

    Args:
        application: the WSGI callable.
        rules: of the options.
    """

    def __init__(self, application: Callable[..., Any], rules: Sequence[Rule]) -> None:
        self._application = application
        self._rules = rules
        self._logged = RateLimit(_LOGGED_PER_S, _LOGGED_BURST)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        keys = [(rule, key) for rule in self._rules if (key := rule.key(environ)) is not None]
        if not keys:
            return self._application(environ, start_response)  # type: ignore[no-any-return]
        decided = Combined([rule.limiter for rule, _ in keys]).acquire(*[key for _, key in keys])
        if isinstance(decided, Rejected):
            status = next(rule.status for rule, _ in keys if rule.limiter is decided.permit.limiter)
            if decided.permit.store_is_gone:
                status = decided.status_hint
            return self._refuse(decided, status, start_response)
        return self._application(environ, _with_headers(decided, start_response))  # type: ignore[no-any-return]

    def _refuse(self, rejected: Rejected, status: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._logged.admit(time.monotonic()):
            unsaid = self._logged.take_refused()
            log.warning(
                "%s rejects %s%s",
                rejected.permit.limiter.name,
                ascii(rejected.permit.key)[:_SHOWN_MAX_CHARS],
                f" (and {unsaid} more that are not logged)" if unsaid else "",
            )
        text = f"{status}\n".encode("ascii")
        start_response(status, [("Content-Type", "text/plain; charset=latin-1"), *rejected.answer_headers])
        return [text]


def _with_headers(permits: Permits, start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Return a start_response that adds the headers of the limit."""
    told = permits.headers()
    if not told:
        return start_response

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, *told], exc_info)

    return start
