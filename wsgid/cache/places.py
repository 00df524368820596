"""--cache: which stores there are, and where.

    NAME=SIZE                 in shared memory; ends with the server
    NAME=SIZE,PATH            in this file; a restart keeps it
    NAME=redis://HOST:PORT/0  in Redis or Valkey, for several machines
    name=NAME,items=N,blocksize=BYTES,store=PATH    uWSGI's cache2

Rules
* A value of the option is a tuple that JSON can carry: Place(*value).
* The master fills in `board`, and `where` for shared memory (files.py). So a child is told where everything is.
* This module needs nothing but the standard library.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SIZE_MIN_BYTES = 1 << 20
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys", "redis+sentinel", "rediss+sentinel", "redis+cluster")
_BLOCK_BYTES = 65536  # uWSGI's default for blocksize
_UWSGI_OTHERS = {
    *("blocks", "hash", "hashsize", "hash_size", "keysize", "key_size", "bitmap", "lastmod", "math_initial"),
    *("ignore_full", "purge_lru", "lazy_expire", "sweep_on_full", "clear_on_full", "no_expire", "use_last_modified"),
    *("store_sync", "storesync", "store_delete"),
}
_UWSGI_REMOTE = {"nodes", "node", "sync", "udp", "udp_servers", "udp_server", "udp_node", "udpnode", "udpnodes"}


class Place(NamedTuple):
    """A store.

    Args:
        name: what Cache(NAME) asks for.
        size_bytes: how much memory or disk it takes; 0 for a network store.
        where: a path, a URL, or empty for shared memory that the master has not named yet.
        board: the path of the shared words (board.py); empty until the master has named it.
    """

    name: str
    size_bytes: int
    where: str
    board: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether the store is in a network."""
        return "://" in self.where


_of_server: dict[str, Place] | None = None  # None: this is no process of a server


def serve(values: Iterable[tuple[str, int, str, str]]) -> None:
    """Be a process of a server that has these stores, and no others.

    Args:
        values: of --cache.
    """
    global _of_server
    _of_server = {place.name: place for place in (Place(*value) for value in values)}


def of_server() -> Mapping[str, Place] | None:
    """Return the stores of this process's server by name; None outside of a server."""
    return _of_server


def parse(text: str) -> Place:
    """Return the place that a value of --cache names.

    Raises:
        ValueError: what was expected.
    """
    uwsgi = _uwsgi_fields(text)
    if uwsgi:
        return _from_uwsgi(uwsgi)
    name, _, rest = text.partition("=")
    if not re.fullmatch(_NAME, name) or not rest:
        raise ValueError("NAME=SIZE, NAME=SIZE,PATH or NAME=redis://HOST:PORT/0, such as pages=64m")
    if "://" in rest:
        if rest.partition("://")[0] not in _SCHEMES:
            raise ValueError(f"a URL that begins with {', '.join(_SCHEMES)}")
        return Place(name, 0, rest)
    size, _, path = rest.partition(",")
    return Place(name, _size_bytes(size), os.path.abspath(path) if path else "")


def show(value: tuple[str, int, str] | Place) -> str:
    """Return the text of a value."""
    place = Place(*value)
    if place.is_remote:
        return f"{place.name}={place.where}"
    return f"{place.name}={place.size_bytes}" + (f",{place.where}" if place.where else "")


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)", text)
    size_bytes = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if size_bytes < SIZE_MIN_BYTES:
        raise ValueError("a size from 1m on, such as 64m or 2g")
    return size_bytes


def _uwsgi_fields(text: str) -> dict[str, str]:
    """The fields of uWSGI's cache2; empty if this is another form."""
    pairs = [part.partition("=") for part in text.split(",")]
    fields = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    return fields if {"name", "items"} <= fields.keys() or {"name", "maxitems"} <= fields.keys() else {}


def _from_uwsgi(fields: dict[str, str]) -> Place:
    items = fields.pop("items", "") or fields.pop("maxitems", "") or "0"
    name, block, path = fields.pop("name"), fields.pop("blocksize", str(_BLOCK_BYTES)), fields.pop("store", "")
    remote = _UWSGI_REMOTE & fields.keys()
    if remote:
        raise ValueError(f"no {min(remote)}: several machines share a cache through Redis, {name}=redis://HOST:PORT/0")
    unknown = fields.keys() - _UWSGI_OTHERS - {"maxitems"}
    if unknown:
        raise ValueError(f"fields of uWSGI's cache2, and {min(unknown)!r} is none")
    if not re.fullmatch(_NAME, name) or not re.fullmatch("[1-9][0-9]{0,11}", items) or not block.isdigit():
        raise ValueError("name=NAME,items=N,blocksize=BYTES, with numbers from 1 on")
    return Place(name, max(int(items) * int(block), SIZE_MIN_BYTES), os.path.abspath(path) if path else "")
