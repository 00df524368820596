"""The walk over a packet's variables: the hot loop of the uwsgi protocol.

Two sources, one behaviour: this one, and variables.pyx, which is compiled where a compiler is.
"""

from typing import Any


def roomy(base: dict[str, Any]) -> dict[str, Any]:
    """A copy of `base` whose own copies have room for a request's variables, where that can be had."""
    return base.copy()


def walk(buffer: bytes, start: int, end: int, variables: dict[str, Any]) -> list[tuple[str, str]]:
    """Take a packet's variables apart: (u16 LE size, name, u16 LE size, value)*.

    Args:
        buffer: the packet, and whatever follows it.
        start, end: where its variables begin and end; `end` is within the buffer.
        variables: where they are put; what is there stays.

    Returns:
        What came under a name that was there already, in its order.

    Raises:
        ValueError: the sizes do not add up.
    """
    packet = buffer[:end]
    text = packet.decode("latin-1")  # one character a byte: the sizes in `packet` are slices of `text`
    repeated: list[tuple[str, str]] = []
    at = start
    # No size is checked on the way: one that overruns the packet ends either in an IndexError or beyond the end, and
    # both are seen without any cost to those who do not.
    try:
        while at < end:
            begin = at + 2
            at = begin + packet[at]
            if packet[begin - 1]:  # seldom: it takes 256 bytes
                at += packet[begin - 1] << 8
            name = text[begin:at]
            begin = at + 2
            at = begin + packet[at]
            if packet[begin - 1]:
                at += packet[begin - 1] << 8
            if name in variables:
                repeated.append((name, text[begin:at]))
            else:
                variables[name] = text[begin:at]
    except IndexError:
        at = -1
    if at != end:
        raise ValueError
    return repeated
