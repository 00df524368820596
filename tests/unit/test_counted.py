"""Numbers with their nouns: no sentence says "1 workers"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from wsgid.counted import counted

SOURCES = sorted((ROOT / "wsgid").rglob("*.py"))
NOUNS = (
    "bytes|connections|daemons|descriptors|files|greenlets|headers|jobs|keys|limiters|lines|messages|permits|places|"
    "processes|requests|samples|seconds|sockets|threads|times|values|variables|workers"
)


@pytest.mark.parametrize(("number", "said"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (-1, "-1 workers")])
def test_a_noun_has_an_s_after_all_numbers_but_one(number: int, said: str) -> None:
    assert counted(number, "worker") == said


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_number_that_can_be_one_gets_its_noun_from_counted(path: Path) -> None:
    assert [text for text in _texts(path) if re.search(rf"… ([a-z']+ )?({NOUNS})\b", text)] == []


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts of a module, with … for each number that is no constant."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "%d" in node.value:
            yield node.value.replace("%d", "…")


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    source = ast.unparse(part.value)
    return "1" if re.fullmatch(r"[A-Z_.]+( - 1)?", source) else "…"
