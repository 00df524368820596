"""What the operator is told beside the traceback of an exception that only a gevent worker raises: the remedy, once.

Rules
* A hint is for a limit of gevent's that docs/applications.md describes, and that can be told by the exception alone.
* It is said once in each worker: the traceback comes each time.
"""

from wsgid import log

# What the message says, and the remedy.
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
    """Say the remedy if there is one for this exception, and it was not said yet."""
    if not isinstance(error, RuntimeError):
        return
    text = str(error)
    for part, kind in _HINTS.items():
        if part in text and kind not in _said:
            _said.add(kind)
            log.warning("%s", _REMEDIES[kind])
