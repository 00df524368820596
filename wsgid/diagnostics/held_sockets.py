"""The sockets that requests in flight hold: in a variable of a running function, or in an attribute of such a variable.

    request -> its frames, innermost first -> each local value -> its attributes, one level deep -> descriptors

A request that waits for an answer always holds its socket in this sense: the waiting function has the socket, or an
object with the socket, in a variable.

Rules
* Only type() is used: isinstance() and hasattr() would wake up lazy objects (Django, Werkzeug). Attributes come from
  the instance's dictionary, and no property is called.
* fileno() is called only where it is harmless: written in C, or of a library in _HARMLESS.
  SpooledTemporaryFile.fileno() would write an upload to the disk.
* A connection that a thread-local, a pool or a session holds, and no running function, is not found: nobody waits for
  it now.
"""

import _socket
import io
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType, FunctionType, GetSetDescriptorType, MethodDescriptorType
from typing import Any

import greenlet

from wsgid.application import whereabouts
from wsgid.serving import turns
from wsgid.serving.greenlets import RequestGreenlet

FRAMES_MAX = 200  # the innermost frames of a request
_CO_OPTIMIZED = 1  # inspect.CO_OPTIMIZED; the module takes 1.2 MB
_HARMLESS = frozenset({"gevent", "psycopg", "socket", "ssl"})
_NUMBERS = frozenset({"fd", "fileno"})  # variables with these names may be descriptors: in psycopg, gevent, select
_OWN_REFERENCES = 3  # to a frame's snapshot: the frame's, the variable's, and that of getrefcount()
_SNAPSHOTS = sys.version_info < (3, 13)

_Fileno = Callable[[Any], int]


def held(requests: Iterable[RequestGreenlet], held_up_at: FrameType | None = None) -> set[int]:
    """Return the descriptors that requests in flight hold. Lets other greenlets run in between.

    Args:
        requests: the greenlets that serve requests.
        held_up_at: the frame that holds the hub, if this runs in the signal handler. Then nothing is let run.
    """
    finder = _Finder()
    current = greenlet.getcurrent()
    for serving in list(requests):
        if serving.environ is None:
            continue
        finder.search(held_up_at if serving is current else serving.gr_frame)
        if held_up_at is None:
            turns.give_way()
    for frame in sys._current_frames().values():  # a request may wait for a job in a thread (wsgid.offload)
        if whereabouts.is_job(frame):
            finder.search(frame)
    return finder.found


class _Finder:
    """Collects descriptors."""

    def __init__(self) -> None:
        self.found: set[int] = set()
        self._ways: dict[type, tuple[_Fileno | None, Any]] = {}  # how to ask objects of a type

    def search(self, frame: FrameType | None) -> None:
        """Search the variables of a stack of frames."""
        seen: set[int] = set()
        for _ in range(FRAMES_MAX):
            if frame is None:
                return
            for name, value in _variables(frame):
                if name in _NUMBERS and type(value) is int:
                    self.found.add(value)
                elif id(value) not in seen:
                    seen.add(id(value))
                    self._search_object(value)
            frame = frame.f_back

    def _search_object(self, value: Any) -> None:
        fileno, attributes = self._way(type(value))
        if fileno is not None:
            self._add(fileno, value)
        elif attributes is not None:
            for inner in list(attributes.__get__(value).values()):
                fileno, _ = self._way(type(inner))
                if fileno is not None:
                    self._add(fileno, inner)

    def _add(self, fileno: _Fileno, value: Any) -> None:
        with suppress(Exception):  # it is closed; drivers have errors of their own for that
            self.found.add(fileno(value))

    def _way(self, kind: type) -> tuple[_Fileno | None, Any]:
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = (_fileno_of(kind), _dictionary_of(kind))
        return way


def _variables(frame: FrameType) -> list[tuple[str, Any]]:
    """Return the local variables of a frame.

    Until Python 3.12, f_locals is a snapshot that lives as long as the frame. It would keep objects alive that the
    function has deleted, so it is emptied again, unless the application has it, too: from locals().
    """
    found = frame.f_locals
    variables = list(found.items())
    if _SNAPSHOTS and frame.f_code.co_flags & _CO_OPTIMIZED and sys.getrefcount(found) <= _OWN_REFERENCES:
        found.clear()
    return variables


def _fileno_of(kind: type) -> _Fileno | None:
    """Return how to get the descriptor of objects of this type; None if they have none, or asking may do harm."""
    if issubclass(kind, io.IOBase) and not issubclass(kind, _socket.socket):
        return None
    for base in kind.__mro__:
        found = base.__dict__.get("fileno")
        if type(found) is MethodDescriptorType:
            return found
        if type(found) is FunctionType:
            return found if str(found.__module__).partition(".")[0] in _HARMLESS else None
        if found is not None:
            return None
    return None


def _dictionary_of(kind: type) -> Any:
    """Return the descriptor of the instances' __dict__. None if they have none, or one of their own making, as
    Werkzeug's proxies do."""
    for base in kind.__mro__:
        found = base.__dict__.get("__dict__")
        if found is not None:
            return found if type(found) is GetSetDescriptorType else None
    return None
