"""The library `limits` on wsgid's storage: its strategies agree with memory:// in one process, and
Flask-Limiter's limits hold over all workers."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import (
    STRATEGIES,
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)

from tests.conftest import Start
from tests.support import client
from wsgid import limits as wsgid_limits
from wsgid.limits.counters import Counters
from wsgid.limits.home import HOME, private_table
from wsgid.limits.storage import SharedStorage

pytestmark = pytest.mark.hot

LIMITED = """
    from flask import Flask
    from flask_limiter import Limiter
    from wsgid import limits

    application = Flask(__name__)
    limiter = Limiter(
        lambda: "visitor", app=application, storage_uri=limits.storage_uri(), strategy="STRATEGY", headers_enabled=True
    )

    @application.route("/")
    @limiter.limit("7 per year")
    def page():
        return "ok"
"""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_flask_limiter_holds_over_all_workers(start: Start, strategy: str) -> None:
    """In a year: the windows of one strategy begin by the clock, and a minute may end during the test."""
    app = LIMITED.replace("STRATEGY", strategy)
    server = start("--socket", "app.sock", "--workers", "3", "app:application", app=app).wait_ready(3)
    answers = [client.get(server.directory / "app.sock") for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 7 + [429] * 5
    assert [answer.header("X-RateLimit-Remaining") for answer in answers[:7]] == list("6543210")


class FakeTime:
    """The clock of both storages."""

    def __init__(self) -> None:
        self.s = 1_700_000_000.25

    def __call__(self) -> float:
        return self.s

    def ns(self) -> int:
        return round((self.s - 1_600_000_000) * 1e9)


@pytest.mark.parametrize(
    "strategy", [FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter], ids=str
)
def test_the_strategies_decide_as_in_memory(strategy: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    for module in ("limits.storage.memory", "limits.strategies"):
        monkeypatch.setattr(f"{module}.time.time", clock)
    table = private_table(clock=clock.ns)
    storage = SharedStorage("wsgid://")
    storage._counters = Counters("test", lambda: table, clock)
    known = MemoryStorage()
    ours, theirs = strategy(storage), strategy(known)
    items = [RateLimitItemPerSecond(3), RateLimitItemPerMinute(5, 1), RateLimitItemPerSecond(4, 7)]
    chance = random.Random(7)
    for _ in range(2000):
        clock.s += chance.choice([0, 0, 0.127, 0.531, 1.009, 3.07, 20.3])
        item, key, cost = chance.choice(items), chance.choice("ab"), chance.choice([1, 1, 1, 2])
        assert ours.test(item, key, cost=cost) == theirs.test(item, key, cost=cost)
        assert ours.hit(item, key, cost=cost) == theirs.hit(item, key, cost=cost)
        assert ours.get_window_stats(item, key).remaining == theirs.get_window_stats(item, key).remaining
        assert ours.get_window_stats(item, key).reset_time == pytest.approx(
            theirs.get_window_stats(item, key).reset_time, abs=0.002
        )
        if chance.random() < 0.02:
            ours.clear(item, key)
            theirs.clear(item, key)
    known.timer.cancel()


def test_the_library_makes_the_storage_and_resets_it() -> None:
    HOME.forget()
    storage = storage_from_string(wsgid_limits.storage_uri())
    assert storage.check() and storage.incr("k", 60) == 1 and storage.incr("k", 60, 4) == 5
    assert storage.get("k") == 5 and storage_from_string("wsgid://other").get("k") == 0
    storage.clear("k")
    assert storage.get("k") == 0
    storage.incr("k", 60)
    assert storage.reset() and storage.get("k") == 0
    HOME.forget()
