"""The checks of header values and lines: every position of a text is checked, although the form checks blocks of it."""

import pytest

from wsgid.protocol.fields import is_plain

pytestmark = pytest.mark.hot


@pytest.mark.parametrize("size", range(1, 27))
def test_each_place_of_a_text_counts(size: int) -> None:
    usual = "a" * size
    assert is_plain(usual)
    for at in range(size):
        for char in map(chr, range(0x102)):
            text = usual[:at] + char + usual[at + 1 :]
            assert is_plain(text) == (text.isascii() and text.isprintable())


def test_only_a_str_is_plain() -> None:
    assert is_plain("") and not is_plain(b"a") and not is_plain(None) and not is_plain(type("S", (str,), {})("a"))
