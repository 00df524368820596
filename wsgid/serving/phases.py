"""The time of a request before its turn in this worker: from the stamp that the server in front has set.

    nginx: uwsgi_param HTTP_X_REQUEST_START "t=${msec}";      proxy_set_header X-Request-Start "t=${msec}";

Rules
* The stamp is a number since the epoch, in seconds (nginx's $msec), milliseconds or microseconds, with or without `t=`
  before it. Its size says which unit it has, as New Relic and others read this header.
* A stamp is believed only if it is at most STAMP_MAX_S old. Clocks of two machines differ: a stamp of the next second
  counts as 0, and a later one is no stamp.
* Over HTTP only the stamps of trusted peers count (--forwarded-allow-ips). nginx's uwsgi_param replaces the header of
  the visitor.
"""

STAMP = "HTTP_X_REQUEST_START"  # in the environ
STAMP_MAX_S = 600.0
AHEAD_MAX_S = 1.0
_LONGEST_CHARS = 32
_UNITS = ((1e14, 1e6), (1e11, 1e3), (0.0, 1.0))  # the least stamp of the unit, and how many of the unit are a second


def front_us(stamp: str, now_s: float) -> int:
    """Return how long ago this stamp was set, in microseconds; -1 if it is no stamp.

    Args:
        stamp: the value of the header.
        now_s: of time.time(), when the request had its turn.
    """
    if len(stamp) > _LONGEST_CHARS:
        return -1
    try:
        number = float(stamp.removeprefix("t="))
    except ValueError:
        return -1
    for least, in_second in _UNITS:
        if number >= least:
            age_s = now_s - number / in_second
            return int(max(age_s, 0.0) * 1e6) if -AHEAD_MAX_S <= age_s <= STAMP_MAX_S else -1
    return -1
