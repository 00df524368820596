"""Remedies for exceptions that only gevent workers raise. The remedy is logged beside the traceback, once.

Rules
* A remedy belongs to a limit of gevent that docs/applications.md describes. The exception alone must show the limit.
* Each worker logs a remedy once; the traceback is logged each time.
"""

from wsgid import log

# A part of the exception's message, and the key of its remedy.
_HINTS = {
    "cannot be called from a running event loop": "asyncio",
    "Cannot run the event loop while another loop is running": "asyncio",
    "You cannot use AsyncToSync in the same thread as an async event loop": "asyncio",
    "This event loop is already running": "asyncio",
}
_REMEDIES = {
    "asyncio": "asyncio has one running event loop in a thread, and all requests of a worker share one: run it in a "
    "thread of gevent's pool, gevent.get_hub().threadpool.apply(asyncio.run, (COROUTINE,))"
}
_said: set[str] = set()


def give(error: BaseException) -> None:
    """Log the remedy for this exception, if there is one and it was not logged yet."""
    if not isinstance(error, RuntimeError):
        return
    text = str(error)
    for part, kind in _HINTS.items():
        if part in text and kind not in _said:
            _said.add(kind)
            log.warning("%s", _REMEDIES[kind])
