"""Everything that the command `wsgid` does, except `wsgid --version` alone: read the options, run the master.

Rules
* A failure is one sentence and an exit code, as cli.py says.
* What only one option needs is imported where that option is known.
"""

import gc
import os
import sys
from collections.abc import Callable

from wsgid import log
from wsgid.config import dev, merge
from wsgid.config.merge import Configuration
from wsgid.errors import BootError, ExitCode
from wsgid.linux import ahead, process
from wsgid.linux.syscall_errors import REFUSALS, words
from wsgid.log import stdio
from wsgid.sockets import listen_spec, listener
from wsgid.supervisor import daemon, upgrade
from wsgid.supervisor.upgrade import Start


def run() -> int:
    """Run the command with sys.argv. Returns the exit code."""
    code: int = ExitCode.FAILURE
    stdio.open_descriptors()
    environ = dict(os.environ)
    failure: Exception | None = None  # its frames keep descriptors open that the next attempt needs
    try:
        code = _run()
    except BootError as error:
        log.error("%s", error)
        code, failure = error.exit_code, error
    except (*REFUSALS, ImportError) as error:
        log.error("wsgid cannot start: %s", words(error))
        failure = error
    except Exception as error:
        if not upgrade.is_due(os.environ):
            raise
        log.error("wsgid cannot start because of an error in wsgid itself: please report it", exc_info=True)
        failure = error
    finally:
        daemon.tell_foreground(code)
    if failure and upgrade.is_due(os.environ):
        return upgrade.try_again(environ)
    return code


def _run() -> ExitCode:
    if "--migrate" in sys.argv[1:]:
        from wsgid.config import migrate

        return _print(lambda: migrate.run(sys.argv[1:], os.environ))
    restarted = upgrade.is_due(os.environ)
    configuration = merge.read(sys.argv[1:], os.environ, restarted)
    settings = configuration.settings
    if settings.https or settings.ssl_socket:
        from wsgid.sockets import certificates

        certificates.read(settings)
    if settings.check:
        from wsgid.config import check

        return _print(lambda: check.run(configuration))
    if settings.daemonize:
        ahead.end()  # it would be a child of the foreground
    dev.begin(settings, os.environ)
    _say_remarks(configuration)
    from wsgid import master  # not for --check

    if not restarted:
        addresses = [address for address, _ in listen_spec.addresses(settings)]
        process.close_inherited(listener.inherited_fds(os.environ, addresses))
    start = Start.now()
    if settings.daemonize and not restarted:
        daemon.detach(settings.log_path)
    if settings.chdir:
        os.chdir(settings.chdir)
    gc.enable()  # it has rested during the imports
    return master.run(configuration, start)


def _print(run: Callable[[], ExitCode]) -> ExitCode:
    """Run something that writes to standard output. The reader may leave early, as head(1) does: that is no error."""
    try:
        code = run()
        sys.stdout.flush()
        gc.freeze()  # at its end, the interpreter would look at all objects several times (4 ms)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise the interpreter would complain at its end
        return ExitCode.FAILURE
    return code


def _say_remarks(configuration: Configuration) -> None:
    for warning in configuration.warnings:
        log.warning("%s", warning)
    for note in configuration.notes:
        log.debug("%s", note)
