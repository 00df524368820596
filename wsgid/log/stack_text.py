"""Python stacks for the log, with the line of the source of each frame.

Rules
* `linecache` keeps each file that it has read, for ever: 1 MB after the first stack of a Django site. Stacks are rare,
  so the files are forgotten when the stack is written.
* Sources that others have put there stay: doctest and attrs keep generated code there, and it is nowhere else.
"""

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def forgetting_sources() -> Iterator[None]:
    """Let `linecache` forget the files that it reads in this block."""
    known = set(linecache.cache)
    try:
        yield
    finally:
        for path in linecache.cache.keys() - known:
            linecache.cache.pop(path, None)  # a thread may have done the same


def stack_text(frame: FrameType | None) -> str:
    """Return a stack as the traceback of an exception shows it, without a last line break.

    Args:
        frame: the innermost one; None means the caller's.
    """
    with forgetting_sources():
        return "".join(traceback.format_stack(frame)).rstrip()
