"""How many examples the property tests try, and which: hypothesis' profiles.

    local   other examples each time, and those that failed before first (.hypothesis/)
    ci      the same examples each time, so that a failure is the change's; with the line that makes it again
    long    200 times as many: HYPOTHESIS_PROFILE=long python -m pytest tests/unit/test_compiled.py

CI is chosen where the environment has CI.  There are no deadlines: a busy machine is no fault of an example's.
"""

import os

from hypothesis import settings

USUAL = 100

settings.register_profile("local", deadline=None, max_examples=USUAL)
settings.register_profile("ci", deadline=None, max_examples=USUAL, derandomize=True, database=None, print_blob=True)
settings.register_profile("long", deadline=None, max_examples=200 * USUAL)


def load() -> None:
    """Choose one by the environment; before any test is imported."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local"))


def examples(count: int) -> settings:
    """The decorator of a test that needs so many examples, or so few; in the long profile, as many times more."""
    return settings(max_examples=count * settings().max_examples // USUAL)
