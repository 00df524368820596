"""--check: print the resulting settings, and try to import the application.

Rules
* A running server is not affected: no socket is bound, no file is written, no process is left behind.
* A process of its own (application/check_child.py) imports the application, as the template would. The master's program
  imports neither the application nor gevent.
* The report goes to standard output, errors go to standard error.
"""

import _socket
import os
import signal
import sys
import time
from contextlib import suppress

from wsgid import log
from wsgid.config.merge import Configuration
from wsgid.config.options import Option, Settings, declared
from wsgid.errors import ExitCode
from wsgid.linux import ahead, memfd, programs
from wsgid.log import files as log_files

_LAST_WORDS_S = 3.0  # for the stack of an import that takes too long


def run(configuration: Configuration) -> ExitCode:
    """Print the report and try the import. Returns the exit code: APPLICATION if the import fails.

    Args:
        configuration: from `merge.read`.

    Raises:
        ConfigError: a log file cannot be written.
    """
    print(report(configuration), flush=True)
    settings = configuration.settings
    log_files.check([*filter(None, [settings.log_path]), *log_files.paths(settings.logger, settings.access_log)])
    code = _try_application(configuration.settings)
    if code is ExitCode.OK:
        print("the options are right, and the application can be imported")
    return code


def report(configuration: Configuration) -> str:
    """Return lines with each setting and its source, common settings with their defaults, and the remarks."""
    rows = [
        row for option in declared() if option.name not in ("check", "migrate") for row in _rows(option, configuration)
    ]
    width = max((len(f"{key} = {value}") for key, value, _ in rows), default=0)
    width = min(width, 60)
    lines = [f"{f'{key} = {value}':{width}}   {place}" for key, value, place in rows]
    remarks = [*configuration.warnings, *configuration.notes, *configuration.differences]
    settings = configuration.settings
    if not (settings.socket or settings.http or settings.https or settings.ssl_socket):
        remarks.append("no socket is named: only systemd can pass one to this server")
    return "\n".join([*lines, "", *remarks]).strip("\n")


def _rows(option: Option, configuration: Configuration) -> list[tuple[str, str, str]]:
    if option.name in configuration.given:
        rows = []
        for given in configuration.given[option.name]:
            value = given.value()
            rows += [
                (option.key, option.show(item), given.origin) for item in (value if option.repeatable else [value])
            ]
        return rows
    shown = option.common and option.default not in ((), "", None, 0, -1)
    return [(option.key, option.show(option.default), "default")] if shown else []


def _try_application(settings: Settings) -> ExitCode:
    environ = {**os.environ, **dict(settings.env)}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # for sigtimedwait(2)
    pid, fd = programs.start(ahead.CHECK, "", environ, settings.optimize, "the check")
    channel = _socket.socket(fileno=fd)
    settings_fd = memfd.write(settings.as_dict())
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, settings_fd.to_bytes(4, sys.byteorder))]
    try:
        with suppress(BrokenPipeError):  # it has ended: its status tells
            channel.sendmsg([b"x"], ancillary, _socket.MSG_NOSIGNAL)
    finally:
        os.close(settings_fd)
    status = _wait(pid, settings.boot_timeout)
    if status is None:
        log.error("the application was not imported in %g s (--boot-timeout)", settings.boot_timeout)
        status = _end(pid)
    return ExitCode.OK if status == 0 else ExitCode.APPLICATION


def _wait(pid: int, limit_s: float) -> int | None:
    """Wait for a child. Returns its wait status; None if it has not ended in this time."""
    deadline_s = time.monotonic() + limit_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return None
        signal.sigtimedwait([signal.SIGCHLD], left_s)


def _end(pid: int) -> int:
    """End a child as the master ends a template: it logs the stack of the import (application/late_import.py). Returns
    its wait status."""
    for signo in (signal.SIGXCPU, signal.SIGABRT):
        os.kill(pid, signo)
        status = _wait(pid, _LAST_WORDS_S)
        if status is not None:
            return status
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]
