"""The numbers in wsgidctl's tables."""

import pytest

from wsgid.ctl import tables


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1.24, "1.2s"), (99.94, "99.9s"), (100, "1m40s"), (5999, "99m59s"), (6000, "1h40m"), (360_000, "4d04h")],
)
def test_an_age_has_the_two_units_that_matter(seconds: float, shown: str) -> None:
    assert tables.age(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"), [(None, "?"), (0, "0.0 MiB"), (5 << 19, "2.5 MiB"), (100 << 20, "100 MiB")]
)
def test_a_size_is_in_mib_and_an_unknown_one_is_a_question_mark(size_bytes: int | None, shown: str) -> None:
    assert tables.size(size_bytes) == shown
