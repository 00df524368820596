"""Which descriptors a stack of functions holds. The search must not change anything in the application."""

import gc
import socket
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import psycopg
import pytest

from wsgid.diagnostics.held_sockets import _Finder


def found(frame: FrameType | None) -> set[int]:
    finder = _Finder()
    finder.search(frame)
    return finder.found


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    left, right = socket.socketpair()
    with left, right:
        yield left


class Holder:
    def __init__(self, it: object) -> None:
        self.it = it


class Slotted:
    __slots__ = ("it",)


def test_a_socket_in_a_variable_of_any_function_below_is_held(connection: socket.socket) -> None:
    def outer(held: object) -> set[int]:
        return inner()

    def inner() -> set[int]:
        return found(sys._getframe())

    assert connection.fileno() in outer(connection) and connection.fileno() in outer(Holder(connection))


@pytest.mark.parametrize("wrap", [lambda it: Holder(Holder(it)), lambda it: [it], lambda it: {"it": it}])
def test_a_socket_that_lies_deeper_is_not_held(connection: socket.socket, wrap: Callable[[Any], Any]) -> None:
    wrapped, fd = wrap(connection), connection.fileno()

    def outer(held: object) -> set[int]:
        frame = sys._getframe()
        alone = _Finder()
        for name, value in frame.f_locals.items():
            if name == "held":
                alone._search_object(value)
        return alone.found

    assert fd not in outer(wrapped)


def test_a_number_counts_under_the_names_of_descriptors_only() -> None:
    def waits(fileno: int, other: int) -> set[int]:
        finder = _Finder()
        frame = sys._getframe()
        finder.search(frame)
        return finder.found

    assert 12345 in waits(12345, 23456) and 23456 not in waits(12345, 23456)


def fail(_: object) -> Any:
    raise AssertionError("an object that must not be asked")


def test_lazy_objects_are_not_woken() -> None:
    class Lazy:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise AssertionError("an object that must not be asked")

        @property
        def fileno(self) -> Any:
            raise AssertionError("an object that must not be asked")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("an object that must not be asked")

    def view(lazy: object) -> set[int]:
        return found(sys._getframe())

    view(Lazy())
    view(type("Proxy", (), {"__dict__": property(fail), "__slots__": ()})())  # as Werkzeug's


def test_an_upload_is_not_written_to_the_disk() -> None:
    def view(upload: object) -> set[int]:
        return found(sys._getframe())

    with tempfile.SpooledTemporaryFile(max_size=1000) as upload:
        upload.write(b"x")
        view(upload)
        view(Holder(upload))
        assert not upload._rolled  # type: ignore[attr-defined]


def test_the_own_fileno_of_an_application_is_not_called() -> None:
    class Channel:  # paramiko's makes a pipe
        def fileno(self) -> int:
            raise AssertionError("an object that must not be asked")

    def view(channel: object) -> set[int]:
        return found(sys._getframe())

    view(Channel())


def test_a_closed_connection_is_no_error(connection: socket.socket) -> None:
    closed = psycopg.Connection.__new__(psycopg.Connection)  # as broken as a connection can be
    with pytest.raises(AttributeError):
        closed.fileno()
    assert connection.fileno() in found(sys._getframe())


def test_the_look_keeps_no_object_alive() -> None:
    def view() -> bool:
        held = Holder(None)
        there = weakref.ref(held)
        found(sys._getframe())
        del held
        return there() is None

    gc.disable()
    try:
        assert view()
    finally:
        gc.enable()


def test_the_dictionary_that_an_application_has_from_locals_stays() -> None:
    def view() -> dict[str, Any]:
        title = "a page"
        context = locals()
        found(sys._getframe())
        return {"title": title, **context}

    context = view()
    assert context["title"] == "a page"

    def rendered() -> Any:
        title = "a page"
        context = locals()
        found(sys._getframe())
        return context.get("title")

    assert rendered() == "a page"
