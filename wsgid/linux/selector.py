"""Wait no longer for a descriptor, whether or not somebody has waited for it."""

import selectors
from contextlib import suppress
from typing import Any


def forget(selector: selectors.BaseSelector, waited_for: Any) -> None:
    """Wait for a descriptor or an object with one no longer; do nothing if nobody waits for it. (A selector forgets by
    itself what epoll_ctl(2) has refused.)"""
    with suppress(KeyError, ValueError):
        selector.unregister(waited_for)
