"""Two checks of header values: whether a value needs escaping, and which number a length is.

There are two sources with the same behaviour: this module, and fields.pyx, which is compiled where a compiler is.
"""

LENGTH_MAX_DIGITS = 18  # fits an off_t


def is_plain(value: object) -> bool:
    """Whether a value is a str of printable ASCII only. Nearly every value is."""
    return type(value) is str and value.isascii() and value.isprintable()


def parse_length(value: str) -> int:
    """Return the number of bytes that a Content-Length gives (RFC 9110, 8.6); -1 if the value is invalid or longer than
    18 digits.

    int() alone would also accept "+1", " 1", "1_0" and digits of other scripts. nginx reads such values differently.
    """
    if value.isascii() and value.isdigit() and len(value) <= LENGTH_MAX_DIGITS:
        return int(value)
    return -1
