"""The master: wait, reap, decode, apply the plan.

Rules
* Boring: the standard library only, no gevent, no thread, nothing of the application.  What is to be done is decided
  in fleet.py; what is said is in protocol/control.py; here it is carried out.
* One wait point: the signal pipe and all channels sit in one selector, with the fleet's next deadline as time-out.
* A turn reads in this order: signals, then the dead (waitpid), then all channels, then the deaths are applied.  What a
  process said before it died is in its channel by the time it can be reaped, so nothing is missed.
"""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from math import inf
from signal import Signals
from typing import Any

from wsgid import __version__, channel, daemon, fleet, listener, log, pidfile, process, scoreboard, spoken, upgrade
from wsgid.admin.doors import open_doors, open_fifos
from wsgid.admin.failures import Failures
from wsgid.admin.server import Admin
from wsgid.admin.snapshot import Processes, Snapshot, take_snapshot
from wsgid.channel import Channel
from wsgid.config.merge import Configuration
from wsgid.config.options import Settings
from wsgid.errors import ConfigError, ControlError, ExitCode, ListenerError
from wsgid.fleet import Fleet, Mode
from wsgid.listener import Listener
from wsgid.logs.logfiles import LogFiles
from wsgid.protocol import control
from wsgid.scoreboard import Cause, Word
from wsgid.shares import Shares
from wsgid.slots import HELD_UP, LEAVING, WATCHED, Slot, SlotState, TemplateState
from wsgid.spoken import Spoken
from wsgid.systemd import Notifier
from wsgid.upgrade import Handover, HeldListener, HeldWorker, Start
from wsgid.watch import Watch

_SAID_MAX = 1000
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
    signals = process.SignalPipe([*_SIGNAL_HANDLERS, Signals.SIGCHLD])
    if settings.umask >= 0:
        os.umask(settings.umask)
    log.speak_as("master")
    process.begin_titles_with(settings.procname_prefix)
    process.set_title(f"master [{settings.application or settings.wsgi_file}]")
    files = LogFiles.open(settings)
    log.set_up(settings.log_level, settings.log_json, settings.logger, files.fds)
    handover = upgrade.take_over(os.environ)
    listeners = open_listeners(settings, handover.listeners if handover else ())
    try:
        if settings.pidfile:
            pidfile.write(settings.pidfile)
        process.become_subreaper()
        _announce(settings, listeners)
        master = Master(configuration, start, listeners, files, signals, handover)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [*_SIGNAL_HANDLERS, Signals.SIGCHLD])
        try:
            return master.run()
        finally:
            master.admin.close()
    finally:
        for opened in listeners:
            opened.unlink()
        if settings.pidfile:
            pidfile.remove(settings.pidfile)


def open_listeners(settings: Settings, held: Sequence[HeldListener]) -> list[Listener]:
    """All sockets of the command line and those that systemd passed; those that are held already are kept.

    Raises:
        ListenerError: one of them cannot be had; those before it are closed and unlinked again.
    """
    backlog = allowed_backlog(settings)
    if settings.listen > backlog:
        log.warning("--listen %d is more than the kernel allows: the backlog is %d; raise net.core.somaxconn",
                    settings.listen, backlog)
    ownership = listener.Ownership(settings.chmod_socket, *settings.chown_socket)
    wanted = list(spoken.addresses(settings))
    opened = [listener.hold(one.fd, one.spec, one.address, one.path, one.identity, one.spoken, one.reuse_port)
              for one in held]
    opened += listener.from_systemd(os.environ, backlog)
    opened = [replace(one, spoken=_spoken_now(one, wanted)) for one in opened]
    known = {one.spec: one for one in opened}
    try:
        for address, what in wanted:
            if address in known:
                _warn_if_kept(known[address], settings)
            else:
                made = [listener.open_listener(address, backlog, ownership)] if not settings.reuse_port else (
                    listener.open_shares(address, backlog, settings.workers))
                opened += [replace(one, spoken=what) for one in made]
    except Exception:
        for earlier in opened:
            earlier.unlink()
        raise
    if not opened:
        raise ConfigError("no socket to listen on: add --socket PATH for nginx, or --http HOST:PORT")
    return opened


def _spoken_now(opened: Listener, wanted: list[tuple[str, Spoken]]) -> Spoken:
    """Who opened it did not know the options, or they have changed since."""
    said = [what for address, what in wanted if address == opened.spec]
    return opened.spoken if opened.spoken in said or not said else said[0]


def _warn_if_kept(held: Listener, settings: Settings) -> None:
    if held.reuse_port is not settings.reuse_port:
        log.warning("%s stays as it was bound: --reuse-port begins and ends with a restart, not with SIGUSR2",
                    held.address)


def allowed_backlog(settings: Settings) -> int:
    return min(settings.listen or listener.BACKLOG_WANTED, listener.allowed_backlog())


def _announce(settings: Settings, listeners: list[Listener]) -> None:
    addresses = dict.fromkeys(one.address for one in listeners)  # with --reuse-port an address has several
    log.info("wsgid %s listens on %s with %d worker%s", __version__, ", ".join(addresses), settings.workers,
             "s" * (settings.workers > 1))
    user = listener.nginx_user()
    for one in listeners:
        trouble = listener.keeps_out(one.path, user) if one.path and user else None
        if trouble:
            log.warning("%s", trouble)


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

    def __init__(self, configuration: Configuration, start: Start, listeners: list[Listener], files: LogFiles,
                 signals: process.SignalPipe, handover: Handover | None) -> None:
        self.settings = settings = configuration.settings
        self.sources = configuration.sources()
        self._start = start
        self._listeners = listeners
        self._files = files
        self._signals = signals
        kept = handover is not None and scoreboard.fits(handover.scoreboard_fd)
        self._scoreboard_fd = handover.scoreboard_fd if handover and kept else scoreboard.create()
        self._scoreboard = scoreboard.Scoreboard(self._scoreboard_fd)
        self._fleet = Fleet(settings.workers, fleet.Deadlines(
            settings.boot_timeout, settings.worker_reload_mercy, settings.hub_timeout_s, settings.hub_warn))
        self._templates: dict[int, Channel] = {}  # by generation
        self._workers: dict[int, Channel] = {}  # by slot
        self._template_pids: dict[int, int] = {}  # generation -> pid
        self._spare: tuple[int, Channel] | None = None  # a process for the next template
        self._spare_wanted = False
        self._rehearsal_pid = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._touched = Watch(settings.touch_reload)
        self._rotated = Watch(settings.touch_logreopen)
        self._said: set[str] = set()  # notices, tracebacks and changes, each of which counts once
        self._interrupts = 0
        self._started_s = time.time()
        self._shares = Shares(listeners, allowed_backlog(settings))
        self._grow_shares()  # after SIGUSR2 there may be fewer than --workers now says
        self._causes: dict[int, Cause] = {}  # by slot: why its worker is about to go, where that was said
        self._notifier = Notifier(os.environ, self._scoreboard.in_flight, handover is not None)
        self.dumps: dict[int, int] = {}  # by slot: the memfd of dump.py
        self._failures = Failures()
        self._fifos = open_fifos(self, self._selector, dict(handover.fifos) if handover else {})
        self.admin = Admin(self._selector, open_doors(self, listeners), self._fifos)
        for worker in handover.workers if handover else ():
            self._fleet.adopt(worker.slot, worker.generation, worker.pid, time.monotonic())
            self._add_worker(worker.slot, worker.fd)
            if worker.dump_fd >= 0:
                self.dumps[worker.slot] = worker.dump_fd
        self._fleet.recall(self._scoreboard.slots_used())

    def run(self) -> ExitCode:
        while True:
            now_s = time.monotonic()
            self._read_heartbeats()
            self._look_around()
            for action in self._fleet.plan(now_s):
                if isinstance(action, fleet.Exit):
                    log.info("wsgid stops with code %d", action.code)
                    return action.code
                log.debug("the plan says %s", action)
                _ACTIONS[type(action)](self, action)
            self._notifier.turn(self._fleet, now_s)
            self._deal_shares()
            next_s = min(self._fleet.next_plan_s(now_s), self.admin.next_turn_s(), self._notifier.next_turn_s())
            self._selector.select(max(next_s - time.monotonic(), 0))
            self._turn()

    def _turn(self) -> None:
        """Take in what has happened, in the order of the rules above."""
        arrived = self._signals.read()
        for signo in arrived:
            if signo in _SIGNAL_HANDLERS:
                _SIGNAL_HANDLERS[signo](self, signo)
        dead = list(process.reap()) if Signals.SIGCHLD in arrived else []
        for generation in list(self._templates):
            self._read_template(generation)
        for slot in list(self._workers):
            self._read_worker(slot)
        for pid, status in dead:
            self._bury(pid, status)
        self._deal_shares()  # before the plan: it may close our sockets
        self.admin.turn(time.monotonic())

    def _read_heartbeats(self) -> None:
        for slot in self._fleet.of_state(*WATCHED):
            line = self._scoreboard.line(slot.number)
            beaten_s = line[Word.HEARTBEAT_NS] / 1e9  # first: the worker writes it last
            self._fleet.heartbeat(slot.number, beaten_s, line[Word.HELD_US] / 1e6)

    def _look_around(self) -> None:
        """What nobody tells us: files that were touched, workers that have grown too much, a time to prepare."""
        self._prepare_spare()
        for path, _ in self._touched.changes():
            log.info("%s has changed: reloading the application", path)
            self._fleet.request_reload()
        for path, _ in self._rotated.changes():
            self.reopen_logs(f"{path} has changed")
        limit_bytes = self.settings.evil_reload_on_rss << 20
        for slot in self._fleet.of_state(SlotState.READY, *LEAVING) if limit_bytes else ():
            if process.rss_bytes(slot.pid) >= limit_bytes:
                log.error("worker %d (generation %d, pid %d) has reached --evil-reload-on-rss %d: killed", slot.number,
                          slot.generation, slot.pid, self.settings.evil_reload_on_rss)
                self._causes[slot.number] = Cause.EVIL_RSS
                process.send_signal(slot.pid, Signals.SIGKILL)

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
        return take_snapshot(self.settings, self._fleet, self._scoreboard, self._listeners, self._started_s,
                             Processes(self._template_pids, spare_pid, self._failures.last))

    def stop(self, who: str) -> None:
        """Gracefully, after --shutdown-delay."""
        if self._fleet.mode is not Mode.RUNNING:
            return
        delay_s = self.settings.shutdown_delay
        log.info("%s: wsgid stops%s; requests in flight have %g s", who,
                 f" in {delay_s:g} s" if delay_s else "", self.settings.worker_reload_mercy)
        self._fleet.request_stop(time.monotonic() + delay_s)

    def stop_now(self, who: str) -> None:
        log.info("%s: wsgid stops now", who)
        self._fleet.request_end()

    def reload(self, who: str) -> None:
        log.info("%s: reloading the application", who)
        self._fleet.request_reload()

    def resize(self, workers: int, who: str) -> None:
        """From 1 up to half of the slots: the other half is for those who replace them."""
        self._fleet.target = min(max(workers, 1), fleet.SLOTS_MAX // 2)
        log.info("%s: %d workers from now on", who, self._fleet.target)
        self._grow_shares()

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Hand a question to a worker, with the connection that waits for the answer."""
        worker = self._workers.get(slot)
        if worker is None or worker.unread_bytes() > _UNANSWERED_MAX_BYTES:  # it has to have room for orders
            return False
        return worker.send(control.Question(kind, arguments), [fd])

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
            channel_.send(control.Reopen(list(held)), list(held.values()))
        return True

    def _on_upgrade(self, signo: Signals) -> None:
        if self._rehearsal_pid == 0 and self._fleet.mode is Mode.RUNNING:
            self._rehearsal_pid = self._start.rehearse()
            log.info("%s: trying whether wsgid can be started anew", signo.name)

    def _after_rehearsal(self, status: int) -> None:
        self._rehearsal_pid = 0
        if status != 0:
            log.error("wsgid cannot be started anew: its trial %s; this one goes on serving",
                      process.status_in_words(status))
            return
        log.info("wsgid starts anew, in this process")
        held = tuple(
            HeldListener(one.socket.fileno(), one.spec, one.address, str(one.path or ""), one.identity, one.spoken,
                         one.reuse_port)
            for one in self._listeners)
        workers = tuple(HeldWorker(slot.number, slot.generation, slot.pid, self._workers[slot.number].fileno(),
                                   self.dumps.get(slot.number, -1))
                        for slot in self._fleet.of_state(SlotState.READY, SlotState.STALLED))
        fifos = tuple((one.path, one.fd) for one in self._fifos)
        self._start.execute(Handover(self._scoreboard_fd, held, workers, fifos),
                            [*_SIGNAL_HANDLERS, Signals.SIGCHLD], self._notifier.variables)

    # --- messages ---

    def _messages(self, source: Channel) -> list[tuple[control.Message | None, list[int]]]:
        """All that has arrived; None at the end stands for end-of-file."""
        arrived: list[tuple[control.Message | None, list[int]]] = []
        while True:
            try:
                received = source.receive()
            except BlockingIOError:
                return arrived
            except ControlError as error:
                log.error("%s: ignored", error)
                continue
            if received is None:
                return [*arrived, (None, [])]
            arrived.append(received)

    def _read_template(self, generation: int) -> None:
        for message, _ in self._messages(self._templates[generation]):
            match message:
                case control.TemplateReady():
                    process.set_pace(self._template_pids[generation], process.Pace.USUAL)
                    self._spare_wanted = self._spare is None
                    self._fleet.template_ready(generation, time.monotonic())
                case control.SpawnFailed(slot=slot, reason=reason):
                    log.error("worker %d cannot be forked: %s", slot, reason)
                    self._close_worker(slot)
                    self._fleet.channel_closed(slot, time.monotonic())
                case control.BootFailed():
                    self._log_boot_failure(message, f"template {generation}", generation)
                case None:
                    self._close_template(generation)
                    self._fleet.template_closed(generation, time.monotonic())

    def _read_worker(self, slot: int) -> None:
        for message, fds in self._messages(self._workers[slot]):
            match message:
                case control.Hello(pid=pid):
                    self._fleet.hello(slot, pid)
                case control.Dumps() if fds:
                    self.dumps[slot] = fds[0]
                case control.Ready():
                    self._fleet.ready(slot, time.monotonic())
                    daemon.tell_foreground(ExitCode.OK)
                    log.info("worker %d (generation %d, pid %d) is ready", slot,
                             self._fleet.slots[slot].generation, self._fleet.slots[slot].pid)
                case control.Notice(key=key, text=text):
                    self._log_once(key, text)
                case control.Tired(cause=cause, reason=reason):
                    self._causes[slot] = Cause(cause)
                    log.info("worker %d asks to be replaced: %s", slot, reason)
                    self._fleet.tired(slot)
                case control.SourceChanged(path=path, stamp=stamp):
                    self._reload_changed(path, stamp)
                case control.BootFailed():
                    self._log_boot_failure(message, f"worker {slot}", self._fleet.slots[slot].generation)
                case None:
                    self._close_worker(slot)
                    self._fleet.channel_closed(slot, time.monotonic())

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

    def _log_boot_failure(self, failure: control.BootFailed, who: str, generation: int) -> None:
        """The traceback once, however many workers and retries meet it; the sentence each time."""
        self._failures.said(generation, f"{who}: {failure.reason}")
        if failure.traceback and self._is_new(failure.traceback):
            log.error("%s: the application raises, when it is imported:", who,
                      extra={"traceback": failure.traceback.rstrip()})
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
        left = self._fleet.template_gone(generation, time.monotonic())
        if left is not TemplateState.DISMISSED:
            log.error("template %d %s", generation, words)
        if left is TemplateState.BOOTING:
            self._failures.died(generation, f"template {generation}", words)

    def _bury_worker(self, slot: Slot, words: str, status: int) -> None:
        self._close_worker(slot.number)
        left = self._fleet.gone(slot.number, time.monotonic())
        in_flight = self._scoreboard.line(slot.number)[Word.IN_FLIGHT]
        self._scoreboard.clear(slot.number)
        cause = self._cause(slot, left, status)
        if cause is Cause.BOOT:
            self._failures.died(slot.generation, f"worker {slot.number}", words)
        if self._fleet.mode is Mode.RUNNING:
            self._scoreboard.note_death(slot.number, cause)
        lost = f" with {in_flight} requests in flight" if in_flight else ""
        asked = status == 0 and left in (*LEAVING, SlotState.READY)
        (log.info if asked else log.error)(
            "worker %d (generation %d, pid %d) %s%s", slot.number, slot.generation, slot.pid, words, lost)

    def _cause(self, slot: Slot, left: SlotState, status: int) -> Cause:
        """Why a worker is gone."""
        said = self._causes.pop(slot.number, None)
        if said and not (said is Cause.HUB and status == 0):  # an event loop that was held up may run again
            return said
        if slot.ready_s == inf:
            return Cause.BOOT
        if status != 0:
            return Cause.CRASH
        if left in LEAVING:
            return Cause.RELOAD if slot.generation < self._fleet.wanted_generation else Cause.SURPLUS
        return Cause.LEFT

    # --- actions ---

    def _launch_template(self, action: fleet.LaunchTemplate) -> None:
        pid, connection = self._spare or self._execute_template()
        self._spare = None
        process.set_pace(pid, process.Pace.HURRIED)  # on a busy site, a reload would wait seconds for its import
        self._template_pids[action.generation] = pid
        self._templates[action.generation] = connection
        self._selector.register(connection, selectors.EVENT_READ)
        inherited = [one for one in self._listeners if not one.reuse_port]
        what = [asdict(one.spoken) for one in inherited]
        connection.send(
            control.Boot(action.generation, self.settings.as_dict(), what),
            [*(one.socket.fileno() for one in inherited), self._scoreboard_fd, *self._files.fds.values()])

    def _execute_template(self) -> tuple[int, Channel]:
        ours, theirs = channel.pair()
        environ = {**os.environ, **dict(self.settings.env)}
        # -P: the application's directory must not shadow the standard library before gevent has patched it.
        argv = [sys.executable, "-P", "-m", "wsgid.template", str(theirs), self.settings.procname_prefix]
        pid = process.spawn(argv, environ, theirs)
        os.close(theirs)
        return pid, Channel(ours)

    def _prepare_spare(self) -> None:
        """When everything is quiet: a process for the next template that has everything imported but the application.
        Python and gevent take longer than many an application, and a reload need not wait for them."""
        if self._spare_wanted and self._fleet.is_settled(time.monotonic()):
            self._spare_wanted = False  # once a generation: if it dies, there is none
            self._spare = self._execute_template()

    def _dismiss_template(self, action: fleet.DismissTemplate) -> None:
        self._close_template(action.generation)

    def _kill_template(self, action: fleet.KillTemplate) -> None:
        process.send_signal(self._template_pids[action.generation], Signals.SIGKILL)

    def _spawn(self, action: fleet.Spawn) -> None:
        ours, theirs = channel.pair()
        self._add_worker(action.slot, ours)
        order = control.Spawn(action.slot, action.generation, action.wary, self._fleet.slots[action.slot].seat)
        self._templates[action.generation].send(order, [theirs])
        self._scoreboard.note_spawn(action.slot, int(time.time()))
        os.close(theirs)  # if the template cannot take it, our end reads end-of-file: the spawn has failed

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
        self._workers[slot] = Channel(fd)
        self._selector.register(self._workers[slot], selectors.EVENT_READ)

    def _drain(self, action: fleet.Drain) -> None:
        self._workers[action.slot].send(control.Drain(action.backlog.value, self.settings.worker_reload_mercy))

    def _interrupt(self, action: fleet.Interrupt) -> None:
        slot = self._fleet.slots[action.slot]
        log.warning("worker %d (generation %d, pid %d): its event loop has not run for %.1f s", slot.number,
                    slot.generation, slot.pid, time.monotonic() - max(slot.heartbeat_s, slot.ready_s))
        if slot.state in HELD_UP:
            self._causes[slot.number] = Cause.HUB
        process.send_signal(slot.pid, Signals.SIGXCPU)

    def _abort(self, action: fleet.Abort) -> None:
        self._end(action.slot, Signals.SIGABRT)

    def _kill(self, action: fleet.Kill) -> None:
        self._end(action.slot, Signals.SIGKILL)

    def _end(self, number: int, signo: Signals) -> None:
        slot = self._fleet.slots[number]
        if self._fleet.mode is not Mode.STOPPING:
            log.error("worker %d (generation %d, pid %d) is overdue: %s", number, slot.generation, slot.pid, signo.name)
        process.send_signal(slot.pid, signo)

    def _abandon(self, action: fleet.Abandon) -> None:
        log.error("worker %d did not start in %g s", action.slot, self.settings.boot_timeout)
        self._close_worker(action.slot)

    def _unlisten(self, action: fleet.Unlisten) -> None:
        """Unlink first: from then on nginx gets a clean refusal, and what has connected before is in the backlog, which
        the workers empty."""
        for opened in self._listeners:
            opened.unlink()
            opened.socket.close()
        self._spare_wanted = False
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
            os.close(self.dumps.pop(slot))

    def _close(self, connection: Channel | None) -> None:
        if connection is not None:
            self._selector.unregister(connection)
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
    fleet.LaunchTemplate: Master._launch_template,
    fleet.DismissTemplate: Master._dismiss_template,
    fleet.KillTemplate: Master._kill_template,
    fleet.Spawn: Master._spawn,
    fleet.Drain: Master._drain,
    fleet.Interrupt: Master._interrupt,
    fleet.Abort: Master._abort,
    fleet.Kill: Master._kill,
    fleet.Abandon: Master._abandon,
    fleet.Unlisten: Master._unlisten,
}
