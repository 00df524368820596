"""Stacks for the log: with the source of each line, and without keeping the files that were read."""

import linecache
import sys
import textwrap

import pytest

from wsgid.log.stack_text import forgetting_sources, stack_text


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The cache of linecache, empty."""
    empty: dict[str, object] = {}
    monkeypatch.setattr(linecache, "cache", empty)
    return empty


def test_a_stack_has_the_source_of_each_line_and_no_file_is_kept(cache: dict[str, object]) -> None:
    text = stack_text(sys._getframe())
    assert textwrap.dedent(text.splitlines()[-1]) == "text = stack_text(sys._getframe())"
    assert f'File "{__file__}"' in text
    assert not cache


def test_sources_that_others_keep_stay(cache: dict[str, object]) -> None:
    generated = (1, None, ["x = 1\n"], "<attrs generated>")
    cache["<attrs generated>"] = generated
    with forgetting_sources():
        assert linecache.getline(__file__, 1)
        assert linecache.getline("<attrs generated>", 1) == "x = 1\n"
    assert cache == {"<attrs generated>": generated}
