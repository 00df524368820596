"""The cache behind the interfaces of Django, cachelib, Flask-Caching, Flask-Session and dogpile.cache.

Django's own tests of its cache (tests/cache of its source) pass on WsgidCache, apart from the two that count entries
beyond MAX_ENTRIES: this cache is limited by its size.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import django
import flask
import flask_caching
import flask_session
import pytest
from django.conf import settings
from django.core.cache.backends.base import InvalidCacheKey
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

from tests.site.cache.conftest import Later
from wsgid.cache.backends.cachelib import CachelibCache


@pytest.fixture
def name() -> str:
    """The name of an empty store."""
    return f"t{uuid4().hex}"


# --- Django ---


@pytest.fixture
def backend(name: str) -> Iterator[Any]:
    if not settings.configured:
        settings.configure(SECRET_KEY="x")
        django.setup()
    from wsgid.cache.backends.django import WsgidCache

    yield WsgidCache(name, {"TIMEOUT": 60})


def test_django_reads_what_it_has_written(backend: Any) -> None:
    backend.set("a", {"b": [1]})
    assert backend.get("a") == {"b": [1]}
    assert (backend.get("missing"), backend.get("missing", 5)) == (None, 5)
    assert backend.add("c", 1) and not backend.add("c", 2)
    assert backend.has_key("c") and "c" in backend
    assert backend.delete("c") and not backend.delete("c")
    assert backend.set_many({"x": 1, "y": 2}) == []
    assert backend.get_many(["x", "y", "z"]) == {"x": 1, "y": 2}
    backend.delete_many(["x", "y"])
    assert backend.get_many(["x", "y"]) == {}
    backend.set("v", 1, version=2)
    assert (backend.get("v"), backend.get("v", version=2)) == (None, 1)
    backend.clear()
    assert backend.get("a") is None


@pytest.mark.parametrize("timeout", [0, -1])
def test_djangos_time_out_of_0_is_no_time(backend: Any, timeout: int) -> None:
    backend.set("a", 1)
    backend.set("a", 2, timeout=timeout)
    assert backend.get("a") is None
    assert backend.add("a", 1, timeout=timeout)
    assert backend.get("a") is None
    backend.set("a", 1, timeout=None)
    assert backend.touch("a", timeout=timeout)
    assert backend.get("a") is None


def test_django_counts_what_is_there(backend: Any) -> None:
    backend.set("n", 41)
    assert (backend.incr("n"), backend.decr("n", 10)) == (42, 32)
    with pytest.raises(ValueError, match="Key 'missing' not found"):
        backend.incr("missing")


def test_what_is_too_large_for_django_is_not_kept_and_no_old_value_stays(backend: Any) -> None:
    large = "x" * (20 << 20)
    backend.set("a", "old")
    backend.set("a", large)
    assert backend.get("a") is None
    assert not backend.add("a", large)
    assert backend.set_many({"a": 1, "b": large}) == ["b"]


def test_django_makes_a_value_once(backend: Any) -> None:
    calls: list[int] = []

    def make() -> int:
        calls.append(1)
        time.sleep(0.02)
        return 7

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: backend.get_or_set("a", make, 60), range(8))) == {7}
    assert len(calls) == 1
    assert backend.get_or_set("b", 5) == 5


def test_django_refuses_no_key_that_this_cache_can_have(backend: Any) -> None:
    with pytest.warns(Warning, match="memcached"):  # Django's own remark
        backend.set("with blank", 1)
    assert InvalidCacheKey


# --- cachelib ---


def test_cachelib_reads_what_it_has_written(name: str) -> None:
    cache, other = CachelibCache(name, key_prefix="a."), CachelibCache(name, key_prefix="b.")
    assert cache.set("k", [1]) and cache.get("k") == [1] and other.get("k") is None
    assert cache.add("m", 1) and not cache.add("m", 2)
    assert cache.set_many({"x": 1, "y": 2}) == ["x", "y"]
    assert cache.get_many("x", "y", "z") == [1, 2, None]
    assert cache.get_dict("x", "z") == {"x": 1, "z": None}
    assert cache.delete_many("x", "y") == ["x", "y"]
    assert (cache.inc("n"), cache.inc("n", 5), cache.dec("n")) == (1, 6, 5)
    assert cache.has("n") and not cache.has("z")
    assert cache.delete("n") and not cache.delete("n")
    assert not cache.set("large", "x" * (20 << 20))
    assert cache.clear() and cache.get("k") is None


def test_cachelibs_time_outs(name: str, later: Later) -> None:
    cache = CachelibCache(name, default_timeout=0)
    cache.set("default", 1)
    cache.set("short", 1, timeout=timedelta(seconds=600))
    cache.set("past", 1, timeout=-1)
    assert cache.get("past") is None
    assert not cache.add("past", 1, timeout=-1)
    later(500)
    assert (cache.get("short"), cache.get("default")) == (1, 1)
    later(100)
    assert (cache.get("short"), cache.get("default")) == (None, 1)


def test_flask_caching_and_flask_session_use_it(name: str) -> None:
    app = flask.Flask("site")
    app.config.update(
        SECRET_KEY="x",
        CACHE_TYPE="wsgid.cache.backends.cachelib.CachelibCache",
        CACHE_ARGS=[name],
        CACHE_OPTIONS={"key_prefix": "pages."},
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=CachelibCache(name),
    )
    cache = flask_caching.Cache(app)
    flask_session.Session(app)
    made: list[int] = []

    @app.route("/page")
    @cache.cached(timeout=60)
    def page() -> str:
        made.append(1)
        return "page"

    @app.route("/visits")
    def visits() -> str:
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    client = app.test_client()
    assert [client.get("/page").text for _ in range(3)] == ["page"] * 3
    assert len(made) == 1
    assert [client.get("/visits").text for _ in range(3)] == ["1", "2", "3"]
    assert app.test_client().get("/visits").text == "1"


# --- dogpile.cache ---


def test_dogpile_finds_it_by_its_name_and_makes_a_value_once(name: str) -> None:
    region: Any = make_region().configure("wsgid", expiration_time=60, arguments={"name": name})
    made: list[int] = []

    def square(number: int) -> int:
        made.append(number)
        time.sleep(0.02)
        return number * number

    squared = region.cache_on_arguments()(square)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: squared(3), range(8))) == {9}
    assert made == [3]
    region.set_multi({"a": 1, "b": 2})
    assert region.get_multi(["a", "b", "c"]) == [1, 2, NO_VALUE]
    region.delete("a")
    region.delete_multi(["b"])
    assert region.get("a") is NO_VALUE and region.get("b") is NO_VALUE
    mutex = region.backend.get_mutex("m")
    assert (
        not mutex.locked() and mutex.acquire() and mutex.locked() and not region.backend.get_mutex("m").acquire(False)
    )
    mutex.release()
    assert region.backend.has_lock_timeout()
