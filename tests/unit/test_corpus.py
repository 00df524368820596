"""Each input in tests/corpus/ is answered, or refused with a sentence. Both forms give the same answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.compiled_form import ask
from fuzz.targets import TARGETS
from tests.support import ROOT
from tests.support.pure_form import PureForm

CORPUS = sorted((ROOT / "tests" / "corpus").glob("*/*"))


@pytest.fixture(scope="module")
def pure() -> Iterator[PureForm]:
    with PureForm() as process:
        yield process


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_input_is_answered_alike_by_both_forms(pure: PureForm, path: Path) -> None:
    target = TARGETS[path.parent.name]
    for question in target.ask(path.read_bytes()):
        there = pure.ask(*question) if target.compiled else None
        here = ask(*question)  # an exception that is no refusal with a sentence fails the test
        assert here == there or not target.compiled


def test_each_target_has_inputs_to_begin_with() -> None:
    assert {path.parent.name for path in CORPUS} == TARGETS.keys()
