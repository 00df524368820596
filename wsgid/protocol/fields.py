"""What is asked of header values: whether one needs a second look, and what number a length is.

Two sources, one behaviour: this one, and text.pyx, which is compiled where a compiler is.
"""

LENGTH_MAX_DIGITS = 18  # fits an off_t


def is_plain(value: object) -> bool:
    """Whether it is a str, and all of it printable ASCII: nearly every value is."""
    return type(value) is str and value.isascii() and value.isprintable()


def parse_length(value: str) -> int:
    """The number of bytes that a Content-Length says (RFC 9110, 8.6); -1 if it is none, or beyond 18 digits.

    int() alone would take "+1", " 1", "1_0" and digits of other scripts, which nginx and we would read differently.
    """
    if value.isascii() and value.isdigit() and len(value) <= LENGTH_MAX_DIGITS:
        return int(value)
    return -1
