"""Whether a header's value needs a second look.

Two sources, one behaviour: this one, and text.pyx, which is compiled where a compiler is.
"""


def is_plain(value: object) -> bool:
    """Whether it is a str, and all of it printable ASCII: nearly every value is."""
    return type(value) is str and value.isascii() and value.isprintable()
