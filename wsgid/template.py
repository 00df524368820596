"""The template: imports the application once, then forks workers when the master orders them.

    spare --ForkSpare--> fork the next spare --Boot--> import the application --Spawn--> fork a worker

Rules
* The patch for gevent is the first statement: modules that are imported before it may hold unpatched locks and sockets.
* The next spare is forked before the import. So it holds nothing of the application, and no descriptor of the server.
* No hub runs while the template waits: it reads the master's orders with plain calls.  A hub that the import has run is
  made quiet before the first fork.
* A hub, thread or connection that is copied by fork(2) does harm. What the import has left running is logged by name.
* The template lives until the master closes its channel: end-of-file means dismissal.
"""

from wsgid.application import gevent_patch

gevent_patch.patch()

import functools
import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable

from gevent import monkey

from wsgid import log, warm_up, worker
from wsgid.application import forks, late_import
from wsgid.application.prepare import prepare, share_memory
from wsgid.config import options
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError, BootError, ExitCode
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.ipc.locks import Locks
from wsgid.ipc.scoreboard import Lines
from wsgid.linux import ahead, file_pages, forked_child, gaps, memfd, process, signals, syscall_errors
from wsgid.log import files as log_files
from wsgid.log import stdio
from wsgid.log.files import LogFiles
from wsgid.protocol import forwarded
from wsgid.serving import access_log
from wsgid.sockets import certificates
from wsgid.sockets.listen_spec import ListenSocket
from wsgid.wsgi.types import Application

_SPARE_TITLE = "spare, for the next template"
_LAST_WORDS_S = 1.0  # how long printed text waits for its reader before this process forks, waits or ends

_poll = monkey.get_original("select", "poll")


def main() -> ExitCode:
    """Be a spare, then a template: the program that the master executes. Returns the exit code."""
    process.set_title(_SPARE_TITLE)  # the first time before the environment changes, beside which the title lies
    title_prefix = ahead.arrive(int(sys.argv[1]))
    if title_prefix is None:
        return ExitCode.OK  # this process was never needed
    channel = Channel(int(sys.argv[1]))
    stdio.install()
    # Signals of the terminal reach the whole process group. The master decides what they mean.
    signals.ignore(*signals.STOP_SIGNALS)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # until now they were blocked (process.spawn)
    process.begin_titles_with(title_prefix)
    process.set_title(_SPARE_TITLE)
    warm_up.run()
    gc.collect()
    gc.enable()  # it has rested since the patch
    gaps.close()  # once: the spares that this process and its children fork have no gaps either
    while (received := _receive(channel)) is not None:
        message, fds = received
        match message:
            case messages.ForkSpare():
                channel = _fork_spare(channel, fds[0])
            case messages.Reopen(names=names):
                LogFiles().replace(names, fds)
            case messages.Boot():
                return _boot(message, fds, channel)
    return ExitCode.OK  # this process was never needed


def _fork_spare(channel: Channel, spare_fd: int) -> Channel:
    """Fork the next spare. It shares the memory of all that is imported by now. Both processes return from here, each
    with its own channel.

    If the kernel refuses, the master sees the end of the spare's channel, and executes a spare later.
    """
    forks.remember_locks()
    gc.freeze()  # otherwise the collector would write to pages that are shared from now on, and so copy them
    try:
        with forks.of_wsgid():
            is_spare = process.fork_orphan()
    except OSError:
        is_spare = False
    if not is_spare:
        syscall_errors.close(spare_fd)  # now, because nothing that the import forks may hold it
        return channel
    channel.close()
    stdio.install()
    spare = Channel(spare_fd)
    spare.send(messages.Hello())
    return spare


def _boot(boot: messages.Boot, fds: list[int], channel: Channel) -> ExitCode:
    """Be the template of a generation until the dismissal. Returns the exit code."""
    channel.send(messages.Booting())
    settings, fds = options.from_dict(memfd.read(fds[0])), fds[1:]
    files = LogFiles(
        fds=dict(zip(log_files.paths(settings.logger, settings.access_log), fds[len(boot.listeners) + 2 :]))
    )
    log.speak_as(f"template {boot.generation}")
    log.set_up(settings.log_level, settings.log_json, settings.logger, files.fds)
    access_log.prepare(settings)
    forwarded.trusted(settings.forwarded_allow_ips, settings.forwarded_headers)
    process.set_title(f"template, generation {boot.generation}")
    late_import.watch(functools.partial(_report, channel), settings.boot_timeout)
    try:
        listeners = _listeners(settings, boot, fds)  # now: perhaps only root can read the keys
        _watch_forks(channel, listeners, *fds[len(listeners) : len(listeners) + 2])
        load = prepare(settings)
        if not settings.lazy_apps:
            share_memory()
    except BootError as error:
        _report(channel, error)
        stdio.end(_LAST_WORDS_S)
        os._exit(error.exit_code)  # threads of the import may still run, and Python may be unable to import more
    stdio.settle(_LAST_WORDS_S)
    file_pages.release()
    channel.send(messages.TemplateReady())
    scoreboard_fd = fds[len(listeners)]
    limits_fd = fds[len(listeners) + 1]
    lines, locks = Lines(scoreboard_fd), Locks(scoreboard_fd)
    return Template(settings, load, listeners, lines, locks, limits_fd, files, channel).run()


class Template:
    """Forks workers until it is dismissed.

    Args:
        load: returns the application.
        listeners: for the workers.
        limits_fd: of the memory of the limits, for the workers.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Application],
        listeners: list[ListenSocket],
        lines: Lines,
        locks: Locks,
        limits_fd: int,
        files: LogFiles,
        channel: Channel,
    ) -> None:
        self._settings = settings
        self._load = load
        self._listeners = listeners
        self._lines = lines
        self._locks = locks
        self._limits_fd = limits_fd
        self._files = files
        self._channel = channel

    def run(self) -> ExitCode:
        """Follow the master's orders until the dismissal. Returns the exit code."""
        while (received := _receive(self._channel)) is not None:
            message, fds = received
            match message:
                case messages.Spawn():
                    self._spawn(message, fds[0])
                case messages.Reopen(names=names):
                    self._files.replace(names, fds)
        return ExitCode.OK

    def _spawn(self, order: messages.Spawn, worker_fd: int) -> None:
        try:
            with syscall_errors.named("fork"), forks.of_wsgid():
                process.double_fork(functools.partial(self._be_worker, order, worker_fd))
        except OSError as error:
            self._channel.send(messages.SpawnFailed(order.slot, syscall_errors.words(error)[: messages.LINE_MAX_CHARS]))
        finally:
            syscall_errors.close(worker_fd)  # now, because the next worker must not inherit it

    def _be_worker(self, order: messages.Spawn, worker_fd: int) -> None:
        """Live as a worker, in the grandchild. Does not return."""
        code: int = ExitCode.FAILURE
        try:
            self._channel.close()
            stdio.install()
            log.speak_as(f"worker {order.slot}")
            forks.describe(f"worker {order.slot}")
            forks.own(worker_fd)
            process.set_title(f"worker {order.slot}, generation {order.generation}")
            channel = Channel(worker_fd)
            channel.send(messages.Hello())
            if self._settings.lazy_apps:
                late_import.watch(functools.partial(_report, channel), self._settings.boot_timeout)
            try:
                self._bind_to_processors(order.seat)
                code = worker.run(
                    order,
                    self._settings,
                    self._load,
                    self._listeners,
                    channel,
                    self._lines.line(order.slot),
                    self._limits_fd,
                    self._files,
                    self._locks,
                )
            except ApplicationImportError as error:
                _report(channel, error)
                code = error.exit_code
        except BaseException:
            log.error("the worker ends because of an error in wsgid itself: please report it", exc_info=True)
        finally:
            forked_child.flush()
            stdio.end(_LAST_WORDS_S)
            os._exit(code)

    def _bind_to_processors(self, seat: int) -> None:
        count = self._settings.cpu_affinity
        try:
            process.bind_to_processors(seat, count)
        except OSError as error:
            log.warning(
                "--cpu-affinity %d cannot be set: %s; this worker runs on all processors", count, error.strerror
            )


def _listeners(settings: Settings, boot: messages.Boot, fds: list[int]) -> list[ListenSocket]:
    """Return the listening sockets, with the certificates that the files have now.

    Raises:
        ConfigError: a file cannot be used.
    """
    certificates.read(settings)
    return [certificates.shared(fd, values) for fd, values in zip(fds, boot.listeners)]


def _watch_forks(channel: Channel, listeners: list[ListenSocket], *shared_fds: int) -> None:
    """Mark descriptors of this process: processes that the import or a request forks must not get them."""
    forks.watch()
    forks.own(channel.fileno())
    for fd in shared_fds:
        forks.own(fd)
    for shared in listeners:
        forks.own_listener(shared.fd)


def _receive(channel: Channel) -> tuple[messages.Message, list[int]] | None:
    """Wait for the next message, without a hub."""
    poll = _poll()
    poll.register(channel.fileno(), select.POLLIN)
    while True:
        try:
            return channel.receive()
        except BlockingIOError:
            poll.poll()


def _report(channel: Channel, error: BootError) -> None:
    cause = error.__cause__ if isinstance(error, ApplicationImportError) else None
    text = "".join(traceback.format_exception(cause)) if cause else ""
    channel.send(messages.BootFailed(str(error)[: messages.LINE_MAX_CHARS], text[-messages.TEXT_MAX_CHARS :]))


if __name__ == "__main__":
    sys.exit(main())
