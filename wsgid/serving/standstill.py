"""Adds up for which share of the last seconds an event loop stood still, and decides what the log says about it.

    stops of the loop -> buckets of a tenth of WINDOW_S -> share -> above SAY_SHARE: a sentence with the commonest place

Rules
* Pure: times come from the caller.
* The sentence waits until the share has stopped growing, so that it does not name the first moment above the limit.
* There is one sentence in WINDOW_S at most, one for each function, and SAID_MAX in the life of a worker. So nobody can
  fill the log by alternating between places.
* Stops that the log has already shown (--hub-warn), and what wsgid does for an operator, count for the share that
  statistics show. They do not count for the sentence.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import NamedTuple

from wsgid.application.blame import Blamed
from wsgid.records import dataclass, field

WINDOW_S = 10.0
BUCKETS = 10  # of the window
SAY_SHARE = 1 / 3
PLACES_MAX = 50  # in a bucket; what does not fit has no place
SAID_MAX = 20


def bucket_s() -> float:
    """Return the length of a bucket."""
    return WINDOW_S / BUCKETS


class Said(NamedTuple):
    """A sentence for the log."""

    key: str  # of the place
    text: str


@dataclass(slots=True)
class _Bucket:
    """A part of the window."""

    stood_s: float = 0.0
    untold_s: float = 0.0  # what the sentence is about
    places: defaultdict[Blamed, float] = field(default_factory=lambda: defaultdict(float))  # the same by places


class Standstill:
    """The stops of a loop.

    Args:
        now_s: by the clock that the caller uses for all calls.
    """

    def __init__(self, now_s: float) -> None:
        self.stood_s = 0.0  # in total
        self.permille = 0  # of the last WINDOW_S
        self._buckets = deque([_Bucket()], maxlen=BUCKETS)
        self._ends_s = now_s + bucket_s()  # of the present bucket
        self._share = 0.0  # of what is untold, when the last bucket ended
        self._said: set[tuple[str, str]] = set()
        self._says_again_s = now_s

    def add(self, stood_s: float) -> None:
        """The loop stood still for so long."""
        self.stood_s += stood_s
        self._buckets[-1].stood_s += stood_s

    def tell(self, places: Mapping[Blamed, float]) -> None:
        """A stop is over, and the log has not shown it yet.

        Args:
            places: where the loop stood still, with seconds.
        """
        bucket = self._buckets[-1]
        for place, stood_s in places.items():
            bucket.untold_s += stood_s
            if place in bucket.places or len(bucket.places) < PLACES_MAX:
                bucket.places[place] += stood_s

    def turn(self, now_s: float) -> Said | None:
        """Go on to the present bucket. Called often. Returns a sentence, if the log has to say one now."""
        if now_s < self._ends_s:
            return None
        self.permille = round(1000 * min(sum(bucket.stood_s for bucket in self._buckets) / WINDOW_S, 1.0))
        before, self._share = self._share, min(sum(bucket.untold_s for bucket in self._buckets) / WINDOW_S, 1.0)
        said = self._said_now(now_s) if SAY_SHARE < self._share <= before else None
        length_s = bucket_s()
        ended = 1 + int((now_s - self._ends_s) / length_s)
        self._buckets.extend(_Bucket() for _ in range(min(ended, BUCKETS)))
        self._ends_s += ended * length_s
        return said

    def is_over(self) -> bool:
        """Whether the window has no stop."""
        return not any(bucket.stood_s for bucket in self._buckets)

    def _said_now(self, now_s: float) -> Said | None:
        place = self._commonest()
        if now_s < self._says_again_s or place is None or place.function in self._said or len(self._said) >= SAID_MAX:
            return None
        self._said.add(place.function)
        self._says_again_s = now_s + WINDOW_S
        return Said(
            " ".join(place.function),
            f"the event loop stood still for {100 * self._share:.0f} % of the last {WINDOW_S:g} s, mostly here: {place}"
            "; all other requests of the worker wait meanwhile (docs/applications.md)",
        )

    def _commonest(self) -> Blamed | None:
        """The line at which the loop stood still for longest, in the function in which it did so."""
        lines: defaultdict[Blamed, float] = defaultdict(float)
        functions: defaultdict[tuple[str, str], float] = defaultdict(float)
        for bucket in self._buckets:
            for place, stood_s in bucket.places.items():
                lines[place] += stood_s
                functions[place.function] += stood_s
        if not functions:
            return None
        function = max(functions, key=functions.__getitem__)
        return max((place for place in lines if place.function == function), key=lines.__getitem__)
