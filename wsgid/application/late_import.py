"""An import of the application that takes longer than --boot-timeout says where it is, and ends.

    the master's deadline -> SIGXCPU: the handler here logs the stack -> SIGABRT: faulthandler's -> SIGKILL

Rules
* An import that waits, for a database say, waits in gevent's hub: what the signal interrupts is the hub, and where the
  import is says the main greenlet.  An import that is in C runs no handler; then faulthandler has the word.
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

_LAST_WORDS_S = 1.0  # for who reads standard error


def watch(report: Callable[[ApplicationImportError], None], limit_s: float) -> None:
    """End this process at SIGXCPU.

    Args:
        report: tells whoever waits for the import.
        limit_s: of --boot-timeout, for the sentence.
    """
    importing: Any = greenlet.getcurrent()

    def on_overdue(_signo: int, frame: FrameType | None) -> None:
        place = frame if greenlet.getcurrent() is importing else importing.gr_frame
        log.error(
            "the import of the application takes longer than %g s (--boot-timeout); it is here:",
            limit_s,
            extra={"traceback": "".join(traceback.format_stack(place)).rstrip()},
        )
        error = ApplicationImportError(
            f"the application was not imported in {limit_s:g} s: raise --boot-timeout if it may take so long"
        )
        report(error)
        stdio.end(_LAST_WORDS_S)
        os._exit(error.exit_code)

    signal.signal(signal.SIGXCPU, on_overdue)
