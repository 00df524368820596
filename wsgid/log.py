"""The server log: one sentence a line, to standard error.

Rules
* The application owns the `logging` module of its process: `dictConfig` with its default `disable_existing_loggers`
  silences every registered logger, and `logging.disable` all of them.  So this logger is registered nowhere and has a
  manager of its own; what the application configures can't reach it.
* A log that can't be written (disk full, closed pipe) never stops the server.
* Who speaks is said once per process, by `speak_as`.
"""

import io
import logging
import os
import sys
from collections.abc import Callable
from typing import TextIO

from wsgid.errors import ConfigError

_FORMAT = "%(asctime)s [%(process)d] wsgid %(role)s %(levelname)s: %(message)s"

_logger = logging.Logger("wsgid", logging.INFO)
_logger.manager = logging.Manager(_logger)  # type: ignore[arg-type]  # not the application's: see the rules above
_role = "master"


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is now, and drops the line when that fails."""

    def emit(self, record: logging.LogRecord) -> None:
        record.role = _role
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is the operator's trouble, not the visitors'."""


_handler = _StandardError()
_handler.setFormatter(logging.Formatter(_FORMAT))
_logger.addHandler(_handler)

debug: Callable[..., None] = _logger.debug
info: Callable[..., None] = _logger.info
warning: Callable[..., None] = _logger.warning
error: Callable[..., None] = _logger.error


class ErrorStream(io.TextIOBase):
    """wsgi.errors: standard error, but for a failure to write, which would cost the visitor the response."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            return sys.stderr.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            pass


def speak_as(role: str) -> None:
    """Name this process in all its lines from now on: 'master', 'template 3', 'worker 0'."""
    global _role
    _role = role


def write_to(path: str) -> None:
    """Let standard output and error of this process, and thereby of all its descendants, be this file.

    Raises:
        ConfigError: it cannot be opened.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"--logto {path} cannot be written: {error.strerror}; choose another file") from error
    use(fd)


def use(fd: int) -> None:
    """Let standard output and error be this open file; closes `fd`."""
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
