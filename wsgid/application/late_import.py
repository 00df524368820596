"""Ends an import of the application, or a start hook, that takes longer than --boot-timeout, and logs its stack.

    the master's deadline -> SIGXCPU: the handler here logs the stack -> SIGABRT: faulthandler's -> SIGKILL

Rules
* An import that waits, for example for a database, waits in gevent's hub. The signal then interrupts the hub; the stack
  of the import is that of the main greenlet.  An import that is stuck in C runs no Python handler; there faulthandler
  prints the stack.
"""

import os
import signal
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import greenlet

from wsgid import log
from wsgid.errors import ApplicationImportError
from wsgid.log import stdio

_LAST_WORDS_S = 1.0  # how long printed text waits for its reader


def watch(
    report: Callable[[ApplicationImportError], None], limit_s: float, what: str = "the import of the application"
) -> None:
    """End this process at SIGXCPU.

    Args:
        report: called with the error, before the process ends.
        limit_s: the value of --boot-timeout, for the sentence.
        what: takes the time. It runs in the greenlet that calls this function.
    """
    importing: Any = greenlet.getcurrent()

    def on_overdue(_signo: int, frame: FrameType | None) -> None:
        place = frame if greenlet.getcurrent() is importing else importing.gr_frame
        log.error(
            "%s takes longer than %g s (--boot-timeout); the stack:",
            what,
            limit_s,
            extra={"traceback": "".join(traceback.format_stack(place)).rstrip()},
        )
        error = ApplicationImportError(
            f"{what} did not end in {limit_s:g} s: raise --boot-timeout if it may take so long"
        )
        report(error)
        stdio.end(_LAST_WORDS_S)
        os._exit(error.exit_code)

    signal.signal(signal.SIGXCPU, on_overdue)
