"""The server log: one sentence a line, or one JSON object.

Rules
* The application owns the `logging` module of its process: `dictConfig` with its default `disable_existing_loggers`
  silences every registered logger, and `logging.disable` all of them.  So this logger is registered nowhere and has a
  manager of its own; what the application configures can't reach it.
* A log that can't be written (disk full, closed pipe) never stops the server.
* What a destination of --logger can't take goes to standard error instead.
* Who speaks is said once per process, by `speak_as`; where and how, by `set_up`.
"""

import io
import json
import logging
import os
import posix
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wsgid.errors import ConfigError
from wsgid.linux import safefiles
from wsgid.log import destination
from wsgid.log.destination import Destination, DestinationType
from wsgid.log.syslog_socket import Syslog

_TEXT = "%(asctime)s [%(process)d] wsgid %(role)s %(levelname)s: %(message)s"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)

_logger = logging.Logger("wsgid", logging.INFO)
_logger.manager = logging.Manager(_logger)  # type: ignore[arg-type]  # not the application's: see the rules above
_role = "master"

Write = Callable[[int, str], None]  # takes a priority of syslog(3) and text without its last line break; OSError


class _Text(logging.Formatter):
    """The usual form; a stack follows its sentence."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        stack = getattr(record, "traceback", "")
        return f"{text}\n{stack}" if stack else text


class _Json(logging.Formatter):
    """One object a line, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
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
    """Formats, and hands over to one destination."""

    def __init__(self, write: Write, formatter: logging.Formatter) -> None:
        super().__init__()
        self._write = write
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        record.role = _role
        try:
            text = self.format(record)
        except Exception:  # a value that cannot be shown
            text = f"{record.msg!r} cannot be formatted"
        for write in (self._write, _to_standard_error):
            try:
                write(_PRIORITIES.get(record.levelno, 6), text)
            except (OSError, ValueError, AttributeError):  # closed by the application, or not there at all
                continue
            return  # a full disk is the operator's trouble, not the visitors'


def _to_standard_error(_priority: int, text: str) -> None:
    """Whatever sys.stderr is now."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _to_journal(priority: int, text: str) -> None:
    """With each line's priority, which the journal takes off again (sd-daemon(3))."""
    _to_standard_error(priority, "\n".join(f"<{priority}>{line}" for line in text.split("\n")))


def _to_file(fd: int) -> Write:
    def write(_priority: int, text: str) -> None:
        os.write(fd, f"{text}\n".encode("utf-8", "backslashreplace"))

    return write


def _to_syslog(to: Destination) -> Write:
    """Line by line: a datagram is a line."""
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
    """Write from now on what the operator wants, where he wants it.

    Args:
        level: of --log-level.
        as_json: --log-json.
        loggers: the destinations of --logger; standard error if there is none.
        files: path -> open descriptor of those that are files.
    """
    _logger.setLevel(level.upper())
    for handler in list(_logger.handlers):
        _logger.removeHandler(handler)
    for text in loggers or ("stdio",):
        _add_handler(_writer(destination.parse(text), files), as_json)


class ErrorStream(io.TextIOBase):
    """wsgi.errors: standard error, but for a failure to write, which would cost the visitor the response."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError, AttributeError):  # of a stream that the application has put there
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
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
        fd = safefiles.open_to_append(path)
    except OSError as error:
        raise ConfigError(f"--logto {path} cannot be written: {error.strerror}; choose another file") from error
    use(fd)


def use(fd: int) -> None:
    """Let standard output and error be this open file; closes `fd`.

    Raises:
        OSError: dup2(2) was refused; at least one of them is still the file of before.
    """
    try:
        os.dup2(fd, 1)
        os.dup2(fd, 2)
    finally:
        posix.close(fd)
