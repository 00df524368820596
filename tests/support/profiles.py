"""hypothesis' profiles: how many examples the property tests try, and which examples.

    local   new examples each time, after the examples that failed before (.hypothesis/)
    ci      the same examples each time, so that a failure comes from the change; prints a line that repeats the failure
    long    200 times as many: HYPOTHESIS_PROFILE=long python -m pytest tests/unit/test_compiled.py

The profile is ci if the environment has CI. There are no deadlines, and no health check of the time that examples take,
because a busy machine makes examples slow.
"""

import os

from hypothesis import HealthCheck, settings

USUAL = 100

_untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=USUAL)
settings.register_profile("local", _untimed)
settings.register_profile("ci", _untimed, derandomize=True, database=None, print_blob=True)
settings.register_profile("long", _untimed, max_examples=200 * USUAL)


def load() -> None:
    """Choose the profile by the environment, before any test is imported."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local"))


def examples(count: int) -> settings:
    """The decorator of a test that needs another number of examples than usual. The long profile multiplies this
    number."""
    return settings(max_examples=count * settings().max_examples // USUAL)
