"""wsgi.input behaves as a file does, ends where the body ends, and never presents a part as the whole body."""

import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.errors import ClientDisconnected
from wsgid.wsgi.input import Body, ChunkedBody

pytestmark = pytest.mark.hot


class Peer:
    """A peer that sends these bytes in these pieces, and then closes."""

    def __init__(self, data: bytes, chunk_sizes: list[int]) -> None:
        self.data = data
        self._chunk_sizes = chunk_sizes
        self.calls = 0

    def recv_into(self, target: memoryview) -> int:
        assert len(target) > 0, "asked for nothing, which looks like the end"
        self.calls += 1
        allowed = self._chunk_sizes.pop(0) if self._chunk_sizes else len(target)
        size_bytes = min(allowed, len(target), len(self.data))
        target[:size_bytes], self.data = self.data[:size_bytes], self.data[size_bytes:]
        return size_bytes


def body_of(
    data: bytes, first: int = 0, chunk_sizes: list[int] | None = None, surplus: bytes = b""
) -> tuple[Body, Peer]:
    peer = Peer(data[first:] + surplus, chunk_sizes or [])
    return Body(data[:first], len(data), peer), peer


sizes = st.integers(-1, 50) | st.none() | st.just(10**6)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("read"), sizes),
        st.tuples(st.just("readline"), sizes),
        st.tuples(st.just("readlines"), sizes),
        st.tuples(st.just("read1"), st.integers(1, 50)),
        st.tuples(st.just("next"), st.none()),
    ),
    max_size=12,
)
bodies = st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"0123456789" * 3, b"\r\n", b"x" * 70000]), max_size=20)


def perform(stream: Any, name: str, size: int | None) -> Any:
    return next(stream, b"") if name == "next" else getattr(stream, name)(size)


@given(bodies.map(b"".join), st.integers(0, 100), st.lists(st.integers(1, 60), max_size=30), operations)
def test_a_body_reads_as_bytesio_does(
    data: bytes, first: int, chunk_sizes: list[int], ops: list[tuple[str, Any]]
) -> None:
    body, peer = body_of(data, min(first, len(data)), chunk_sizes, surplus=b"the next request")
    oracle = io.BytesIO(data)
    for name, size in ops:
        if name == "read1":  # read1 may return less, but never nothing before the end, and always the same bytes
            got = body.stream.read1(size)  # type: ignore[attr-defined]
            assert got == oracle.read(len(got)) and (got or not oracle.read(1)) and len(got) <= size
        else:
            assert perform(body.stream, name, size) == perform(oracle, name, size)
        assert body.unread_bytes == max(len(peer.data) - len(b"the next request"), 0)
    assert body.stream.read() == oracle.read()
    assert body.stream.read() == b"" and body.stream.readline() == b"" and body.unread_bytes == 0
    assert peer.data == b"the next request"


@given(st.integers(1, 200), st.data())
def test_an_early_end_is_never_silent(length: int, data: st.DataObject) -> None:
    came = data.draw(st.integers(0, length - 1))
    first = data.draw(st.integers(0, came))
    peer = Peer(b"x" * (came - first), data.draw(st.lists(st.integers(1, 9), max_size=9)))
    stream = Body(b"x" * first, length, peer).stream
    reads: list[Callable[[], Any]] = [
        stream.read,
        stream.readline,
        stream.readlines,
        lambda: stream.read(length),
        lambda: list(stream),
    ]
    read = data.draw(st.sampled_from(reads))
    for _ in range(3):
        with pytest.raises(ClientDisconnected, match=f"{came} of {length} bytes? came"):
            read()


def test_bytes_that_came_with_the_head_need_no_peer() -> None:
    body, peer = body_of(b"hello", first=5)
    assert type(body.stream) is io.BytesIO and body.unread_bytes == 0
    assert body.stream.read() == b"hello" and peer.calls == 0
    assert Body(b"", 0, peer).stream.read() == b""


def test_a_surplus_is_not_the_body() -> None:
    assert Body(b"hello, and more", 5, Peer(b"", [])).stream.read() == b"hello"


def test_a_line_of_a_body_can_be_read_before_the_rest_arrives() -> None:
    """The application can go on after one line."""
    body, peer = body_of(b"line\n" + b"x" * 10**6, chunk_sizes=[5])
    assert body.stream.readline() == b"line\n"
    assert peer.calls == 1 and body.unread_bytes == 10**6


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.read(2**60),
        lambda stream: stream.read1(2**60),
        lambda stream: stream.readline(2**60),
        lambda stream: stream.readlines(2**60)[0],
    ],
)
def test_an_absurd_size_does_not_allocate_that_much(read: Callable[[Any], bytes]) -> None:
    stream = Body(b"ten", 10, Peer(b" bytes\n", [])).stream
    assert read(stream) == b"ten bytes\n" or read(stream) == b" bytes\n"  # read1 returns what is there


def test_an_absurd_size_of_a_body_without_a_length_does_not_allocate_that_much() -> None:
    assert ChunkedBody(Peer(b"ten bytes\n", [3])).stream.read(2**60) == b"ten bytes\n"


def test_an_absurd_content_length_does_not_allocate_that_much() -> None:
    stream = Body(b"", 2**59, Peer(b"x", [])).stream
    with pytest.raises(ClientDisconnected, match="1 of 576460752303423488 bytes"):
        stream.read(2**59)


@pytest.mark.parametrize("size", [None, -1, 1_000_000])
def test_a_body_is_received_into_the_bytes_that_the_application_gets(size: Any) -> None:
    body, peer = body_of(b"x" * 1_000_000, first=1000, chunk_sizes=[200_000] * 4)
    tracemalloc.start()
    peer.data = memoryview(peer.data)  # type: ignore[assignment]  # a part of it is no copy
    whole = body.stream.read(size)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert whole == b"x" * 1_000_000 and peak_bytes < 1_100_000


@pytest.mark.parametrize("size_bytes", [1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_large_body_is_whole_also_after_a_part_of_it_was_read(size_bytes: int) -> None:
    data = bytes(range(256)) * (size_bytes // 256 + 1)
    body, _ = body_of(data[:size_bytes], first=100)
    begun = body.stream.read(7) + body.stream.readline()
    assert begun + body.stream.read() == data[:size_bytes] and body.stream.read() == b""


@pytest.mark.parametrize(
    "use",
    [
        lambda body: body.stream.close(),
        lambda body: body.stream.detach(),
        lambda body: io.TextIOWrapper(body.stream).close(),
    ],
)
def test_unread_bytes_survives_what_the_application_does(use: Callable[[Body], None]) -> None:
    body, _ = body_of(b"x" * 100_000, chunk_sizes=[10])
    body.stream.readline(10)
    use(body)
    assert body.unread_bytes == 99_990


@pytest.mark.parametrize("error", [ClientDisconnected("silent for 30 s"), TimeoutError(), KeyboardInterrupt()])
def test_after_an_interrupted_read_nothing_is_skipped(error: BaseException) -> None:
    """The first bytes of an interrupted read are lost. The bytes after them must not be taken for them."""
    answers: list[bytes | BaseException] = [b"lost", error, b"next"]

    class Interrupted:
        def recv_into(self, target: memoryview) -> int:
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            target[: len(answer)] = answer
            return len(answer)

    stream = Body(b"", 100, Interrupted()).stream
    with pytest.raises(type(error)):
        stream.read(50)
    for _ in range(2):
        with pytest.raises(ClientDisconnected, match="4 of 100"):
            stream.read(4)


def test_a_body_is_a_stream_that_cannot_write_or_seek() -> None:
    stream = body_of(b"x" * 10)[0].stream
    assert stream.readable() and not stream.writable() and not stream.seekable()
    assert stream.read(3) == b"xxx"


@pytest.mark.parametrize(
    "make", [lambda peer: Body(b"xx", 10, peer).stream, lambda peer: ChunkedBody(peer).stream], ids=["length", "chunks"]
)
def test_a_stream_that_cannot_seek_does_not_tell_a_position_either(make: Callable[[Any], Any]) -> None:
    """A caller of tell() trusts that seek() leads back to that position. Zope's form parser does so."""
    stream = make(Peer(b"x" * 8, []))
    for use in (
        stream.tell,
        lambda: stream.seek(0),
        lambda: stream.seek(0, io.SEEK_CUR),
        stream.fileno,
        stream.truncate,
    ):
        with pytest.raises(io.UnsupportedOperation):
            use()
    assert not stream.seekable() and len(stream.read()) in (8, 10)
