"""A rate limit as arithmetic: no clock, no I/O; the time is an argument."""


class RateLimit:
    """Admits events at a limited rate (GCRA: the whole state is one number).

    Args:
        per_s: the rate in the long run, in events per second.
        burst: how many events are admitted at once after a quiet time.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._due_s = float("-inf")  # the time at which the next event would be on schedule
        self._refused = 0

    def admit(self, now_s: float) -> bool:
        """Whether an event is within the rate. An admitted event is counted.

        Args:
            now_s: the time of the event, from any clock that only goes forward.
        """
        due_s = max(self._due_s, now_s)
        if due_s - now_s > self._tolerance_s:
            self._refused += 1
            return False
        self._due_s = due_s + self._interval_s
        return True

    def take_refused(self) -> int:
        """Return how many events were refused since the last call."""
        refused, self._refused = self._refused, 0
        return refused
