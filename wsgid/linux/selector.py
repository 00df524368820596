"""Stop waiting for a descriptor, whether or not it is registered."""

import selectors
from contextlib import suppress
from typing import Any


def forget(selector: selectors.BaseSelector, waited_for: Any) -> None:
    """Stop waiting for a descriptor, or for an object with one. Does nothing if it is not registered. The selector
    itself forgets what epoll_ctl(2) has refused."""
    with suppress(KeyError, ValueError):
        selector.unregister(waited_for)
