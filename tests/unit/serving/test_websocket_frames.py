"""Where a frame ends, however the bytes of a server are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.serving.websocket_frames import GOING_AWAY, Sent, SentFrames

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"


def frame(payload: bytes, opcode: int = 2, mask: bool = False) -> bytes:
    """RFC 6455, 5.2."""
    length, masked = len(payload), 0x80 if mask else 0
    if length < 126:
        head = bytes([0x80 | opcode, masked | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, masked | 126]) + length.to_bytes(2)
    else:
        head = bytes([0x80 | opcode, masked | 127]) + length.to_bytes(8)
    return head + (b"mask" if mask else b"") + payload


def fed(data: bytes, cuts: list[int]) -> SentFrames:
    frames = SentFrames()
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        frames.feed(memoryview(data)[start:end])
    return frames


SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000])


@given(st.lists(st.tuples(SIZES, st.booleans()), max_size=4), st.lists(st.integers(0, 400_000)), st.data())
def test_a_frame_may_begin_exactly_between_two_frames(
    sizes: list[tuple[int, bool]], cuts: list[int], data: st.DataObject
) -> None:
    frames = [frame(bytes(size), mask=mask) for size, mask in sizes]
    ends = {len(ACCEPTED) + len(b"".join(frames[:count])) for count in range(len(frames) + 1)}
    whole = ACCEPTED + b"".join(frames)
    sent = data.draw(st.one_of(st.sampled_from(sorted(ends)), st.integers(0, len(whole))))
    assert fed(whole[:sent], cuts).is_between == (sent in ends)


def test_after_a_close_frame_nothing_may_follow() -> None:
    frames = fed(ACCEPTED + frame(b"x") + GOING_AWAY, [1, 100])
    assert frames.stage is Sent.CLOSED and not frames.is_between


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX-Upgrade: websocket\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_another_answer_is_no_websocket(answer: bytes) -> None:
    frames = fed(answer + frame(b"x"), [3, 15_000])
    assert frames.stage is Sent.OTHER and not frames.is_between
