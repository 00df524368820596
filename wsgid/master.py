"""The master: wait, reap, decode, apply the plan.

Rules
* Boring: the standard library only, no gevent, no thread, nothing of the application.  What is to be done is decided
  in fleet.py; what is said is in protocol/control.py; here it is carried out.
* One wait point: the signal pipe and all channels sit in one selector, with the fleet's next deadline as time-out.
* A turn reads in this order: signals, then the dead (waitpid), then all channels, then the deaths are applied.  What a
  process said before it died is in its channel by the time it can be reaped, so nothing is missed.
* What the kernel refuses ends neither the master nor the rest of a turn (refusals.py).  Where something follows from
  it, the fleet or an Again is told; under all parts of a turn is a Net.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from signal import Signals
from typing import Any

from wsgid import __version__, log
from wsgid.admin.boot_failures import BootFailures
from wsgid.admin.endpoints import open_endpoints, open_fifos
from wsgid.admin.server import Admin, forget
from wsgid.admin.snapshot import Processes, Snapshot, take_snapshot
from wsgid.config.merge import Configuration
from wsgid.config.options import Settings
from wsgid.errors import ConfigError, ControlError, ExitCode, ListenerError
from wsgid.ipc import channel, messages, scoreboard, stackdump
from wsgid.ipc.channel import Channel
from wsgid.ipc.scoreboard import DeathCause, Word
from wsgid.linux import memory, privileges, process, safefiles
from wsgid.linux.filewatch import Watch
from wsgid.linux.signals import SignalPipe
from wsgid.linux.syscall_errors import close, named, soon, words
from wsgid.log import files as log_files
from wsgid.log import stdio
from wsgid.log.files import LogFiles
from wsgid.sockets import listen_spec, listener
from wsgid.sockets.listen_spec import ListenSpec
from wsgid.sockets.listener import Listener
from wsgid.supervisor import actions, daemon, fleet, inbox, launch, pidfile, upgrade
from wsgid.supervisor.children import send_signal
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Again, Net
from wsgid.supervisor.reuse_port import ReusePort
from wsgid.supervisor.slots import BOOTING, HELD_UP, LEAVING, WATCHED, Slot, SlotState, TemplateState
from wsgid.supervisor.systemd import Notifier
from wsgid.supervisor.upgrade import Handover, HeldListener, HeldWorker, Start

_SAID_MAX = 1000
_LAST_WORDS_S = 1.0  # how long the end waits for who reads standard error
_UNANSWERED_MAX_BYTES = 32 * 1024  # of questions that a stuck worker has not read


def run(configuration: Configuration, start: Start) -> ExitCode:
    """Serve until told to stop. Returns the exit code.

    Args:
        configuration: the operator's.
        start: how to start this program again.

    Raises:
        BootError: the sockets cannot be had, or an option does not fit this machine.
    """
    settings = configuration.settings
    signals = SignalPipe([*_SIGNAL_HANDLERS, Signals.SIGCHLD])
    stdio.install()
    if settings.umask >= 0:
        os.umask(settings.umask)
    log.speak_as("master")
    process.begin_titles_with(settings.procname_prefix)
    process.set_title(f"master [{settings.application or settings.wsgi_file}]")
    files = LogFiles.open(settings.log_path, log_files.paths(settings.logger, settings.access_log))
    log.set_up(settings.log_level, settings.log_json, settings.logger, files.fds)
    handover = upgrade.take_over(os.environ)
    listeners = open_listeners(settings, handover.listeners if handover else ())
    is_up = handover is None  # an image that goes on with another's sockets leaves them alone until it has started
    try:
        _write_pidfile(settings, handover is not None)
        process.become_subreaper()
        _announce(settings, listeners)
        master = Master(configuration, start, listeners, files, signals, handover)
        upgrade.arrive(os.environ)
        is_up = True
        signals.release()
        try:
            return master.run()
        finally:
            master.admin.close()
    finally:
        for opened in listeners if is_up else ():
            opened.unlink()
        if settings.pidfile and is_up:
            pidfile.remove(settings.pidfile)
        stdio.end(_LAST_WORDS_S)


def _write_pidfile(settings: Settings, goes_on: bool) -> None:
    """Who starts anew within the same process, and serves, is not stopped by it.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        if settings.pidfile:
            pidfile.write(settings.pidfile)
    except ConfigError as error:
        if not goes_on:
            raise
        log.warning("%s", error)


def open_listeners(settings: Settings, held: Sequence[HeldListener]) -> list[Listener]:
    """All sockets of the command line and those that systemd passed; those that are held already are kept.

    Raises:
        ListenerError: one of them cannot be had; those before it are closed and unlinked again.
    """
    backlog = allowed_backlog(settings)
    if settings.listen > backlog:
        log.warning(
            "--listen %d is more than the kernel allows: the backlog is %d; raise net.core.somaxconn",
            settings.listen,
            backlog,
        )
    ownership = listener.Ownership(settings.chmod_socket, *settings.chown_socket)
    wanted = list(listen_spec.addresses(settings))
    beside = [*(address for address, _ in wanted), settings.stats, settings.metrics]
    opened = [
        listener.hold(one.fd, one.spec, one.address, one.path, one.identity, one.spoken, one.reuse_port) for one in held
    ]
    opened += listener.from_systemd(os.environ, backlog)
    opened = [replace(one, spoken=_spoken_now(one, wanted)) for one in opened]
    known = {one.spec: one for one in opened}
    try:
        for address, what in wanted:
            if address in known:
                _warn_if_kept(known[address], settings)
            else:
                made = (
                    [listener.open_listener(address, backlog, ownership, beside)]
                    if not settings.reuse_port
                    else (listener.open_shares(address, backlog, settings.workers, beside))
                )
                opened += [replace(one, spoken=what) for one in made]
    except Exception:
        for earlier in opened[len(held) :]:
            earlier.unlink()
        raise
    if not opened:
        raise ConfigError("no socket to listen on: add --socket PATH for nginx, or --http HOST:PORT")
    return opened


def _spoken_now(opened: Listener, wanted: list[tuple[str, ListenSpec]]) -> ListenSpec:
    """Who opened it did not know the options, or they have changed since."""
    said = [what for address, what in wanted if address == opened.spec]
    return opened.spoken if opened.spoken in said or not said else said[0]


def _warn_if_kept(held: Listener, settings: Settings) -> None:
    if held.reuse_port is not settings.reuse_port:
        log.warning(
            "%s stays as it was bound: --reuse-port begins and ends with a restart, not with SIGUSR2", held.address
        )


def allowed_backlog(settings: Settings) -> int:
    return min(settings.listen or listener.BACKLOG_WANTED, listener.allowed_backlog())


def _announce(settings: Settings, listeners: list[Listener]) -> None:
    addresses = dict.fromkeys(one.address for one in listeners)  # with --reuse-port an address has several
    log.info(
        "wsgid %s listens on %s with %d worker%s",
        __version__,
        ", ".join(addresses),
        settings.workers,
        "s" * (settings.workers > 1),
    )
    for sentence in _exposed(settings, listeners):
        log.warning("%s", sentence)
    rights = privileges.root_words(settings.uid, settings.gid)
    if rights:
        log.warning(
            "the application runs %s: whoever breaks into it has the machine; name another user with --uid", rights
        )
    user = listener.nginx_user()
    for one in listeners:
        trouble = listener.keeps_out(one.path, user) if one.path and user else None
        if trouble:
            log.warning("%s", trouble)


def _exposed(settings: Settings, listeners: list[Listener]) -> Iterator[str]:
    """Warnings of files that others than root could replace."""
    paths = [("--socket", os.fspath(one.path)) for one in listeners if one.path]
    paths += [("--pidfile", settings.pidfile), ("--logto", settings.logto), ("--daemonize", settings.daemonize)]
    paths += [("--master-fifo", path) for path in settings.master_fifo]
    paths += [
        ("--access-log" if path == settings.access_log else "--logger", path)
        for path in log_files.paths(settings.logger, settings.access_log)
    ]
    for option, path in paths:
        sentence = safefiles.warning_of(path, option) if path else None
        if sentence:
            yield sentence


class Master:
    """The fleet's hands.

    Args:
        configuration: the operator's.
        start: how to start this program again.
        listeners: open; the caller unlinks them in the end, whatever happens here.
        files: of the logs, open.
        signals: set up before anything that a signal would leave behind.
        handover: what the image before this one has left.
    """

    def __init__(
        self,
        configuration: Configuration,
        start: Start,
        listeners: list[Listener],
        files: LogFiles,
        signals: SignalPipe,
        handover: Handover | None,
    ) -> None:
        self.settings = settings = configuration.settings
        self.sources = configuration.sources()
        self._start = start
        self._site = Path(start.directory, settings.chdir)
        self._listeners = listeners
        self._files = files
        self._signals = signals
        kept = handover if handover and scoreboard.fits(handover.scoreboard_fd, handover.past_fd) else None
        self._scoreboard_fd = kept.scoreboard_fd if kept else scoreboard.create("live")
        self._past_fd = kept.past_fd if kept else scoreboard.create("past")  # no child gets it
        self._scoreboard = scoreboard.Scoreboard(self._scoreboard_fd, self._past_fd)
        self._fleet = Fleet(
            settings.workers,
            fleet.Deadlines(
                settings.boot_timeout, settings.worker_reload_mercy, settings.hub_timeout_s, settings.hub_warn
            ),
        )
        self._templates: dict[int, Inbox] = {}  # by generation
        self._workers: dict[int, Inbox] = {}  # by slot
        self._template_pids: dict[int, int] = {}  # generation -> pid
        self._loaded: set[int] = set()  # the templates that have read their orders
        self._spare: tuple[int, Inbox] | None = None  # a process for the next template
        self._spare_wanted = False
        self._rehearsal_pid = 0
        self._net = Net()
        self._upgrade_again = Again()
        self._spare_again = Again()
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._touched = Watch(settings.touch_reload)
        self._rotated = Watch(settings.touch_logreopen)
        self._said: set[str] = set()  # notices, tracebacks and changes, each of which counts once
        self._interrupts = 0
        self._started_s = time.time()
        self._shares = ReusePort(listeners, allowed_backlog(settings))
        self._grow_shares()  # after SIGUSR2 there may be fewer than --workers now says
        self._causes: dict[int, DeathCause] = {}  # by slot: why its worker is about to go, where that was said
        self._notifier = Notifier(os.environ, self._scoreboard.in_flight, handover is not None)
        self.dumps: dict[int, int] = {}  # by slot: the memfd of dump.py
        self._failures = BootFailures()
        self._fifos = open_fifos(self, self._selector, dict(handover.fifos) if handover else {})
        self.admin = Admin(self._selector, open_endpoints(self, listeners), self._fifos)
        for worker in handover.workers if handover else ():
            self._fleet.adopt(worker.slot, worker.generation, worker.pid, time.monotonic())
            self._add_worker(worker.slot, worker.fd)
            if worker.dump_fd >= 0:
                self.dumps[worker.slot] = worker.dump_fd
        self._fleet.recall(self._scoreboard.slots_used())

    def run(self) -> ExitCode:
        code = None
        while code is None:
            with self._net.under("a turn of the master"):
                code = self._turn()
            self._net.rest()
        log.info("wsgid stops with code %d", code)
        return code

    def _turn(self) -> ExitCode | None:
        """Do what is due, wait, and take in what has happened. Returns the exit code at the end."""
        now_s = time.monotonic()
        self._read_heartbeats()
        with self._net.under("the look around"):
            self._look_around(now_s)
        for action in self._fleet.plan(now_s):
            if isinstance(action, actions.Exit):
                return action.code
            log.debug("the plan says %s", action)
            with self._net.under(f"the plan's {type(action).__name__}"):
                _ACTIONS[type(action)](self, action)
        with self._net.under("what systemd is told"):
            self._notifier.turn(self._fleet, now_s)
        stdio.put()
        self._deal_shares()
        next_s = min(
            self._fleet.next_plan_s(now_s),
            self.admin.next_turn_s(),
            self._notifier.next_turn_s(),
            self._upgrade_again.at_s,
        )
        with self._net.under("the wait for news"):
            self._selector.select(max(next_s - time.monotonic(), 0))
        self._take_in()
        return None

    def _take_in(self) -> None:
        """What has happened, in the order of the rules above."""
        for signo in self._arrived():
            if signo in _SIGNAL_HANDLERS:
                with self._net.under(signo.name):
                    _SIGNAL_HANDLERS[signo](self, signo)
        dead = self._reap()
        for generation in list(self._templates):
            with self._net.under(f"the messages of template {generation}"):
                self._templates[generation].flush()
                self._read_template(generation)
        for slot in list(self._workers):
            with self._net.under(f"the messages of worker {slot}"):
                self._workers[slot].flush()
                self._read_worker(slot)
        for pid, status in dead:
            with self._net.under(f"the end of process {pid}"):
                self._bury(pid, status)
        self._deal_shares()  # before the plan: it may close our sockets
        with self._net.under("the side doors"):
            self.admin.turn(time.monotonic())

    def _arrived(self) -> list[Signals]:
        with self._net.under("the signals"):
            return self._signals.read()
        return []

    def _reap(self) -> list[tuple[int, int]]:
        """Who has ended: asked in each turn, as SIGCHLD comes once, and waitpid(2) may be refused then."""
        dead: list[tuple[int, int]] = []
        with self._net.under("the question who has ended"):
            for ended in process.reap():
                dead.append(ended)
        return dead

    def _read_heartbeats(self) -> None:
        for slot in self._fleet.of_state(*WATCHED):
            line = self._scoreboard.line(slot.number)
            beaten_s = line[Word.HEARTBEAT_NS] / 1e9  # first: the worker writes it last
            self._fleet.heartbeat(slot.number, beaten_s, line[Word.HELD_US] / 1e6)

    def _look_around(self, now_s: float) -> None:
        """What nobody tells us: files that were touched, workers that have grown too much, a time to prepare."""
        self._prepare_spare(now_s)
        if self._upgrade_again.take(now_s) and not self._fleet.stopping:
            self._rehearse("again")
        for path, _ in self._touched.changes():
            log.info("%s has changed: reloading the application", path)
            self._fleet.request_reload()
        for path, _ in self._rotated.changes():
            self.reopen_logs(f"{path} has changed")
        limit_bytes = self.settings.evil_reload_on_rss << 20
        for slot in self._fleet.of_state(SlotState.READY, *LEAVING) if limit_bytes else ():
            if memory.rss_bytes(slot.pid) >= limit_bytes:
                log.error(
                    "worker %d (generation %d, pid %d) has reached --evil-reload-on-rss %d: killed",
                    slot.number,
                    slot.generation,
                    slot.pid,
                    self.settings.evil_reload_on_rss,
                )
                self._causes[slot.number] = DeathCause.EVIL_RSS
                send_signal(slot.pid, Signals.SIGKILL)

    # --- signals ---

    def _on_stop(self, signo: Signals) -> None:
        """TERM and INT: graceful, after --shutdown-delay; a second INT: now."""
        self._interrupts += signo is Signals.SIGINT
        if self._interrupts > 1:
            self._on_quit(signo)
        else:
            self.stop(signo.name)

    def _on_quit(self, signo: Signals) -> None:
        self.stop_now(signo.name)

    def _on_reload(self, signo: Signals) -> None:
        self.reload(signo.name)

    def _on_resize(self, signo: Signals) -> None:
        self.resize(self._fleet.target + (1 if signo is Signals.SIGTTIN else -1), signo.name)

    def _on_reopen(self, signo: Signals) -> None:
        self.reopen_logs(signo.name)

    # --- what an operator asks for, whichever way (admin.commands.Operator) ---

    def snapshot(self) -> Snapshot:
        spare_pid = self._spare[0] if self._spare else 0
        return take_snapshot(
            self.settings,
            self._fleet,
            self._scoreboard,
            self._listeners,
            self._started_s,
            Processes(self._template_pids, spare_pid, self._failures.last),
        )

    def stop(self, who: str) -> None:
        """Gracefully, after --shutdown-delay."""
        if self._fleet.mode is not Mode.RUNNING:
            return
        delay_s = self.settings.shutdown_delay
        log.info(
            "%s: wsgid stops%s; requests in flight have %g s",
            who,
            f" in {delay_s:g} s" if delay_s else "",
            self.settings.worker_reload_mercy,
        )
        self._fleet.request_stop(time.monotonic() + delay_s)

    def stop_now(self, who: str) -> None:
        log.info("%s: wsgid stops now", who)
        self._fleet.request_end()

    def reload(self, who: str) -> None:
        log.info("%s: reloading the application", who)
        self._fleet.request_reload()

    def resize(self, workers: int, who: str) -> None:
        """From 1 up to half of the slots: the other half is for those who replace them."""
        self._fleet.target = min(max(workers, 1), scoreboard.SLOTS_MAX // 2)
        log.info("%s: %d workers from now on", who, self._fleet.target)
        self._grow_shares()

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Hand a question to a worker, with the connection that waits for the answer."""
        worker = self._workers.get(slot)
        try:
            if worker is None or worker.unread_bytes() > _UNANSWERED_MAX_BYTES:  # it has to have room for orders
                return False
            return worker.send(messages.Question(kind, arguments), [fd])
        except OSError:  # ioctl(2): nobody knows whether there is room
            return False

    def reopen_logs(self, reason: str) -> bool:
        """After a log rotation: open all log files anew, here and, by their descriptors, in all processes. Returns
        whether there is one.

        Args:
            reason: who wants it, for the log.
        """
        held = self._files.held()
        if not held:
            log.warning("%s: there is no log to reopen; --logto, --logger file: or --access-log name one", reason)
            return False
        for trouble in self._files.reopen():
            log.error("%s: %s; the old file stays in use", reason, trouble)
        log.info("%s: the log is reopened", reason)
        spare = [self._spare[1]] if self._spare else []
        for channel_ in (*self._templates.values(), *self._workers.values(), *spare):
            channel_.order(messages.Reopen(list(held)), list(held.values()))
        return True

    def _on_upgrade(self, signo: Signals) -> None:
        if self._rehearsal_pid == 0 and self._fleet.mode is Mode.RUNNING:
            self._upgrade_again.done()
            self._rehearse(signo.name)

    def _rehearse(self, who: str) -> None:
        try:
            self._rehearsal_pid = self._start.rehearse()
        except OSError as error:
            self._upgrade_refused(words(error))
        else:
            log.info("%s: trying whether wsgid can be started anew", who)

    def _upgrade_refused(self, why: str) -> None:
        pause_s = self._upgrade_again.refused(time.monotonic())
        log.error(
            "wsgid cannot be started anew: %s; this one goes on serving, and it is tried again %s", why, soon(pause_s)
        )

    def _after_rehearsal(self, status: int) -> None:
        self._rehearsal_pid = 0
        if self._fleet.stopping:
            return
        if status != 0:
            self._after_failed_rehearsal(status)
            return
        log.info("wsgid starts anew, in this process")
        try:
            self._signals.hold()
            self._start.execute(self._handover(), self._notifier.variables)
        except OSError as error:
            self._upgrade_refused(words(error))
        finally:
            self._signals.release()

    def _after_failed_rehearsal(self, status: int) -> None:
        """Options and applications are the operator's to mend, who then asks again; the machine's refusals pass."""
        why = f"its trial {process.status_in_words(status)}"
        if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == ExitCode.FAILURE:
            self._upgrade_refused(why)
        else:
            log.error("wsgid cannot be started anew: %s; this one goes on serving", why)

    def _handover(self) -> Handover:
        held = tuple(
            HeldListener(
                one.socket.fileno(),
                one.spec,
                one.address,
                str(one.path or ""),
                one.identity,
                one.spoken,
                one.reuse_port,
            )
            for one in self._listeners
        )
        workers = tuple(
            HeldWorker(
                slot.number,
                slot.generation,
                slot.pid,
                self._workers[slot.number].fileno(),
                self.dumps.get(slot.number, -1),
            )
            for slot in self._fleet.of_state(SlotState.READY, SlotState.STALLED)
        )
        fifos = tuple((one.path, one.fd) for one in self._fifos)
        return Handover(self._scoreboard_fd, self._past_fd, held, workers, fifos)

    # --- messages ---

    def _read_template(self, generation: int) -> None:
        source, pid = self._templates[generation], self._template_pids[generation]
        try:
            for message, _ in source.read():
                if message is None:
                    self._lose_template(generation)
                    return
                inbox.check_template(message, self._fleet.templates[generation], pid, source.sender_pid)
                self._hear_template(generation, message)
        except ControlError as error:
            self._expel(f"template {generation}", error, {pid, source.sender_pid})
            self._lose_template(generation)

    def _hear_template(self, generation: int, message: messages.Message) -> None:
        match message:
            case messages.Booting():
                self._loaded.add(generation)
            case messages.TemplateReady():
                process.set_pace(self._template_pids[generation], process.Pace.USUAL)
                self._spare_wanted = self._spare is None
                self._fleet.template_ready(generation, time.monotonic())
            case messages.SpawnFailed(slot=slot, reason=reason):
                self._check_is_spawning(slot, generation)
                self._spawn_refused(slot, reason)
            case messages.BootFailed():
                self._log_boot_failure(message, f"template {generation}", generation)

    def _check_is_spawning(self, number: int, generation: int) -> None:
        """Raises ControlError if this template was not told to fork for that slot, or a worker lives there."""
        slot = self._fleet.slots[number] if number < len(self._fleet.slots) else None
        if slot is None or slot.pid or slot.state not in BOOTING or slot.generation != generation:
            raise ControlError(f"SpawnFailed names the slot {number}, for which it was not told to fork")

    def _lose_template(self, generation: int) -> None:
        self._close_template(generation)
        self._fleet.template_closed(generation, time.monotonic())

    def _read_worker(self, slot: int) -> None:
        source = self._workers[slot]
        try:
            for message, fds in source.read():
                if message is None:
                    self._lose_worker(slot)
                    return
                inbox.check_worker(message, self._fleet.slots[slot], source.sender_pid)
                if isinstance(message, messages.Hello):
                    self._check_is_new(source.sender_pid)
                    self._fleet.hello(slot, source.sender_pid)
                    self._interrupt_import(slot)
                elif isinstance(message, messages.Dumps):
                    self._take_dump(slot, fds[0])
                else:
                    self._hear_worker(slot, message)
        except ControlError as error:
            self._expel(f"worker {slot}", error, {self._fleet.slots[slot].pid, source.sender_pid})
            self._lose_worker(slot)

    def _hear_worker(self, slot: int, message: messages.Message) -> None:
        match message:
            case messages.Ready():
                self._fleet.ready(slot, time.monotonic())
                daemon.tell_foreground(ExitCode.OK)
                log.info(
                    "worker %d (generation %d, pid %d) is ready",
                    slot,
                    self._fleet.slots[slot].generation,
                    self._fleet.slots[slot].pid,
                )
            case messages.Notice(key=key, text=text):
                self._log_once(key, text)
            case messages.Tired(cause=cause, reason=reason):
                self._causes[slot] = DeathCause(cause)
                log.info("worker %d asks to be replaced: %s", slot, reason)
                self._fleet.tired(slot)
            case messages.SourceChanged(path=path, stamp=stamp):
                if not self.settings.py_autoreload:
                    raise ControlError("SourceChanged without --py-autoreload")
                self._reload_changed(path, stamp)
            case messages.BootFailed():
                self._log_boot_failure(message, f"worker {slot}", self._fleet.slots[slot].generation)

    def _check_is_new(self, pid: int) -> None:
        """Raises ControlError if a process that says Hello already is somebody else."""
        known = {
            os.getpid(),
            self._rehearsal_pid,
            *self._template_pids.values(),
            *(slot.pid for slot in self._fleet.slots),
            *([self._spare[0]] if self._spare else []),
        }
        if pid in known:
            raise ControlError(f"Hello of process {pid}, which is no new worker")

    def _take_dump(self, slot: int, fd: int) -> None:
        """Raises ControlError if it is the worker's second one, or no memfd."""
        if slot in self.dumps or not stackdump.is_memfd(fd):
            close(fd)
            raise ControlError("Dumps came with a descriptor that is not wanted")
        self.dumps[slot] = fd

    def _lose_worker(self, slot: int) -> None:
        self._close_worker(slot)
        self._fleet.channel_closed(slot, time.monotonic())

    def _expel(self, who: str, error: ControlError, pids: set[int]) -> None:
        """A child has said what it may not. An honest child never does."""
        self._net.say(f"{who}: {error}; its channel is closed and it is killed")
        for pid in pids - {0, os.getpid()}:
            send_signal(pid, Signals.SIGKILL)

    def _reload_changed(self, path: str, stamp: str) -> None:
        """Each worker sees the change; the first one counts."""
        if self._is_new(f"{path} {stamp}"):
            log.info("%s has changed: reloading the application", path)
            self._fleet.request_reload()

    def _is_new(self, text: str) -> bool:
        if text in self._said:
            return False
        if len(self._said) >= _SAID_MAX:  # rather say something twice than grow for ever
            self._said.clear()
        self._said.add(text)
        return True

    def _log_once(self, key: str, text: str) -> None:
        if self._is_new(key):
            log.warning("%s", text)

    def _log_boot_failure(self, failure: messages.BootFailed, who: str, generation: int) -> None:
        """The traceback once, however many workers and retries meet it; the sentence each time."""
        self._failures.said(generation, f"{who}: {failure.reason}")
        if failure.traceback and self._is_new(failure.traceback):
            log.error(
                "%s: the application raises, when it is imported:", who, extra={"traceback": failure.traceback.rstrip()}
            )
        remedy = "; what runs goes on serving" if self._fleet.proven else ""
        log.error("%s: %s%s", who, failure.reason, remedy)

    # --- deaths ---

    def _bury(self, pid: int, status: int) -> None:
        if pid == self._rehearsal_pid:
            self._after_rehearsal(status)
            return
        if self._spare and pid == self._spare[0]:
            self._spare[1].close()
            self._spare = None
            return
        words = process.status_in_words(status)
        for generation, template_pid in self._template_pids.items():
            if template_pid == pid:
                self._bury_template(generation, words)
                return
        for slot in self._fleet.slots:
            if slot.pid == pid:
                self._bury_worker(slot, words, status)
                return
        log.debug("an orphan of the application, pid %d, %s", pid, words)

    def _bury_template(self, generation: int, words: str) -> None:
        del self._template_pids[generation]
        self._close_template(generation)
        was_loaded = generation in self._loaded
        self._loaded.discard(generation)
        if self._fleet.is_booting(generation) and self._fleet.proven and not was_loaded:
            self._launch_refused(
                generation, f"it {words} before wsgid was loaded; let the virtual environment's installation finish"
            )
            return
        left = self._fleet.template_gone(generation, time.monotonic())
        if left is not TemplateState.DISMISSED:
            log.error("template %d %s", generation, words)
        if left is TemplateState.BOOTING:
            self._failures.died(generation, f"template {generation}", words)

    def _bury_worker(self, slot: Slot, words: str, status: int) -> None:
        self._close_worker(slot.number)
        told = slot.ready_s == inf and os.WIFSIGNALED(status) and os.WTERMSIG(status) == Signals.SIGTERM
        left = self._fleet.gone(slot.number, time.monotonic(), told)
        in_flight = self._scoreboard.line(slot.number)[Word.IN_FLIGHT]
        self._scoreboard.clear(slot.number)
        cause = self._cause(slot, left, status)
        if cause is DeathCause.BOOT:
            self._failures.died(slot.generation, f"worker {slot.number}", words)
        if self._fleet.mode is Mode.RUNNING:
            self._scoreboard.note_death(slot.number, cause)
        lost = f" with {in_flight} requests in flight" if in_flight else ""
        asked = told or (status == 0 and left in (*LEAVING, SlotState.READY))
        (log.info if asked else log.error)(
            "worker %d (generation %d, pid %d) %s%s", slot.number, slot.generation, slot.pid, words, lost
        )

    def _cause(self, slot: Slot, left: SlotState, status: int) -> DeathCause:
        """Why a worker is gone."""
        said = self._causes.pop(slot.number, None)
        if said and not (said is DeathCause.HUB and status == 0):  # an event loop that was held up may run again
            return said
        if slot.ready_s == inf:
            return DeathCause.BOOT
        if status != 0:
            return DeathCause.CRASH
        if left in LEAVING:
            return DeathCause.RELOAD if slot.generation < self._fleet.wanted_generation else DeathCause.SURPLUS
        return DeathCause.LEFT

    # --- actions ---

    def _launch_template(self, action: actions.LaunchTemplate) -> None:
        try:
            self._boot_template(action.generation)
        except OSError as error:
            self._launch_refused(action.generation, words(error))

    def _launch_refused(self, generation: int, why: str) -> None:
        pause_s = self._fleet.launch_failed(generation, time.monotonic())
        reason = f"template {generation} cannot be started: {why}"
        if self._fleet.proven:
            reason += f"; what runs goes on serving, and it is tried again {soon(pause_s)}"
        self._failures.said(generation, reason)
        log.error("%s", reason)

    def _boot_template(self, generation: int) -> None:
        """Raises OSError; then there is no process of it."""
        if launch.stand_in(self._site):
            self._end_spare()  # it stands in the directory that was removed
        pid, connection = self._spare or self._execute_template()
        self._spare = None
        process.set_pace(pid, process.Pace.HURRIED)  # on a busy site, a reload would wait seconds for its import
        inherited = [one for one in self._listeners if not one.reuse_port]
        what = [asdict(one.spoken) for one in inherited]
        boot = messages.Boot(generation, self.settings.as_dict(), what)
        fds = [*(one.socket.fileno() for one in inherited), self._scoreboard_fd, *self._files.fds.values()]
        try:
            self._wait_for(connection)
            self._send(connection, boot, fds)
        except OSError:
            self._close(connection)
            process.end(pid)
            raise
        self._template_pids[generation] = pid
        self._templates[generation] = connection

    def _execute_template(self) -> tuple[int, Inbox]:
        return launch.start_template(self.settings.procname_prefix, {**os.environ, **dict(self.settings.env)})

    def _prepare_spare(self, now_s: float) -> None:
        """When everything is quiet: a process for the next template that has everything imported but the application.
        Python and gevent take longer than many an application, and a reload need not wait for them."""
        if not self._spare_wanted or self._spare_again.waits(now_s) or not self._fleet.is_settled(now_s):
            return
        try:
            self._spare = self._execute_template()
            self._spare_wanted = False  # once a generation: if it dies, there is none
            self._spare_again.done()
        except OSError as error:
            self._spare_again.refused(now_s)
            self._net.say(f"the next template cannot be prepared: {words(error)}; it is tried again, later each time")

    def _dismiss_template(self, action: actions.DismissTemplate) -> None:
        self._close_template(action.generation)

    def _interrupt_template(self, action: actions.InterruptTemplate) -> None:
        """See lateimport.py."""
        log.error(
            "template %d has not imported the application in %g s (--boot-timeout): it has to say where it is, "
            "and to end",
            action.generation,
            self.settings.boot_timeout,
        )
        send_signal(self._template_pids[action.generation], Signals.SIGXCPU)

    def _abort_template(self, action: actions.AbortTemplate) -> None:
        send_signal(self._template_pids[action.generation], Signals.SIGABRT)

    def _kill_template(self, action: actions.KillTemplate) -> None:
        send_signal(self._template_pids[action.generation], Signals.SIGKILL)

    def _spawn(self, action: actions.SpawnWorker) -> None:
        order = messages.Spawn(action.slot, action.generation, action.wary, self._fleet.slots[action.slot].seat)
        try:
            with named("socketpair", f"for worker {action.slot}"):
                ours, theirs = channel.pair()
            try:
                self._add_worker(action.slot, ours)
                self._send(self._templates[action.generation], order, [theirs])
            finally:
                close(theirs)
        except OSError as error:
            self._spawn_refused(action.slot, words(error))
        else:
            self._scoreboard.note_spawn(action.slot, int(time.time()))

    def _spawn_refused(self, slot: int, reason: str) -> None:
        """Nobody lives there; the fleet tries again."""
        now_s = time.monotonic()
        self._close_worker(slot)
        self._fleet.channel_closed(slot, now_s)
        pause_s = max(self._fleet.slots[slot].not_before_s - now_s, 0.0)
        log.error("worker %d cannot be started: %s; it is tried again %s", slot, reason, soon(pause_s))

    def _send(self, connection: Channel, message: messages.Message, fds: Sequence[int]) -> None:
        """Raises Refused if it could not be sent."""
        if not connection.send(message, fds) and connection.refusal:
            with named("sendmsg", type(message).__name__):
                raise connection.refusal

    def _deal_shares(self) -> None:
        """With --reuse-port: see to it that each socket has a worker."""
        if self._fleet.listening:
            serving = {slot.number: slot.seat for slot in self._fleet.of_state(SlotState.READY)}
            self._shares.deal({worker: serving.get(slot) for slot, worker in self._workers.items()})

    def _grow_shares(self) -> None:
        try:
            self._listeners += self._shares.grow(self._fleet.target)
        except ListenerError as error:
            log.error("%s: workers share the sockets that there are", error)

    def _add_worker(self, slot: int, fd: int) -> None:
        self._workers[slot] = Inbox(fd, messages.FROM_WORKER)
        self._wait_for(self._workers[slot])

    def _wait_for(self, connection: Channel) -> None:
        """Raises Refused if the kernel has no room for one more."""
        with named("epoll_ctl", "for a channel"):
            self._selector.register(connection, selectors.EVENT_READ)

    def _drain(self, action: actions.DrainWorker) -> None:
        self._workers[action.slot].order(messages.Drain(action.backlog.value, self.settings.worker_reload_mercy))
        self._interrupt_import(action.slot)

    def _interrupt_import(self, number: int) -> None:
        """Who has to leave while it still imports the application (--lazy-apps) reads no orders. TERM ends it; if it
        has just become ready, TERM drains it."""
        slot = self._fleet.slots[number]
        if slot.state is SlotState.DRAINING and slot.ready_s == inf and slot.pid:
            send_signal(slot.pid, Signals.SIGTERM)

    def _interrupt(self, action: actions.Interrupt) -> None:
        slot = self._fleet.slots[action.slot]
        log.warning(
            "worker %d (generation %d, pid %d): its event loop has not run for %.1f s",
            slot.number,
            slot.generation,
            slot.pid,
            time.monotonic() - max(slot.heartbeat_s, slot.ready_s),
        )
        if slot.state in HELD_UP:
            self._causes[slot.number] = DeathCause.HUB
        send_signal(slot.pid, Signals.SIGXCPU)

    def _interrupt_late(self, action: actions.InterruptImport) -> None:
        """See lateimport.py."""
        slot = self._fleet.slots[action.slot]
        log.error(
            "worker %d (generation %d, pid %d) has not become ready in %g s (--boot-timeout): it has to say "
            "where it is, and to end",
            slot.number,
            slot.generation,
            slot.pid,
            self.settings.boot_timeout,
        )
        send_signal(slot.pid, Signals.SIGXCPU)

    def _abort(self, action: actions.Abort) -> None:
        self._end(action.slot, Signals.SIGABRT)

    def _kill(self, action: actions.Kill) -> None:
        self._end(action.slot, Signals.SIGKILL)

    def _end(self, number: int, signo: Signals) -> None:
        slot = self._fleet.slots[number]
        if self._fleet.mode is not Mode.STOPPING:
            log.error("worker %d (generation %d, pid %d) is overdue: %s", number, slot.generation, slot.pid, signo.name)
        send_signal(slot.pid, signo)

    def _abandon(self, action: actions.Abandon) -> None:
        log.error("worker %d did not start in %g s", action.slot, self.settings.boot_timeout)
        self._close_worker(action.slot)

    def _unlisten(self, action: actions.Unlisten) -> None:
        """Unlink first: from then on nginx gets a clean refusal, and what has connected before is in the backlog, which
        the workers empty."""
        for opened in self._listeners:
            opened.unlink()
            with suppress(OSError):
                opened.socket.close()
        self._spare_wanted = False
        self._end_spare()

    def _end_spare(self) -> None:
        if self._spare:
            pid, connection = self._spare
            self._spare = None
            connection.close()
            process.end(pid)

    def _close_template(self, generation: int) -> None:
        self._close(self._templates.pop(generation, None))

    def _close_worker(self, slot: int) -> None:
        self._close(self._workers.pop(slot, None))
        if slot in self.dumps:
            close(self.dumps.pop(slot))

    def _close(self, connection: Channel | None) -> None:
        if connection is not None:
            forget(self._selector, connection)
            connection.close()


_SIGNAL_HANDLERS: dict[Signals, Callable[[Master, Signals], None]] = {
    signal.SIGTERM: Master._on_stop,
    signal.SIGINT: Master._on_stop,
    signal.SIGQUIT: Master._on_quit,
    signal.SIGHUP: Master._on_reload,
    signal.SIGTTIN: Master._on_resize,
    signal.SIGTTOU: Master._on_resize,
    signal.SIGUSR1: Master._on_reopen,
    signal.SIGUSR2: Master._on_upgrade,
}

_ACTIONS: dict[type, Callable[[Master, Any], None]] = {
    actions.LaunchTemplate: Master._launch_template,
    actions.DismissTemplate: Master._dismiss_template,
    actions.InterruptTemplate: Master._interrupt_template,
    actions.AbortTemplate: Master._abort_template,
    actions.KillTemplate: Master._kill_template,
    actions.SpawnWorker: Master._spawn,
    actions.DrainWorker: Master._drain,
    actions.Interrupt: Master._interrupt,
    actions.InterruptImport: Master._interrupt_late,
    actions.Abort: Master._abort,
    actions.Kill: Master._kill,
    actions.Abandon: Master._abandon,
    actions.Unlisten: Master._unlisten,
}
