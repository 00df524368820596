"""A process that the application has forked inside a template or a worker: whether this is one, and how it ends.

Rules
* Such a child is the application's alone.  It answers no visitor, counts nothing, writes no line of the access log.
* It ends where the code of wsgid's that called the application would go on: as os._exit does, so that what is
  registered with atexit is left to the process that has registered it.  multiprocessing's children end likewise.
* What makes a child of a copied worker is in application/forks.py.
"""

import os
import sys
from collections.abc import Callable

Report = Callable[[str, BaseException | None], None]  # takes a sentence, and the exception that it is about

_report: Report | None = None  # in a child alone


def become(report: Report) -> None:
    """Say that this process is a child from now on.

    Args:
        report: is told of an exception that ends the child.
    """
    global _report
    _report = report


def is_one() -> bool:
    """Whether the application has forked this process."""
    return _report is not None


def end_if_one(error: BaseException | None = None) -> None:
    """Where the application's code is left: end this process, if the application has forked it. Else do nothing.

    Args:
        error: what the application has raised. The code of a SystemExit becomes the exit code, as in any Python
            program; with every other exception it is 1, and the traceback is in the log.
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
    """Write what standard output and error still hold, if somebody takes it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a closed pipe, a full disk, a stream that is closed or None
            pass
