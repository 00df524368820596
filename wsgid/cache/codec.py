"""Values to bytes, and back: a tag, then the data.

Rules
* bytes, str, int, float, bool and None are stored as they are. Everything else is pickled; also their subclasses, so
  that a value comes back with its type.
* Only files of the server's own user are unpickled (files.py): whoever can write a pickle can run code.
* An int of 64 bits has a fixed width, so that incr does not change the size of its record.
"""

import pickle  # nosec B403
import struct
from typing import Any

PICKLE_PROTOCOL = 5
_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1

BYTES, STR, INT, FLOAT, NONE, TRUE, FALSE, LONG, PICKLE = (bytes([tag]) for tag in range(9))
_BYTES, _STR, _INT_TAG, _FLOAT_TAG, _NONE, _TRUE, _FALSE, _LONG, _PICKLE = range(9)


def encode(value: Any) -> bytes:
    """Return a value as bytes.

    Raises:
        Exception: pickle cannot do it.
    """
    kind = type(value)
    if kind is bytes:
        return BYTES + bytes(value)
    if kind is str:
        return STR + str(value).encode("utf-8", "surrogatepass")
    encoded = _encode_number(value, kind)
    if encoded is not None:
        return encoded
    return PICKLE + pickle.dumps(value, PICKLE_PROTOCOL)


def _encode_number(value: Any, kind: type) -> bytes | None:
    if kind is int:
        return INT + _INT.pack(value) if _INT_MIN <= value <= _INT_MAX else LONG + b"%x" % value
    if kind is float:
        return FLOAT + _FLOAT.pack(value)
    if kind is bool:
        return TRUE if value else FALSE
    return NONE if value is None else None


def decode(data: bytes, at: int = 0) -> Any:
    """Return the value in `data`, from the byte `at` on."""
    tag = data[at]
    if tag == _BYTES:
        return data[at + 1 :]
    if tag == _STR:
        return data[at + 1 :].decode("utf-8", "surrogatepass")
    if tag == _INT_TAG:
        return _INT.unpack_from(data, at + 1)[0]
    if tag == _PICKLE:
        return pickle.loads(memoryview(data)[at + 1 :])  # see the rules  # nosec B301
    return _decode_rare(tag, data, at)


def _decode_rare(tag: int, data: bytes, at: int) -> Any:
    if tag == _FLOAT_TAG:
        return _FLOAT.unpack_from(data, at + 1)[0]
    if tag == _LONG:
        return int(data[at + 1 :], 16)
    return {_NONE: None, _TRUE: True, _FALSE: False}[tag]


def is_number(data: bytes, at: int = 0) -> bool:
    """Whether incr can count with this value."""
    return data[at] in (_INT_TAG, _FLOAT_TAG, _LONG)
