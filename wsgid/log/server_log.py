"""The server log: one sentence or one JSON object for each line.

Rules
* The application owns the `logging` module of its process. `dictConfig` with its default `disable_existing_loggers`
  silences every registered logger, and `logging.disable` silences all loggers.  So this logger is not registered, and
  has a manager of its own; the application's configuration does not reach it.
* If the log cannot be written (disk full, closed pipe), the server goes on.
* Lines that a destination of --logger cannot take go to standard error instead.
* Each process calls `speak_as` once, with its name, and `set_up` once, with the destinations.
"""

import io
import json
import logging
import os
import posix
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wsgid.errors import ConfigError
from wsgid.linux import safefiles
from wsgid.log import destination
from wsgid.log.destination import Destination, DestinationType
from wsgid.log.syslog_socket import Syslog

_TEXT = "%(asctime)s [%(process)d] wsgid %(role)s %(levelname)s: %(message)s"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)

_logger = logging.Logger("wsgid", logging.INFO)
_logger.manager = logging.Manager(_logger)  # type: ignore[arg-type]  # not the application's: see the rules
_role = "master"

Write = Callable[[int, str], None]  # takes a priority (syslog(3)) and a text without its last line break


class _Text(logging.Formatter):
    """The usual form. A stack follows its sentence on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        stack = getattr(record, "traceback", "")
        return f"{text}\n{stack}" if stack else text


class _Json(logging.Formatter):
    """One JSON object for each line, also if the message has line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        from datetime import datetime  # with --log-json only: it takes 0.3 MB

        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),  # RFC 3339
            "level": record.levelname.lower(),
            "role": _role,
            "pid": record.process,
            "message": record.getMessage(),
        }
        stack = self.formatException(record.exc_info) if record.exc_info else getattr(record, "traceback", "")
        if stack:
            fields["traceback"] = stack
        return json.dumps(fields)


class _Handler(logging.Handler):
    """Formats records, and passes them to one destination."""

    def __init__(self, write: Write, formatter: logging.Formatter) -> None:
        super().__init__()
        self._write = write
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        record.role = _role
        try:
            text = self.format(record)
        except Exception:  # a value cannot be formatted
            text = f"{record.msg!r} cannot be formatted"
        for write in (self._write, _to_standard_error):
            try:
                write(_PRIORITIES.get(record.levelno, 6), text)
            except (OSError, ValueError, AttributeError):  # the application has closed the stream, or there is none
                continue
            return  # a full disk must not affect the visitors


def _to_standard_error(_priority: int, text: str) -> None:
    """Write to the present sys.stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _to_journal(priority: int, text: str) -> None:
    """Write with a priority before each line; the journal removes it again (sd-daemon(3))."""
    _to_standard_error(priority, "\n".join(f"<{priority}>{line}" for line in text.split("\n")))


def _to_file(fd: int) -> Write:
    def write(_priority: int, text: str) -> None:
        os.write(fd, f"{text}\n".encode("utf-8", "backslashreplace"))

    return write


def _to_syslog(to: Destination) -> Write:
    """Send each line as a datagram."""
    syslog = Syslog(to)

    def write(priority: int, text: str) -> None:
        for line in text.split("\n"):
            syslog.send(priority, line)

    return write


def _writer(to: Destination, files: Mapping[str, int]) -> Write:
    if to.kind is DestinationType.FILE:
        return _to_file(files[to.path])
    if to.kind in (DestinationType.SYSLOG, DestinationType.RSYSLOG):
        return _to_syslog(to)
    return _to_journal if _is_journal() else _to_standard_error


def _is_journal() -> bool:
    """Whether standard error is connected to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _add_handler(write: Write, as_json: bool) -> None:
    _logger.addHandler(_Handler(write, _Json() if as_json else _Text(_TEXT)))


_add_handler(_to_standard_error, False)

debug: Callable[..., None] = _logger.debug
info: Callable[..., None] = _logger.info
warning: Callable[..., None] = _logger.warning
error: Callable[..., None] = _logger.error


def set_up(level: str, as_json: bool, loggers: Sequence[str], files: Mapping[str, int]) -> None:
    """Set the level, the form and the destinations of the server log of this process.

    Args:
        level: the value of --log-level.
        as_json: the value of --log-json.
        loggers: the destinations of --logger; standard error if there is none.
        files: path -> open descriptor, for the destinations that are files.
    """
    _logger.setLevel(level.upper())
    for handler in list(_logger.handlers):
        _logger.removeHandler(handler)
    for text in loggers or ("stdio",):
        _add_handler(_writer(destination.parse(text), files), as_json)


class ErrorStream(io.TextIOBase):
    """wsgi.errors: standard error, but a failed write is ignored instead of costing the visitor the response."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError, AttributeError):  # the application has replaced the stream
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass


def speak_as(role: str) -> None:
    """Set the name of this process for all later lines: 'master', 'template 3', 'worker 0'."""
    global _role
    _role = role


def write_to(path: str) -> None:
    """Send standard output and error of this process to a file. Processes that are started later inherit this.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        fd = safefiles.open_to_append(path)
    except OSError as error:
        raise ConfigError(f"--logto {path} cannot be written: {error.strerror}; choose another file") from error
    use(fd)


def use(fd: int) -> None:
    """Send standard output and error to an open file, and close `fd`.

    Args:
        fd: of the open file.

    Raises:
        OSError: dup2(2) was refused; at least one of the two streams still has the old file.
    """
    try:
        os.dup2(fd, 1)
        os.dup2(fd, 2)
    finally:
        posix.close(fd)
