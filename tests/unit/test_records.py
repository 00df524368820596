"""wsgid.records: whatever wsgid uses of it behaves as in the standard library's dataclasses."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from wsgid import records


class Pair(NamedTuple):
    """A named tuple, as listeners have them."""

    left: int
    right: int


def classes(source: Any) -> SimpleNamespace:
    """The same classes, made with either module."""

    @source.dataclass(frozen=True, slots=True)
    class Frozen:
        """A frozen one."""

        number: int
        text: str = "x"
        many: list[Any] = source.field(default_factory=list)

        @property
        def double(self) -> int:
            return self.number * 2

    @source.dataclass(slots=True)
    class Slotted:
        number: int = 1
        inner: Any = None

    @source.dataclass
    class Open:
        target: int
        made: list[int] = source.field(init=False)
        count: int = source.field(default=7, metadata={"kind": "count"})
        names: dict[str, int] = source.field(default_factory=dict, init=False)

        def __post_init__(self) -> None:
            self.made = [self.target]

    @source.dataclass(frozen=True, slots=True)
    class Empty:
        """Without a field."""

    @source.dataclass(frozen=True, slots=True)
    class Own:
        number: int

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

    class Heir(Frozen):
        pass

    return SimpleNamespace(Frozen=Frozen, Slotted=Slotted, Open=Open, Empty=Empty, Own=Own, Heir=Heir)


def outcome(work: Callable[[], Any]) -> Any:
    """What an expression comes to: its value in words, or the kind of its exception."""
    try:
        return repr(work()).replace("<locals>.", "")
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__[:-3]]
        return kinds, str(error).replace("classes.<locals>.", "") if isinstance(error, TypeError) else ""


def sets(thing: Any, name: str) -> Any:
    setattr(thing, name, 5)
    return thing


def deletes(thing: Any, name: str) -> None:
    delattr(thing, name)


QUESTIONS: dict[str, Callable[[SimpleNamespace, ModuleType], Any]] = {
    "defaults": lambda c, m: c.Frozen(1),
    "by name": lambda c, m: c.Frozen(text="t", number=2, many=[1]),
    "too few": lambda c, m: c.Frozen(),
    "too many": lambda c, m: c.Frozen(1, "a", [], 4),
    "twice": lambda c, m: c.Frozen(1, number=2),
    "unknown": lambda c, m: c.Frozen(1, colour="red"),
    "after the first": lambda c, m: (c.Frozen(1), c.Frozen(2)),
    "a factory for each": lambda c, m: c.Frozen(1).many is c.Frozen(1).many,
    "a property": lambda c, m: c.Frozen(4).double,
    "equal": lambda c, m: (c.Frozen(1) == c.Frozen(1), c.Frozen(1) == c.Frozen(2), c.Frozen(1) == 1),
    "equal to another class": lambda c, m: (c.Empty() == c.Frozen(1), c.Empty() == c.Empty()),
    "hash": lambda c, m: hash(c.Frozen(1, many=())) == hash(c.Frozen(1, many=())),
    "hash of a list": lambda c, m: hash(c.Frozen(1)),
    "hash of a changeable one": lambda c, m: hash(c.Slotted()),
    "set a frozen one": lambda c, m: sets(c.Frozen(1), "number"),
    "delete of a frozen one": lambda c, m: deletes(c.Frozen(1), "number"),
    "set": lambda c, m: sets(c.Slotted(), "number"),
    "set what is no field": lambda c, m: sets(c.Slotted(), "colour"),
    "set anything": lambda c, m: vars(sets(c.Open(1), "colour")),
    "made after the rest": lambda c, m: c.Open(4),
    "init=False": lambda c, m: c.Open(4, made=[]),
    "replace": lambda c, m: m.replace(c.Frozen(1, many=[2]), text="new"),
    "replace nothing": lambda c, m: m.replace(c.Slotted(3)),
    "replace the unknown": lambda c, m: m.replace(c.Slotted(3), colour=1),
    "asdict": lambda c, m: m.asdict(c.Slotted(1, [c.Frozen(2), {"k": c.Empty()}, (c.Slotted(), Pair(1, 2))])),
    "asdict of nothing": lambda c, m: m.asdict(c.Empty()),
    "fields": lambda c, m: [(each.name, each.init, dict(each.metadata)) for each in m.fields(c.Open)],
    "fields of an object": lambda c, m: [each.name for each in m.fields(c.Frozen(1))],
    "its own functions": lambda c, m: (c.Own(1), c.Own(1) == 3),
    "hash beside its own eq": lambda c, m: hash(c.Own(1)) == hash(c.Own(1)),
    "a subclass": lambda c, m: (c.Heir(1).number, c.Heir(2, "b") == c.Heir(2, "b"), c.Heir(1) == c.Frozen(1)),
    "what match knows": lambda c, m: (c.Frozen.__match_args__, c.Open.__match_args__),
    "slots": lambda c, m: (c.Frozen.__slots__, hasattr(c.Frozen(1), "__dict__")),
    "names": lambda c, m: (c.Frozen.__name__, c.Frozen.__doc__, c.Frozen.__module__),
    "a default of the class": lambda c, m: c.Open.count,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_as_in_the_standard_library(name: str) -> None:
    """Also when objects were made before: the first and the second object of a class have another __init__."""
    ask = QUESTIONS[name]
    ours, theirs = classes(records), classes(dataclasses)
    for _ in range(3):
        assert outcome(lambda: ask(ours, records)) == outcome(lambda: ask(theirs, dataclasses))


def test_no_code_is_compiled_for_the_first_object_of_a_class() -> None:
    made = classes(records)
    made.Frozen(1)
    assert made.Frozen.__init__.__code__.co_filename == records.__file__
    made.Frozen(1)
    assert made.Frozen.__init__.__code__.co_filename == "<string>"


def test_the_expensive_parts_of_the_standard_library_are_not_imported() -> None:
    code = "import sys, wsgid.records, wsgid.supervisor.fleet, wsgid.ipc.messages; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"dataclasses", "inspect", "ast", "dis"} & set(loaded)
