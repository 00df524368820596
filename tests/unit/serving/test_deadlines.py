"""Each round finds the requests that are due, as a look at all requests would, in whatever order requests come and
end."""

import math
from types import SimpleNamespace
from typing import Any

import greenlet
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wsgid.serving import deadlines
from wsgid.serving.deadlines import WINDOWS, Deadlines
from wsgid.serving.greenlets import RequestGreenlet

ROUND_S = 0.1
AGAIN_S = 1.0
USUAL = [0.3, 2.0, 60.0, math.inf]


class _Requests(RuleBasedStateMachine):
    """Requests that begin, end, and ask for another time limit, and the rounds of a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.usual_s = 60.0
        self.greenlets: list[RequestGreenlet] = []
        self.known: Deadlines | None = None
        deadlines.time = SimpleNamespace(monotonic=lambda: self.now_s)  # type: ignore[assignment,attr-defined]

    def teardown(self) -> None:
        import time

        deadlines.time = time  # type: ignore[attr-defined]

    @precondition(lambda self: self.known is None)
    @rule(usual_s=st.sampled_from(USUAL))
    def begin(self, usual_s: float) -> None:
        self.usual_s = usual_s
        self.known = Deadlines(usual_s, lambda: self.greenlets)

    def _start(self, serving: RequestGreenlet) -> None:
        serving.environ = {}
        serving.started_s = self.now_s
        serving.deadline_s = self.now_s + self.usual_s

    @precondition(lambda self: self.known)
    @rule()
    def request_in_a_new_greenlet(self) -> None:
        def live() -> None:
            while True:
                assert self.known
                self.known.set_harakiri(greenlet.getcurrent().parent.switch())  # type: ignore[union-attr]

        serving = RequestGreenlet(live)
        serving.switch()
        self._start(serving)
        self.greenlets.append(serving)

    @precondition(lambda self: self.greenlets)
    @rule(data=st.data())
    def the_next_request_in_a_greenlet(self, data: st.DataObject) -> None:
        self.now_s += 1e-6  # two requests of a greenlet never begin at the same time
        self._start(data.draw(st.sampled_from(self.greenlets)))

    @precondition(lambda self: self.greenlets)
    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.greenlets)).environ = None

    @precondition(lambda self: any(serving.environ is not None for serving in self.greenlets))
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.05, 1.0, 30.0, math.inf]))
    def a_request_asks_for_another_time(self, data: st.DataObject, seconds: float) -> None:
        data.draw(st.sampled_from([found for found in self.greenlets if found.environ is not None])).switch(seconds)

    @precondition(lambda self: self.greenlets)
    @rule(more_s=st.sampled_from([0.2, 5.0]))
    def the_loop_was_held_up(self, more_s: float) -> None:
        for serving in self.greenlets:
            if serving.environ is not None:
                serving.deadline_s += more_s

    @precondition(lambda self: self.known)
    @rule(rounds=st.integers(1, 3), more_s=st.sampled_from([0.0, 0.9, 4.0, 70.0]))
    def rounds(self, rounds: int, more_s: float) -> None:
        for number in range(rounds):
            self.now_s += ROUND_S + (more_s if not number else 0.0)
            self.round()

    @invariant()
    def round(self) -> None:
        """Half of the requests that are due end. The other half swallow the time-out."""
        if self.known is None:
            return
        due = {found for found in self.greenlets if found.environ is not None and found.deadline_s <= self.now_s}
        found = []
        for serving in self.known.due(self.now_s):
            found.append(serving)
            serving.deadline_s = self.now_s + AGAIN_S
            if len(found) % 2:
                serving.environ = None
        assert len(found) == len(set(found)) and set(found) == due
        waiting = [found.deadline_s for found in self.greenlets if found.environ is not None]
        assert min(waiting, default=math.inf) >= self.known.due_s()  # until then, the worker may rest


TestRequests = _Requests.TestCase


class _Counted(list[Any]):
    """A list of greenlets that counts how often the greenlets are looked at."""

    looks = 0

    def __iter__(self) -> Any:
        self.looks += 1
        return super().__iter__()


@pytest.mark.parametrize("usual_s", [8.0, 60.0])
def test_all_requests_are_looked_at_some_times_in_the_usual_time_and_not_in_each_round(usual_s: float) -> None:
    waiting = _Counted()
    known = Deadlines(usual_s, lambda: waiting)
    for number in range(int(usual_s / ROUND_S)):
        assert list(known.due(number * ROUND_S)) == []
    assert 1 <= waiting.looks <= WINDOWS + 1


def test_a_crowd_is_not_looked_at_again_before_its_first_request_is_due() -> None:
    waiting = _Counted()
    for _ in range(3):
        serving = RequestGreenlet()
        serving.environ, serving.started_s, serving.deadline_s = {}, 0.0, 60.0
        waiting.append(serving)
    known = Deadlines(60.0, lambda: waiting)
    for number in range(int(60 / ROUND_S)):
        assert list(known.due(number * ROUND_S)) == [] and known.due_s() == 60.0
    assert waiting.looks == 1
    assert list(known.due(60.0)) == waiting


def test_without_a_time_limit_nothing_is_looked_at() -> None:
    waiting = _Counted()
    known = Deadlines(math.inf, lambda: waiting)
    for number in range(1000):
        assert list(known.due(number * ROUND_S)) == [] and known.due_s() == math.inf
    assert waiting.looks == 0


def test_nothing_keeps_a_greenlet_that_has_ended() -> None:
    serving = RequestGreenlet()
    serving.environ, serving.started_s, serving.deadline_s = {}, 0.0, 0.5
    known = Deadlines(60.0, lambda: [serving])
    for due in known.due(1.0):
        due.deadline_s, due.environ = 2.0, None
    assert serving not in known._soon and serving not in known._later
