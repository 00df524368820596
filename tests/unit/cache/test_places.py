"""--cache: its forms, uWSGI's cache2 among them."""

import pytest

from wsgid.cache import places
from wsgid.cache.places import Place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pages=64m", Place("pages", 64 << 20, "")),
        ("a.b-c=1g,/var/cache/site/a", Place("a.b-c", 1 << 30, "/var/cache/site/a")),
        ("r=redis://h:6379/0?fail=closed", Place("r", 0, "redis://h:6379/0?fail=closed")),
        ("r=redis+sentinel://a:26379,b:26379/main/0", Place("r", 0, "redis+sentinel://a:26379,b:26379/main/0")),
        ("name=u,items=100,blocksize=65536", Place("u", 100 * 65536, "")),
        ("blocksize=20000,items=1000,name=u", Place("u", 20_000_000, "")),
        ("name=u,maxitems=5000,store=/tmp/u.cache,hashsize=9000", Place("u", 5000 * 65536, "/tmp/u.cache")),
        ("name=small,items=2,blocksize=64", Place("small", places.SIZE_MIN_BYTES, "")),
    ],
)
def test_a_text_names_a_store(text: str, place: Place) -> None:
    assert places.parse(text) == place
    assert places.parse(places.show(place)) == place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pages", "NAME=SIZE"),
        ("=64m", "NAME=SIZE"),
        ("a/b=64m", "NAME=SIZE"),
        ("pages=64", "a size from 1m on"),
        ("pages=many", "a size from 1m on"),
        ("pages=mysql://h", "a URL that begins with redis"),
        ("name=u,items=100,nodes=h:1", "no nodes: several machines share a cache through Redis"),
        ("name=u,items=100,colour=red", "'colour' is none"),
        ("name=u,items=many", "with numbers from 1 on"),
    ],
)
def test_another_text_says_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        places.parse(text)
