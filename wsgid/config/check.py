"""--check: say what the options come to, and try whether the application can be imported.

Rules
* Nothing of a running server is touched: no socket is bound, no file written, no process left.
* The application is imported by a process of its own (check_child.py), as the template would: the master's program
  imports neither it nor gevent.
* The report goes to standard output, what is wrong to standard error.
"""

import json
import os
import signal
import subprocess
import sys

from wsgid import log
from wsgid.config.merge import Configuration
from wsgid.config.options import Option, Settings, declared
from wsgid.errors import ExitCode
from wsgid.linux import interpreter
from wsgid.log import files as log_files

_LAST_WORDS_S = 3.0  # for the stack of an import that takes too long


def run(configuration: Configuration) -> ExitCode:
    """Returns what `wsgid` exits with: APPLICATION if the application cannot be imported.

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
    """The settings with where each comes from, the usual ones that nobody gave, and the notes, as lines."""
    rows = [row for one in declared() if one.name != "check" for row in _rows(one, configuration)]
    width = max((len(f"{key} = {value}") for key, value, _ in rows), default=0)
    width = min(width, 60)
    lines = [f"{f'{key} = {value}':{width}}   {place}" for key, value, place in rows]
    remarks = [*configuration.warnings, *configuration.notes]
    if not configuration.settings.socket:
        remarks.append("no socket is named: only systemd can pass one to this server")
    return "\n".join([*lines, "", *remarks]).strip("\n")


def _rows(one: Option, configuration: Configuration) -> list[tuple[str, str, str]]:
    if one.name in configuration.given:
        rows = []
        for given in configuration.given[one.name]:
            value = given.value()
            rows += [(one.key, one.show(item), given.origin) for item in (value if one.repeatable else [value])]
        return rows
    shown = one.common and one.default not in ((), "", None, 0, -1)
    return [(one.key, one.show(one.default), "default")] if shown else []


def _try_application(settings: Settings) -> ExitCode:
    environ = {**os.environ, **dict(settings.env)}
    with subprocess.Popen(
        interpreter.command("wsgid.application.check_child"),
        stdin=subprocess.PIPE,
        env=environ,
        stdout=sys.stderr.fileno(),
    ) as child:
        try:
            child.communicate(json.dumps(settings.as_dict()).encode(), settings.boot_timeout)
        except subprocess.TimeoutExpired:
            log.error("the application was not imported in %g s (--boot-timeout)", settings.boot_timeout)
            _end(child)
    return ExitCode.OK if child.returncode == 0 else ExitCode.APPLICATION


def _end(child: "subprocess.Popen[bytes]") -> None:
    """As the master ends a template: it says where it is (lateimport.py)."""
    for signo in (signal.SIGXCPU, signal.SIGABRT, signal.SIGKILL):
        child.send_signal(signo)
        try:
            child.wait(_LAST_WORDS_S)
            return
        except subprocess.TimeoutExpired:
            continue
