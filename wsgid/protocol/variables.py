"""The walk over a packet's variables: the hot loop of the uwsgi protocol.

Two sources, one behaviour: this one, and variables.pyx, which is compiled where a compiler is.
"""

Pairs = list[tuple[str, str]]


def walk(packet: bytes, start: int, max_vars: int) -> tuple[dict[str, str], Pairs | None]:
    """Take the variables apart: (u16 LE size, name, u16 LE size, value)*, to the last byte of the packet.

    Args:
        packet: a whole packet, and nothing more.
        start: where its variables begin.
        max_vars: how many are accepted.

    Returns:
        The variables, and what came under a name that was there already, in its order; None if nothing did.

    Raises:
        OverflowError: there are more than `max_vars`.
        ValueError: the sizes do not add up to the packet.
    """
    text = packet.decode("latin-1")  # one character a byte: the sizes in `packet` are slices of `text`
    variables: dict[str, str] = {}
    repeated: Pairs | None = None
    end = len(packet)
    at = start
    # No size is checked on the way: one that overruns the packet ends either in an IndexError or beyond the end, and
    # both are seen without any cost to those who do not.  Names are not interned, which costs more than it saves here.
    try:
        for _ in range(max_vars + 1):
            if at >= end:
                break
            begin = at + 2
            at = begin + packet[at] + (packet[at + 1] << 8)
            name = text[begin:at]
            begin = at + 2
            at = begin + packet[at] + (packet[at + 1] << 8)
            if name in variables:
                repeated = repeated or []
                repeated.append((name, text[begin:at]))
            else:
                variables[name] = text[begin:at]
        else:
            if at <= end:
                raise OverflowError
    except IndexError:
        at = -1
    if at != end:
        raise ValueError
    return variables, repeated
