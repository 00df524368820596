"""A process that the application has forked inside a template or a worker: whether this is one, and how it ends.

Rules
* Such a child is the application's alone.  It answers no visitor, counts nothing, writes no line of the access log.
* It ends where the code of wsgid's that called the application would go on: as os._exit does, so that what is
  registered with atexit is left to the process that has registered it.  multiprocessing's children end likewise.
* What makes a child of a copied worker is in forks.py.
"""

import os
import sys

from wsgid import log

_is_one = False


def become() -> None:
    """Say that this process is a child from now on."""
    global _is_one
    _is_one = True


def is_one() -> bool:
    """Whether the application has forked this process."""
    return _is_one


def end_if_one(error: BaseException | None = None) -> None:
    """Where the application's code is left: end this process, if the application has forked it. Else do nothing.

    Args:
        error: what the application has raised. The code of a SystemExit becomes the exit code, as in any Python
            program; with every other exception it is 1, and the traceback is in the log.
    """
    if _is_one:
        code = 0 if error is None else _exit_code(error)
        flush()
        os._exit(code)


def _exit_code(error: BaseException) -> int:
    if not isinstance(error, SystemExit):
        log.error("a process that the application has forked ends by an exception", exc_info=error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    log.error("%s", error.code)  # sys.exit("a sentence")
    return 1


def flush() -> None:
    """Write what standard output and error still hold, if somebody takes it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a closed pipe, a full disk, a stream that is closed or None
            pass
