"""Random numbers of the kernel, for times that should not coincide.

Rules
* The module random would be imported for a few numbers. It loads hashlib and OpenSSL, and after each fork it writes a
  new state of 2.5 KB into a page that the processes share.
* An application that seeds the module random does not change these numbers.
"""

import os

_BITS = 53  # of a float's mantissa (IEEE 754), as in random.random


def fraction() -> float:
    """Return a number from 0 to 1, without 1."""
    return (int.from_bytes(os.urandom(7), "big") >> (56 - _BITS)) / (1 << _BITS)


def between(least: float, most: float) -> float:
    """Return a number between these two."""
    return least + (most - least) * fraction()
