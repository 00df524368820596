"""What wsgid.hooks takes and refuses."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import wsgid
from wsgid import hooks


@pytest.fixture(autouse=True)
def importing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that imports the application."""
    monkeypatch.setattr(hooks, "_process", hooks._Process())
    hooks.collect()
    yield


def nothing() -> None: ...


async def coroutine() -> None: ...


def generator() -> Iterator[None]:
    yield


def test_hooks_keep_the_order_of_their_registration_and_each_counts_once() -> None:
    assert hooks.on_worker_start(nothing) is nothing
    hooks.on_worker_start(asyncio.sleep.__class__)
    hooks.on_worker_start(nothing)
    assert hooks.every(5)(nothing) is nothing
    hooks.every(5)(nothing)
    hooks.every(5, in_one_worker=True)(nothing)
    assert hooks.on_worker_stop(nothing) is nothing
    registry = hooks.registered()
    assert registry.starts == [nothing, asyncio.sleep.__class__] and registry.stops == [nothing]
    assert [(timer.interval_s, timer.in_one_worker) for timer in registry.timers] == [(5.0, False), (5.0, True)]


@pytest.mark.parametrize("decorator", [hooks.on_worker_start, hooks.on_worker_stop, hooks.every(1)])
@pytest.mark.parametrize("wrong", [coroutine, generator, 7])
def test_a_hook_is_a_plain_function(decorator: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a function, and 7 is none|give .* a plain function"):
        decorator(wrong)


@pytest.mark.parametrize("seconds", [nothing, "60", None, True])
def test_every_without_seconds_says_how_to_write_it(seconds: Any) -> None:
    with pytest.raises(TypeError, match=r"write @every\(60\)"):
        hooks.every(seconds)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_every_wants_a_number_of_seconds_above_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="has to be above 0"):
        hooks.every(seconds)


def test_the_package_has_the_module() -> None:
    assert wsgid.hooks is hooks
