"""The open stores of this process: one for each place, because LMDB must not open a file twice in one process.

    in a server:  the stores of --cache; another name is an error
    elsewhere:    a name of the environment's WSGID_CACHE, a given path, or else a private store of this process

Rules
* A store opens when it is first used. A child of fork(2) opens its own (forking.py).
* A private store has files without a name: they are removed as soon as they are open.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from wsgid.cache import files, places
from wsgid.cache.lmdb_space import LmdbSpace, Opened
from wsgid.cache.lmdb_store import LmdbStore
from wsgid.cache.places import Place
from wsgid.errors import CacheError, ConfigError, NoSuchCache

PRIVATE_BYTES = 64 << 20
_stores: dict[str, Any] = {}


def open_all() -> None:
    """Open the stores of this server, so that a store that cannot be opened is found at the start.

    Raises:
        CacheError: a store cannot be opened.
    """
    for name in places.of_server() or ():
        find(name, None, PRIVATE_BYTES).open()


def find(name: str, path: str | None, size_bytes: int) -> Any:
    """Return the store that a name stands for here.

    Args:
        path: of a store that no option names.
        size_bytes: of this store, or of a private one.

    Raises:
        NoSuchCache: the server has no store with this name.
        CacheError: it cannot be used.
    """
    place = _place(name, path, size_bytes)
    # Two names of one file are one store; two names of one Redis have keys of their own there.
    key = place.where if place.where and not place.is_remote else f"{place.name} {place.where}"
    if key not in _stores:
        _stores[key] = _make(place)
    return _stores[key]


def _place(name: str, path: str | None, size_bytes: int) -> Place:
    if path:
        return _beside(Place(name, size_bytes, path if "://" in path else os.path.abspath(path)))
    of_server = places.of_server()
    known = _from_environment() if of_server is None else of_server
    if name in known:
        return known[name]
    if of_server is None:
        return Place(name, size_bytes, "")
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    raise NoSuchCache(f"no cache is called {name!r}, {there}: add --cache {name}=64m")


def _from_environment() -> Mapping[str, Place]:
    """The stores that the server's own variable names, for other programs: manage.py, a cron job."""
    text = os.environ.get("WSGID_CACHE", "")
    separator = "\n" if "\n" in text else ";"
    try:
        found = [places.parse(part) for part in text.split(separator) if part]
    except ValueError as error:
        raise CacheError(f"the environment's WSGID_CACHE={text!r} cannot be used: expected {error}") from None
    return {place.name: _beside(place) for place in found}


def _beside(place: Place) -> Place:
    """Put the board beside the store of a file."""
    return place._replace(board=place.where + files.BOARD) if place.where and not place.is_remote else place


def _make(place: Place) -> Any:
    if place.is_remote:
        from wsgid.cache.redis_store import RedisStore  # needs redis-py

        return RedisStore(place)
    if not place.board:  # nobody has prepared its files: this is a private store, or --check
        return LmdbStore(PrivateSpace(place))
    if places.of_server() is None:
        _prepare(place)
    return LmdbStore(LmdbSpace(place))


def _prepare(place: Place) -> None:
    """Outside of a server: make the files, or check them. Raises NoSuchCache."""
    try:
        files.prepare_file(place, -1, -1)
    except ConfigError as error:
        raise NoSuchCache(str(error)) from error


class PrivateSpace(LmdbSpace):
    """The space of a store of this process alone. A child has another one, which is empty."""

    def open(self) -> Opened:
        """Return the open files. Raises CacheError."""
        with self.lock:
            if self.opened is None:
                directory = tempfile.mkdtemp(prefix="wsgid-cache-", dir=files.memory_directory())
                try:
                    path = os.path.join(directory, self.place.name)
                    self.place = self.place._replace(where=path, board=path + files.BOARD)
                    return super().open()
                finally:
                    shutil.rmtree(directory, ignore_errors=True)
            return self.opened

    def close_files(self) -> None:
        """Before a fork: nothing, because no file has a name by which it could be opened again."""

    def forked(self) -> None:
        """In a child: leave the parent's files alone. They are kept: closing them would be seen by the parent."""
        if self.opened is not None:
            _of_parents.append(self.opened)
            self.opened = None
        super().forked()


_of_parents: list[Any] = []
