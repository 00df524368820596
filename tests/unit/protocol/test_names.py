"""Texts from clients are not remembered without limit: names of headers, hosts and values, in both protocols."""

import tracemalloc
from collections.abc import Callable

import pytest

from tests.support import client
from wsgid.protocol.http import Decoder, HttpHead, Limits
from wsgid.protocol.uwsgi import decode

pytestmark = pytest.mark.hot

GROWTH_MAX_BYTES = 1 << 20


def by_uwsgi(number: int) -> None:
    long = "N" * (5000 + number)  # each has another place in the decoder's table
    packet = client.packet(**{f"HTTP_{long}": "v", f"X{long}": "v" * 8000})
    assert decode(packet, 100, {}) is not None


def by_http(number: int) -> None:
    decoder = Decoder(Limits(20_000, 100, 64_000), {})
    decoder.feed(f"GET /{number} HTTP/1.1\r\nHost: {'h' * 8000}{number}\r\nX{number}-{'n' * 8000}: v\r\n\r\n".encode())
    assert isinstance(decoder.take(), HttpHead)


@pytest.mark.parametrize("send", [by_uwsgi, by_http])
def test_many_long_names_fill_no_memory(send: Callable[[int], None]) -> None:
    send(0)
    tracemalloc.start()
    try:
        for number in range(3000):
            send(number)
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes < GROWTH_MAX_BYTES
