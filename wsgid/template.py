"""The template: imports the application once, then forks workers on the master's order.

Rules
* patch_all() is the first statement: whatever is imported before it may hold unpatched locks and sockets.
* It never runs a hub while it waits: the master's orders are read with plain calls.  A hub that the import has run is
  made quiet before the first fork.
* One fork of a forked hub, thread or connection is one too many: what the import has left running is said by name.
* It lives as long as the master wants it: end-of-file on its channel is the dismissal.
"""

from gevent import monkey

monkey.patch_all()

import faulthandler
import functools
import gc
import importlib.util
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from wsgid import (
    application,
    certificates,
    child,
    forks,
    importwatch,
    lateimport,
    log,
    privileges,
    process,
    refusals,
    stdio,
    worker,
)
from wsgid.channel import Channel
from wsgid.config import options
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError, BootError, ExitCode
from wsgid.logs import accesslog, logfiles
from wsgid.logs.logfiles import LogFiles
from wsgid.protocol import control
from wsgid.scoreboard import Lines
from wsgid.spoken import Shared

_LAST_WORDS_S = 1.0  # how long what was printed waits for its reader, before this process forks, waits or ends

_poll = monkey.get_original("select", "poll")


def main() -> ExitCode:
    channel = Channel(int(sys.argv[1]))
    stdio.install()
    # The terminal's signals reach the whole process group; what they mean is the master's business.
    process.ignore(*process.STOP_SIGNALS)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # so far they were blocked (process.spawn)
    process.begin_titles_with(sys.argv[2])
    process.set_title("spare, for the next template")
    received = _receive_boot(channel)
    if received is None:
        return ExitCode.OK
    boot, fds = received
    channel.send(control.Booting())
    settings = options.from_dict(boot.settings)
    files = LogFiles(fds=dict(zip(logfiles.paths(settings), fds[len(boot.listeners) + 1 :])))
    log.speak_as(f"template {boot.generation}")
    log.set_up(settings.log_level, settings.log_json, settings.logger, files.fds)
    accesslog.prepare(settings)
    process.set_title(f"template, generation {boot.generation}")
    lateimport.watch(functools.partial(_report, channel), settings.boot_timeout)
    try:
        listeners = _listeners(settings, boot, fds)  # now: only root may be allowed to read the keys
        _watch_forks(channel, listeners, fds[len(listeners)])
        load = prepare(settings)
    except BootError as error:
        _report(channel, error)
        stdio.end(_LAST_WORDS_S)
        os._exit(error.exit_code)  # whatever threads the import has started, and whatever Python can no longer import
    stdio.settle(_LAST_WORDS_S)
    channel.send(control.TemplateReady())
    return Template(settings, load, listeners, Lines(fds[len(listeners)]), files, channel).run()


class Template:
    """Forks workers until it is dismissed.

    Args:
        load: gives the application.
        listeners: for the workers.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], application.Application],
        listeners: list[Shared],
        lines: Lines,
        files: LogFiles,
        channel: Channel,
    ) -> None:
        self._settings = settings
        self._load = load
        self._listeners = listeners
        self._lines = lines
        self._files = files
        self._channel = channel

    def run(self) -> ExitCode:
        while (received := _receive(self._channel)) is not None:
            message, fds = received
            match message:
                case control.Spawn():
                    self._spawn(message, fds[0])
                case control.Reopen(names=names):
                    self._files.replace(names, fds)
        return ExitCode.OK

    def _spawn(self, order: control.Spawn, worker_fd: int) -> None:
        try:
            with refusals.named("fork"), forks.of_wsgid():
                process.double_fork(functools.partial(self._be_worker, order, worker_fd))
        except OSError as error:
            self._channel.send(control.SpawnFailed(order.slot, refusals.words(error)[: control.LINE_MAX_CHARS]))
        finally:
            refusals.close(worker_fd)  # now: the next worker must not inherit it

    def _be_worker(self, order: control.Spawn, worker_fd: int) -> None:
        """The grandchild's life; does not return."""
        code: int = ExitCode.FAILURE
        try:
            self._channel.close()
            stdio.install()
            log.speak_as(f"worker {order.slot}")
            forks.describe(f"worker {order.slot}")
            forks.own(worker_fd)
            process.set_title(f"worker {order.slot}, generation {order.generation}")
            channel = Channel(worker_fd)
            channel.send(control.Hello())
            if self._settings.lazy_apps:
                lateimport.watch(functools.partial(_report, channel), self._settings.boot_timeout)
            try:
                process.bind_to_processors(order.seat, self._settings.cpu_affinity)
                code = worker.run(
                    order,
                    self._settings,
                    self._load,
                    self._listeners,
                    channel,
                    self._lines.line(order.slot),
                    self._files,
                )
            except ApplicationImportError as error:
                _report(channel, error)
                code = error.exit_code
        except BaseException:
            log.error("the worker ends by an error of wsgid's own", exc_info=True)
        finally:
            child.flush()
            stdio.end(_LAST_WORDS_S)
            os._exit(code)


def _listeners(settings: Settings, boot: control.Boot, fds: list[int]) -> list[Shared]:
    """The listening sockets, with their certificates as the files have them now.

    Raises:
        ConfigError: a file cannot be used.
    """
    certificates.read(settings)
    return [certificates.shared(fd, values) for fd, values in zip(fds, boot.listeners)]


def _watch_forks(channel: Channel, listeners: list[Shared], scoreboard_fd: int) -> None:
    """What the import, or a worker's requests, may fork has nothing of these."""
    forks.watch()
    forks.own(channel.fileno())
    forks.own(scoreboard_fd)
    for shared in listeners:
        forks.own_listener(shared.fd)


def _receive_boot(channel: Channel) -> tuple[control.Boot, list[int]] | None:
    """Wait until this process is needed; None if it never is."""
    while (received := _receive(channel)) is not None:
        message, fds = received
        match message:
            case control.Boot():
                return message, fds
            case control.Reopen(names=names):
                LogFiles().replace(names, fds)
    return None


def _receive(channel: Channel) -> tuple[control.Message, list[int]] | None:
    """Wait for the next message, without a hub."""
    poll = _poll()
    poll.register(channel.fileno(), select.POLLIN)
    while True:
        try:
            return channel.receive()
        except BlockingIOError:
            poll.poll()


def prepare(settings: Settings) -> Callable[[], application.Application]:
    """Everything up to the first fork. Returns what gives a worker its application.

    Raises:
        ApplicationImportError: the application cannot be imported.
    """
    if settings.chdir:
        try:
            os.chdir(settings.chdir)  # again for each generation: a reload follows a switched symlink
        except OSError as error:
            raise ApplicationImportError(f"--chdir {settings.chdir}: {error.strerror}; put it back") from None
    privileges.drop(settings.uid, settings.gid, settings.new_privileges)
    os.environ.update(settings.env)  # again: HOME is now the user's, unless --env names another
    if not settings.honour_stdin:
        stdio.close_input()
    faulthandler.enable()  # this and the next are inherited by the workers, which keeps their pages shared
    process.keep_freed_memory()
    application.prepare_path(settings)
    sys.argv[:] = ["wsgid", *settings.pyargv.split()]
    _patch_drivers()
    if settings.lazy_apps:
        return functools.partial(_load, settings)
    sockets = importwatch.sockets()
    loaded = _load(settings)
    started = importwatch.started()
    forks.quiet()
    with suppress(OSError):  # without /proc nobody can tell, and it is only to warn
        importwatch.warn(sockets, started)
    del started
    gc.collect()
    gc.freeze()  # so that the collector does not write to, and thereby copy, the pages that the workers share
    return lambda: loaded


def _load(settings: Settings) -> application.Application:
    """The application. Does not return in a process that the import has forked and that has come to its end."""
    try:
        loaded = application.load(settings)
    except ApplicationImportError as error:
        child.end_if_one(error.__cause__ or error)
        raise
    child.end_if_one()
    return loaded


def _patch_drivers() -> None:
    """psycopg2 waits in C, where the whole worker would stand still: psycogreen makes it wait in the hub."""
    if importlib.util.find_spec("psycopg2") and importlib.util.find_spec("psycogreen"):
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()


def _report(channel: Channel, error: BootError) -> None:
    cause = error.__cause__ if isinstance(error, ApplicationImportError) else None
    text = "".join(traceback.format_exception(cause)) if cause else ""
    channel.send(control.BootFailed(str(error)[: control.LINE_MAX_CHARS], text[-control.TEXT_MAX_CHARS :]))


if __name__ == "__main__":
    sys.exit(main())
