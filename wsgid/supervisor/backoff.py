"""How long a failed attempt waits for its next try: a pause that doubles with each failure in a row.

A process that died young counts as a failed attempt.
"""

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 30.0
LIVED_SHORTLY_S = 1.0  # a process that dies younger than this counts as one more failure
HEALTHY_AFTER_S = 60.0  # a process that lived this long clears the record


def failures_after(failures: int, lived_s: float) -> int:
    """The record after a process that left unasked, `lived_s` seconds after it was Ready (-inf: it never was)."""
    if lived_s >= HEALTHY_AFTER_S:
        return 0
    if lived_s < LIVED_SHORTLY_S:
        return failures + 1
    return max(failures - 1, 0)


def backoff_s(failures: int) -> float:
    """How long to wait before the next try: not at all after the first failure, then 0.1 s, 0.2 s ... 30 s."""
    if failures <= 1:
        return 0.0
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 2, 30), BACKOFF_MAX_S)
