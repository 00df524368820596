"""The loop over the variables of a uwsgi packet: the hottest loop of the protocol.

There are two sources with the same behaviour: this module, and variables.pyx, which is compiled where a compiler is.
"""

from typing import Any


def walk(buffer: bytes, start: int, end: int, variables: dict[str, Any]) -> list[tuple[str, str]]:
    """Decode the variables of a packet: (u16 LE size, name, u16 LE size, value)*.

    Args:
        buffer: the packet, and any bytes after it.
        start, end: where the variables begin and end; `end` is within the buffer.
        variables: gets the variables; names that are there already keep their values.

    Returns:
        (name, value) for each name that was there already, in the packet's order.

    Raises:
        ValueError: the sizes do not add up.
    """
    packet = buffer[:end]
    text = packet.decode("latin-1")  # one character for each byte, so that the sizes in `packet` are valid in `text`
    repeated: list[tuple[str, str]] = []
    at = start
    # No size is checked in the loop. A size that overruns the packet leads to an IndexError or to a position behind the
    # end. Both are detected afterwards, at no cost for valid packets.
    try:
        while at < end:
            begin = at + 2
            at = begin + packet[at]
            if packet[begin - 1]:  # seldom: only for sizes from 256 bytes on
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
