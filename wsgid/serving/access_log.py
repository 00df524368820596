"""The access log: which requests get a line, and when a worker writes its lines.

    dispatcher: note() a request -> lines in memory -> the worker's round, or 64 KiB: flush() -> outlet

Rules
* A line costs a request no system call. Lines are written by the worker's round (ten times a second), at 64 KiB, when
  the event loop is held up, and at the worker's end. So a killed worker loses only lines that are younger than a round.
* Nothing here makes a request fail, or waits. Lines that cannot be written are dropped and counted (log_outlet.py).
* A request's facts are read from its environ after the request, as the application has left it.
"""

import os
import time
from collections.abc import Mapping

from wsgid import log
from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.linux import memory
from wsgid.log import destination, request_format
from wsgid.log.destination import DestinationType
from wsgid.log.request_format import Moment, seen_status
from wsgid.log.request_record import RequestRecord
from wsgid.log.stream import LineStream
from wsgid.log.syslog_socket import Syslog
from wsgid.serving.log_outlet import Outlet, SyslogOutlet

FLUSH_BYTES = 64 * 1024
TELL_S = 60.0  # how often dropped lines are reported
CLOSE_S = 1.0  # how long a leaving worker waits for the reader of its last lines

_MOMENTS_MAX = 64

_monotonic = time.monotonic


class MemoryNow:
    """The memory of this process at the last flush."""

    __slots__ = ("vsz_bytes", "rss_bytes")

    def __init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Read the sizes anew."""
        size = memory.size()
        self.vsz_bytes, self.rss_bytes = size.vsz_bytes, size.rss_bytes


class AccessLog:
    """The lines of a worker.

    Args:
        settings: the operator's settings.
        slot: of the worker.
        outlet: writes the lines.
    """

    def __init__(self, settings: Settings, slot: int, outlet: Outlet) -> None:
        text = settings.log_format or "uwsgi"
        self._render = request_format.compiled(
            text, os.getpid(), slot + 1, forwarded=settings.log_x_forwarded_for, memory_report=settings.memory_report
        )
        if _is_for_a_terminal(settings):
            self._render = request_format.coloured(self._render)
        self._all = _wants_all(settings)
        self._classes = {4: settings.log_4xx, 5: settings.log_5xx}
        self._slow_s = settings.log_slow / 1e3 if settings.log_slow else float("inf")
        self._date = settings.log_date if settings.logformat_strftime else ""
        self._memory = MemoryNow() if settings.memory_report or "vsz" in text or "rss" in text else None
        self._outlet = outlet
        self._lines: list[str] = []
        self._is_flushing = False
        self._size_bytes = 0
        self._requests = 0
        self._epoch_s = time.time() - _monotonic()  # the time of day when the monotonic clock was 0
        self._moments: dict[int, Moment] = {}
        self._told = 0  # number of dropped lines that were reported
        self._tell_at_s = 0.0
        self._has_failed = False

    def note(self, record: RequestRecord) -> None:
        """A request has ended.

        Args:
            record: its facts; `memory`, `request` and `moment` are added here.
        """
        self._requests += 1
        if not self._all and not self._is_wanted(seen_status(record.served), record.took_s):
            return
        record.started_s += self._epoch_s
        second = int(record.started_s)
        record.memory = self._memory
        record.request = self._requests
        try:
            record.moment = self._moments.get(second) or self._moment(second)
            line = self._render(record)
        except Exception:  # an object of the application in the environ fails
            self._fail()
            return
        self._lines.append(line)
        self._size_bytes += len(line)
        if self._size_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the lines, as far as the outlet takes them."""
        if self._is_flushing:  # the signal about a held-up event loop has interrupted a flush
            return
        self._is_flushing = True
        try:
            self._put()
        finally:
            self._is_flushing = False
        if self._outlet.dropped != self._told and _monotonic() >= self._tell_at_s:
            self._tell()

    def close(self) -> None:
        """The worker leaves: write all lines."""
        self.flush()
        self._outlet.close(CLOSE_S)
        if self._outlet.dropped != self._told:
            self._tell()

    def _put(self) -> None:
        lines, self._lines = self._lines, []
        self._size_bytes = 0
        self._epoch_s = time.time() - _monotonic()
        if self._memory:
            self._memory.look()
        self._outlet.put(lines)

    def _is_wanted(self, status: int, took_s: float) -> bool:
        return took_s >= self._slow_s or self._classes.get(status // 100, False)

    def _moment(self, second: int) -> Moment:
        if len(self._moments) >= _MOMENTS_MAX:
            self._moments.clear()
        made = self._moments[second] = Moment(second, self._date)
        return made

    def _tell(self) -> None:
        log.warning(
            "dropped %s of the access log, which could not be written: %s",
            counted(self._outlet.dropped - self._told, "line"),
            self._outlet.reason,
        )
        self._told = self._outlet.dropped
        self._tell_at_s = _monotonic() + TELL_S

    def _fail(self) -> None:
        if not self._has_failed:  # once for each worker: otherwise each request could log it
            self._has_failed = True
            log.error("a line of the access log could not be made; this is said once", exc_info=True)


def _wants_all(settings: Settings) -> bool:
    return bool(settings.access_log or settings.log_format) and not settings.disable_logging


def _is_for_a_terminal(settings: Settings) -> bool:
    """Whether lines may have colours: NO_COLOR forbids them (no-color.org)."""
    to_standard_error = settings.access_log in ("", "stdio") and settings.log_format == request_format.SHORT
    return to_standard_error and os.isatty(2) and not os.environ.get("NO_COLOR")


def prepare(settings: Settings) -> None:
    """Do in the template what a worker would have to wait for."""
    to = destination.parse_file(settings.access_log or "-")
    if to.kind is DestinationType.RSYSLOG:
        Syslog(to)  # looks up the host


def open_for(settings: Settings, slot: int, files: Mapping[str, int]) -> AccessLog | None:
    """Return the access log of a worker; None if no request gets a line.

    Args:
        settings: the operator's settings.
        slot: of the worker.
        files: path -> open descriptor.
    """
    if not (_wants_all(settings) or settings.log_4xx or settings.log_5xx or settings.log_slow):
        return None
    to = destination.parse_file(settings.access_log or "-")
    if to.kind in (DestinationType.SYSLOG, DestinationType.RSYSLOG):
        return AccessLog(settings, slot, SyslogOutlet(Syslog(to)))
    return AccessLog(settings, slot, LineStream(files[to.path] if to.kind is DestinationType.FILE else 2))
