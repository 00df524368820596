"""The pause of a failed attempt before its next try. It doubles with each failure in a row.

A process that has died young counts as a failed attempt.
"""

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 30.0
LIVED_SHORTLY_S = 1.0  # a process that dies younger than this is one more failure
HEALTHY_AFTER_S = 60.0  # a process that has lived this long clears the record


def failures_after(failures: int, lived_s: float) -> int:
    """Return the record after a process has left unasked.

    Args:
        failures: the record so far: failures in a row.
        lived_s: seconds from Ready to its end; -inf if it was never Ready.
    """
    if lived_s >= HEALTHY_AFTER_S:
        return 0
    if lived_s < LIVED_SHORTLY_S:
        return failures + 1
    return max(failures - 1, 0)


def backoff_s(failures: int) -> float:
    """Return the pause before the next try: 0 after the first failure, then 0.1 s, 0.2 s ... 30 s."""
    if failures <= 1:
        return 0.0
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 2, 30), BACKOFF_MAX_S)
