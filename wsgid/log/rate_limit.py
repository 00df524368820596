"""Rates as arithmetic: no clock, no I/O; time is an argument."""


class RateLimit:
    """A bucket of events that fills up again with time (GCRA: one number is its whole state).

    Args:
        per_s: how many events a second in the long run.
        burst: how many at once after a quiet time.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._due_s = float("-inf")  # when the next event would be on time
        self._refused = 0

    def admit(self, now_s: float) -> bool:
        """Whether an event at `now_s` is within the rate; counts it."""
        due_s = max(self._due_s, now_s)
        if due_s - now_s > self._tolerance_s:
            self._refused += 1
            return False
        self._due_s = due_s + self._interval_s
        return True

    def take_refused(self) -> int:
        """How many were refused since the last call."""
        refused, self._refused = self._refused, 0
        return refused
