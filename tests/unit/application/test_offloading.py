"""wsgid.offload outside of a worker: the function runs directly."""

import functools
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsgid
from tests.support import DOCS
from wsgid.application import offloading
from wsgid.application.offloading import Call, offload
from wsgid.errors import OffloadTimeout, WsgidError


def twice(value: int, *, plus: int = 0) -> int:
    """Twice the value."""
    return 2 * value + plus


@given(st.integers(), st.integers())
def test_a_function_returns_what_it_returns(value: int, plus: int) -> None:
    for offloaded in (offload(twice), offload(twice, threads=1, timeout_s=1.0), offload(threads=2)(twice)):
        assert offloaded(value, plus=plus) == twice(value, plus=plus)


def test_an_offloaded_function_looks_like_the_function_and_runs_in_the_thread_of_the_caller() -> None:
    offloaded = offload(twice)
    assert (offloaded.__name__, offloaded.__doc__) == ("twice", "Twice the value.")
    assert offload(threading.get_ident)() == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        offload(lambda: 1 // 0)()


def test_a_method_can_be_offloaded() -> None:
    class Model:
        @wsgid.offload(threads=3)
        def itself(self) -> "Model":
            return self

    model = Model()
    assert model.itself() is model


def test_the_name_is_found_where_it_is_documented_and_no_other_is() -> None:
    assert wsgid.offload is offload
    with pytest.raises(AttributeError, match="has no attribute 'onload'"):
        wsgid.onload  # type: ignore[attr-defined]  # noqa: B018


def test_a_plain_program_starts_no_thread_and_no_event_loop() -> None:
    code = """if True:
        import sys, threading, wsgid
        assert "gevent" not in sys.modules
        assert wsgid.offload(lambda: 7)() == 7 and threading.active_count() == 1
        from gevent._hub_local import get_hub_if_exists
        assert get_hub_if_exists() is None
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def generator() -> Any:
    yield 1


async def coroutine() -> None:
    pass


@pytest.mark.parametrize("function", [1, "text", generator, coroutine, functools.partial(generator)])
def test_what_cannot_be_offloaded_is_refused(function: Any) -> None:
    with pytest.raises(TypeError):
        offload(function)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": True},
        {"threads": offloading.THREADS_MAX + 1},
        {"timeout_s": 0},
        {"timeout_s": -1.0},
        {"timeout_s": float("nan")},
    ],
)
def test_an_impossible_value_is_refused_and_named(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(ValueError, match=name):
        offload(twice, **options)


def test_the_error_is_a_wsgid_error_and_a_time_out() -> None:
    assert issubclass(OffloadTimeout, WsgidError) and issubclass(OffloadTimeout, TimeoutError)


def test_the_backend_of_the_documentation_sends_every_call_that_waits_through_its_thread_and_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an invented driver, because mysqlclient needs a C library."""
    calls: list[str] = []

    def method(name: str) -> Callable[..., str]:
        def call(self: Any, *arguments: object) -> str:
            assert self.lock._is_owned(), name
            calls.append(name)
            return name

        return call

    names = ["query", "store_result", "next_result", "ping", "close", "commit", "rollback", "autocommit"]

    def connect(self: Any, **keywords: object) -> None:
        self.autocommit(False)  # as mysqlclient does, within the call that connects

    driver = type("Connection", (), {"__init__": connect, **{name: method(name) for name in names}})
    monkeypatch.setitem(sys.modules, "MySQLdb", ModuleType("MySQLdb"))
    monkeypatch.setitem(sys.modules, "MySQLdb.connections", fake("MySQLdb.connections", Connection=driver))
    base = fake("base", DatabaseWrapper=object)
    monkeypatch.setitem(sys.modules, "django.db.backends.mysql", fake("mysql", base=base))
    [source] = re.findall(r"```python\n(.*?)```", (DOCS / "offload.md").read_text(), re.DOTALL)
    module: dict[str, Any] = {"__name__": "base"}
    exec(source, module)
    connection = module["DatabaseWrapper"]().get_new_connection({"host": "db"})
    assert calls == ["autocommit"]
    assert [getattr(connection, name)() for name in names] == names and calls[1:] == names
    assert not connection.lock._is_owned()


def fake(name: str, **attributes: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(attributes)
    return made


@given(st.lists(st.booleans(), max_size=5))
def test_a_call_begins_once_or_never(gives_up: list[bool]) -> None:
    began: list[int] = []
    call = Call(lambda: began.append(1))
    assert call.waits
    for caller_gives_up in gives_up:
        if caller_gives_up:
            call.claim()
        else:
            call.run()
        assert not call.waits
    assert len(began) == (bool(gives_up) and not gives_up[0])


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_a_call_keeps_any_exception_for_its_caller(error: BaseException) -> None:
    def fails() -> None:
        raise error

    call = Call(fails)
    call.run()
    with pytest.raises(type(error)) as caught:
        call.result()
    assert caught.value is error and caught.traceback[-1].name == "fails"


@pytest.mark.parametrize(
    ("function", "expected"), [(len, 2), (functools.partial(max, "aa"), "ab"), (str.upper, "AB")], ids=str
)
def test_functions_in_c_can_be_offloaded(function: Callable[..., Any], expected: object) -> None:
    assert offload(function)("ab") == expected
