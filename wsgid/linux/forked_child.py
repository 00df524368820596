"""A process that the application has forked inside a template or a worker: how to recognize it, and how it ends.

Rules
* Such a process belongs to the application alone.  It answers no requests, counts nothing and writes no access log.
* It ends at the place where wsgid has called the application, instead of returning there.  It ends by os._exit:
  handlers that the parent has registered with atexit must not run twice.  The children of multiprocessing end in the
  same way.
* application/forks.py turns the copy of a worker into such a process.
"""

import os
import sys
from collections.abc import Callable

Report = Callable[[str, BaseException | None], None]  # takes a sentence, and the exception that the sentence is about

_report: Report | None = None  # set in a forked process only


def become(report: Report) -> None:
    """Record that the application has forked this process.

    Args:
        report: called with the exception that ends this process.
    """
    global _report
    _report = report


def is_one() -> bool:
    """Whether the application has forked this process."""
    return _report is not None


def end_if_one(error: BaseException | None = None) -> None:
    """End this process if the application has forked it; otherwise do nothing. Called where the application returns.

    Args:
        error: the exception that the application has raised, if any. The code of a SystemExit becomes the exit code, as
            in every Python program. For any other exception the exit code is 1, and the log has the traceback.
    """
    if _report is not None:
        code = 0 if error is None else _exit_code(error, _report)
        flush()
        os._exit(code)


def _exit_code(error: BaseException, report: Report) -> int:
    if not isinstance(error, SystemExit):
        report("a process that the application has forked ends by an exception", error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    report(str(error.code), None)  # sys.exit("a sentence")
    return 1


def flush() -> None:
    """Write what standard output and standard error still hold, as far as that is possible."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a closed pipe, a full disk, a stream that is closed or None
            pass
