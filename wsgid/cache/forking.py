"""What a child of fork(2) must not share with its parent.

Rules
* A fork waits until no thread of this process is inside a store, and closes its files: LMDB forbids to use them in the
  child, and a child that closed them would give up the parent's place among the readers. Both open them again.
* In the child, every owner gives up what is the parent's: lines of counters, waiting greenlets.
* Hooks of os.register_at_fork cannot be removed, so they are registered once, and know their owners by weak references.
"""

import os
import weakref
from typing import Any, Protocol


class Owner(Protocol):
    """An object with something that belongs to one process."""

    def forked(self) -> None:
        """Give it up. Called in the child."""


_stores: "weakref.WeakSet[Any]" = weakref.WeakSet()  # with `lock`, `close_files` and `forked`
_owners: "weakref.WeakSet[Any]" = weakref.WeakSet()
_held: list[Any] = []  # during a fork: the locks that `before` has taken


def guard(store: Any) -> None:
    """Let forks wait for this store, and close its files."""
    _stores.add(store)


def on_fork(owner: Owner) -> None:
    """Call owner.forked() in each child."""
    _owners.add(owner)


def _before() -> None:
    for store in list(_stores):
        store.lock.acquire()
        _held.append(store.lock)
        store.close_files()


def _release() -> None:
    while _held:
        _held.pop().release()


def _in_child() -> None:
    _release()
    for owner in [*_stores, *_owners]:
        owner.forked()


os.register_at_fork(before=_before, after_in_parent=_release, after_in_child=_in_child)
