"""The share of time in which a loop stood still, and the log's sentence about it. The times are invented by the
tests."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.application.blame import Blamed, Line
from wsgid.serving.standstill import BUCKETS, PLACES_MAX, SAID_MAX, SAY_SHARE, WINDOW_S, Said, Standstill

BUCKET_S = WINDOW_S / BUCKETS


def place(function: str = "view", number: int = 1) -> Blamed:
    names: dict[str, object] = {}
    exec(compile(f"def {function}():\n" + "\n" * number + "    pass", "app.py", "exec"), names)
    code = names[function].__code__  # type: ignore[attr-defined]
    return Blamed(Line(code, number), Line(code, number))


VIEW, OTHER = place("view"), place("other")


class Loop:
    """A loop whose time is controlled by the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.standstill = Standstill(self.now_s)
        self.said: list[tuple[float, Said]] = []

    def stands(self, seconds: float, where: Blamed | None, shown: bool = False) -> None:
        """The loop stands still."""
        while seconds > 0:
            step_s = min(seconds, 0.05)
            self.standstill.add(step_s)
            if where is not None and not shown:
                self.standstill.tell({where: step_s})
            self.runs(step_s)
            seconds -= step_s

    def runs(self, seconds: float) -> None:
        """The loop runs, unless the test says that it stood still."""
        self.now_s += seconds
        said = self.standstill.turn(self.now_s)
        if said:
            self.said.append((self.now_s, said))

    def stutters(self, share: float, seconds: float, where: Blamed = VIEW) -> None:
        for _ in range(round(seconds * 10)):
            self.stands(0.1 * share, where)
            self.runs(0.1 * (1 - share))

    @property
    def keys(self) -> list[str]:
        return [said.key for _, said in self.said]


def test_the_share_is_that_of_the_last_ten_seconds() -> None:
    loop = Loop()
    loop.stutters(0.4, 30)
    assert loop.standstill.permille == pytest.approx(400, abs=15)
    loop.runs(BUCKET_S)
    loop.runs(WINDOW_S)
    loop.runs(WINDOW_S)
    assert loop.standstill.permille == 0 and loop.standstill.is_over()


def test_twenty_stops_of_200_ms_are_said_with_their_whole_share() -> None:
    loop = Loop()
    for _ in range(20):
        loop.stands(0.2, VIEW)
    for _ in range(100):
        loop.runs(0.1)
    [(_, said)] = loop.said
    assert said.text.startswith("the event loop stood still for 40 % of the last 10 s, mostly here: app.py:1 in view; ")


def test_a_place_is_said_once_and_another_place_again() -> None:
    loop = Loop()
    for where in (VIEW, OTHER, VIEW, place("view", 7)):
        loop.stutters(0.6, 40, where)
    assert loop.keys == ["app.py view", "app.py other"]


def test_the_commonest_line_of_the_commonest_function_is_named() -> None:
    loop = Loop()
    for _ in range(300):
        loop.stands(0.02, place("view", 1))
        loop.stands(0.03, place("view", 2))
        loop.stands(0.04, OTHER)
        loop.runs(0.05)
    assert "app.py:2 in view" in loop.said[0][1].text


def test_what_the_log_has_shown_counts_for_the_share_and_not_for_the_sentence() -> None:
    loop = Loop()
    for _ in range(20):
        loop.stands(2, VIEW, shown=True)
        loop.runs(0.5)
    assert loop.standstill.permille > 700 and not loop.said


def test_stops_at_alternating_places_do_not_fill_the_log() -> None:
    loop = Loop()
    for number in range(3 * SAID_MAX):
        loop.stutters(0.9, 15, place(f"view_{number}"))
    assert len(loop.said) == len(set(loop.keys)) == SAID_MAX
    assert all(second - first >= WINDOW_S for (first, _), (second, _) in pairwise(loop.said))


def test_places_are_bounded() -> None:
    standstill = Standstill(0.0)
    for number in range(3 * PLACES_MAX):
        standstill.tell({place(f"view_{number}"): 0.05})
    assert len(standstill._buckets[-1].places) == PLACES_MAX


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), max_size=40))
def test_any_stops_have_a_share_from_nothing_to_all_and_are_never_said_below_the_limit(
    stops: list[tuple[float, float]],
) -> None:
    loop = Loop()
    for stood_s, ran_s in stops:
        loop.stands(stood_s, VIEW)
        loop.runs(ran_s)
        assert 0 <= loop.standstill.permille <= 1000
    assert loop.standstill.stood_s == pytest.approx(sum(stood_s for stood_s, _ in stops))
    if sum(stood_s for stood_s, _ in stops) <= SAY_SHARE * WINDOW_S:
        assert not loop.said


@given(st.floats(0, SAY_SHARE - 0.03), st.floats(SAY_SHARE + 0.03, 1))
def test_a_steady_share_is_said_above_the_limit_only(below: float, above: float) -> None:
    loop = Loop()
    loop.stutters(below, 30)
    assert not loop.said
    loop.stutters(above, 30)
    loop.runs(BUCKET_S)
    loop.runs(BUCKET_S)
    assert loop.keys == ["app.py view"]


def test_time_that_jumps_empties_the_window() -> None:
    loop = Loop()
    loop.stutters(0.9, 3)
    loop.runs(sys.maxsize)
    assert loop.standstill.is_over()
