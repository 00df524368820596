"""The master: wait, reap, decode, apply the plan.

Rules
* The master is simple: the standard library only, no gevent, no thread, nothing of the application.
  supervisor/fleet.py decides what has to happen. Other objects of supervisor/ carry it out, and each owns what it
  changes.
* There is one place to wait: a selector with the signal pipe and all channels. Its time-out is the fleet's next
  deadline.
* A turn takes in this order: signals, then ended processes (waitpid), then all channels; then the deaths are applied.
  What a process has sent before its end is in its channel by the time it can be reaped, so nothing is missed.
* A refusal of the kernel ends neither the master nor the rest of a turn (supervisor/retry.py).  If a refusal has
  consequences, the fleet or an Again is told. A Net is under all parts of a turn.
"""

import os
import pwd
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any, NamedTuple

from wsgid import log
from wsgid.admin.endpoints import open_endpoints, open_fifos
from wsgid.admin.server import Admin
from wsgid.admin.snapshot import Processes, Snapshot, WorkerView, take_snapshot, take_worker
from wsgid.config.merge import Configuration
from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.errors import ConfigError, ExitCode
from wsgid.ipc import messages, peer_counts, scoreboard
from wsgid.limits.ledger import KeyView, Ledger
from wsgid.linux import file_pages, memory, process
from wsgid.linux.filewatch import Watch
from wsgid.linux.signals import SignalPipe
from wsgid.log import files as log_files
from wsgid.log import stdio
from wsgid.log.files import LogFiles
from wsgid.records import replace
from wsgid.supervisor import actions, pidfile, upgrade
from wsgid.supervisor.announcement import announce
from wsgid.supervisor.attached import AttachedDaemons
from wsgid.supervisor.boot_failures import BootFailures
from wsgid.supervisor.child_messages import ChildMessages
from wsgid.supervisor.children import Children
from wsgid.supervisor.deaths import Deaths
from wsgid.supervisor.executor import Executor
from wsgid.supervisor.fleet import Deadlines, Fleet, Mode
from wsgid.supervisor.leader import Leader
from wsgid.supervisor.listeners import Listeners
from wsgid.supervisor.load_watch import LoadWatch, initial_workers
from wsgid.supervisor.rehearsal import Rehearsal
from wsgid.supervisor.retry import Net
from wsgid.supervisor.slots import SlotState
from wsgid.supervisor.systemd import Notifier
from wsgid.supervisor.upgrade import Handover, Start
from wsgid.supervisor.worker_watch import WorkerWatch

_LAST_WORDS_S = 1.0  # how long printed text waits for its reader at the end


def run(configuration: Configuration, start: Start) -> ExitCode:
    """Serve until told to stop. Returns the exit code.

    Args:
        configuration: the operator's options.
        start: how to start this program again.

    Raises:
        BootError: a socket cannot be opened, or an option does not fit this machine.
    """
    settings = configuration.settings
    signals = SignalPipe([*SIGNAL_ORDERS, Signals.SIGCHLD])
    files = _set_up_process(settings)
    if settings.cache:
        configuration = _with_cache_files(configuration)
        settings = configuration.settings
    handover = upgrade.take_over(os.environ)
    listeners = Listeners.open(settings, handover.listeners if handover else ())
    is_up = handover is None  # a new image leaves the sockets alone until it has started
    try:
        if settings.pidfile:
            pidfile.write(settings.pidfile, serves=handover is not None)
        process.become_subreaper()
        announce(settings, listeners.opened)
        master = Master(configuration, start, listeners, files, signals, handover)
        upgrade.arrive(os.environ)
        is_up = True
        signals.release()
        try:
            return master.run()
        finally:
            master.admin.close()
    finally:
        if is_up:
            listeners.unlink()
            _remove_cache_files(settings)
        if settings.pidfile and is_up:
            pidfile.remove(settings.pidfile)
        stdio.end(_LAST_WORDS_S)


def _give_back() -> None:
    """The first worker serves: give back the memory that only the start has needed (docs/decisions/047)."""
    file_pages.release()
    memory.give_back_freed(0)


def _with_cache_files(configuration: Configuration) -> Configuration:
    """Make the files of --cache. Returns the options with their paths. Raises ConfigError."""
    from wsgid.cache import files as cache_files  # only for sites with a cache

    settings = configuration.settings
    made = cache_files.prepare(settings.cache, settings.uid, settings.gid)
    return replace(configuration, settings=replace(settings, cache=made))


def _remove_cache_files(settings: Settings) -> None:
    if settings.cache:
        from wsgid.cache import files as cache_files

        cache_files.finish(settings.cache)


def _set_up_process(settings: Settings) -> LogFiles:
    """Give this process its log, umask and title. Raises ConfigError."""
    stdio.install()
    if settings.umask >= 0:
        os.umask(settings.umask)
    log.speak_as("master")
    _limit_open_files(settings.max_fd)
    _limit_address_space(settings.limit_as)
    process.begin_titles_with(settings.procname_prefix)
    process.set_title(f"master [{settings.application_name}]")
    files = LogFiles.open(settings.log_path, log_files.paths(settings.logger, settings.access_log), _group(settings))
    log.set_up(settings.log_level, settings.log_json, settings.logger, files.fds)
    return files


def _group(settings: Settings) -> int:
    """Return the group with which the application runs; -1 for the master's."""
    if settings.gid >= 0 or settings.uid < 0:
        return settings.gid
    try:
        return pwd.getpwuid(settings.uid).pw_gid
    except KeyError:
        return -1


def _limit_open_files(count: int) -> None:
    """The server can do with fewer files than --max-fd, so a refusal is only logged."""
    try:
        process.limit_open_files(count)
    except (OSError, ValueError) as error:
        log.warning("--max-fd %d cannot be set: %s; raise LimitNOFILE= of the unit, or ulimit -n", count, error)


def _limit_address_space(megabytes: int) -> None:
    """Raises ConfigError: a larger limit cannot be left out in silence, because the operator counts on it."""
    try:
        process.limit_address_space(megabytes << 20)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--limit-as {megabytes} cannot be set: {error}; raise LimitAS= of the unit, or ulimit -v"
        ) from None


class Master:
    """Has the objects of the supervisor, waits for events, and takes the operator's orders.

    Args:
        configuration: the operator's options.
        start: how to start this program again.
        listeners: open; the caller unlinks them at the end in any case.
        files: the open log files.
        signals: set up before anything that a signal would leave behind.
        handover: what the image before SIGUSR2 has left.
    """

    def __init__(
        self,
        configuration: Configuration,
        start: Start,
        listeners: Listeners,
        files: LogFiles,
        signals: SignalPipe,
        handover: Handover | None,
    ) -> None:
        self.settings = settings = configuration.settings
        self.sources = configuration.sources()
        self._start = start
        self._listeners = listeners
        self._files = files
        self._signals = signals
        self._started_s = time.time()
        self._interrupts = 0
        self._net = Net()
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._touched = Watch(settings.touch_reload)
        self._rotated = Watch(settings.touch_logreopen)
        self._scoreboard = scoreboard.keep_or_create(*handover.scoreboard_fds() if handover else ())
        self._ledger = Ledger.keep_or_create(handover.limits_fd if handover else -1, settings.limit_keys)
        deadlines = Deadlines(
            settings.boot_timeout, settings.worker_reload_mercy, settings.hub_timeout_s, settings.hub_warn
        )
        running = len(handover.workers) if handover else 0
        self._fleet = Fleet(initial_workers(settings, running), deadlines)
        self._make_supervisor()
        self._load_watch = LoadWatch(settings, self._fleet, self._scoreboard, listeners)
        self._attached = AttachedDaemons(
            settings, Path(start.directory, settings.chdir), dict(handover.daemons) if handover else {}
        )
        self._notifier = Notifier(os.environ, self._scoreboard.in_flight, handover is not None)
        listeners.grow(self._fleet.target)  # after SIGUSR2 there may be fewer sockets than --workers needs now
        self._fifos = open_fifos(self, self._selector, dict(handover.fifos) if handover else {})
        self.admin = Admin(self._selector, open_endpoints(self, listeners.opened), self._fifos)
        for worker in handover.workers if handover else ():
            self._fleet.adopt(worker.slot, worker.generation, worker.pid, time.monotonic())
            self._children.adopt(worker)
        self._leader.take_over(self._fleet.of_state(SlotState.READY))
        if handover:  # in a new scoreboard, reading all slots would only make the kernel allocate them
            self._fleet.recall(self._scoreboard.slots_used())

    def _make_supervisor(self) -> None:
        settings, plan, counters = self.settings, self._fleet, self._scoreboard
        site = Path(self._start.directory, settings.chdir)
        self._children = children = Children(settings, self._selector, self._net)
        self._leader = Leader(children.order)
        self._failures = failures = BootFailures(plan)
        self._rehearsal = rehearsal = Rehearsal(self._start, plan, self._upgrade)
        self._deaths = deaths = Deaths(plan, children, rehearsal, counters, failures, self._ledger)
        self._worker_watch = WorkerWatch(plan, counters, deaths, settings.evil_reload_on_rss)
        self._messages = ChildMessages(settings, plan, children, rehearsal, deaths, failures, self._net)
        self._executor = Executor(
            settings, site, plan, children, self._listeners, counters, self._files, deaths, failures, self._ledger
        )

    # --- the turn ---

    def run(self) -> ExitCode:
        """Take turns until the end. Returns the exit code."""
        code, is_settled = None, False
        while code is None:
            with self._net.under("a turn of the master"):
                code = self._turn()
            if self._fleet.proven and not is_settled:
                is_settled = True
                with self._net.under("the memory that the start has left"):
                    _give_back()
            self._net.rest()
        log.info("wsgid stops with code %d", code)
        return code

    def _turn(self) -> ExitCode | None:
        """Do what is due, wait, and take in what has happened. Returns the exit code at the end."""
        now_s = time.monotonic()
        self._worker_watch.read_heartbeats()
        with self._net.under("the look at the load"):
            self._load_watch.turn(now_s)
        with self._net.under("the check of files and memory"):
            self._check_files_and_memory(now_s)
        for action in self._fleet.plan(now_s):
            if isinstance(action, actions.Exit):
                self._attached.end(self._is_hurried)
                return action.code
            log.debug("the plan says %s", action)
            with self._net.under(f"the plan's {type(action).__name__}"):
                self._executor.carry_out(action)
        if self._fleet.mode is Mode.RUNNING:
            with self._net.under("the daemons beside the workers"):
                serves = bool(self._fleet.of_state(SlotState.READY))
                self._attached.turn(now_s, serves, self._fleet.templates.wanted_generation)
        with self._net.under("what systemd is told"):
            self._notifier.turn(self._fleet, now_s)
        with self._net.under("the choice of the worker that leads"):
            self._leader.turn(self._fleet.slots, now_s)
        stdio.put()
        self._lend_sockets()
        next_s = min(
            self._fleet.next_plan_s(now_s),
            self.admin.next_turn_s(),
            self._notifier.next_turn_s(),
            self._rehearsal.next_turn_s(),
            self._attached.next_turn_s(now_s),
            self._load_watch.next_turn_s(),
        )
        with self._net.under("the wait for news"):
            self._selector.select(max(next_s - time.monotonic(), 0))
        self._take_in()
        return None

    def _take_in(self) -> None:
        """Take in what has happened, in the order of the rules above."""
        for signo in self._arrived():
            if signo in SIGNAL_ORDERS:
                with self._net.under(signo.name):
                    SIGNAL_ORDERS[signo].follow(self, signo)
        dead = self._reap()
        self._children.spare.read()
        for generation, template in list(self._children.templates.items()):
            with self._net.under(f"the messages of template {generation}"):
                template.flush()
                self._messages.read_template(generation)
        for slot, worker in list(self._children.workers.items()):
            with self._net.under(f"the messages of worker {slot}"):
                worker.flush()
                self._messages.read_worker(slot)
        for ended in dead:
            with self._net.under(f"the end of process {ended.pid}"):
                if not self._attached.reaped(ended.pid, ended.status, time.monotonic()):
                    self._deaths.reaped(*ended)
        self._lend_sockets()  # before the plan, which may close our sockets
        with self._net.under("the endpoints"):
            self.admin.turn(time.monotonic())

    def _is_hurried(self) -> bool:
        """Whether the operator does not want to wait for the daemons: QUIT, or a second INT."""
        arrived = self._arrived()
        self._interrupts += arrived.count(Signals.SIGINT)
        return self._fleet.mode is Mode.STOPPING or Signals.SIGQUIT in arrived or self._interrupts > 1

    def _arrived(self) -> list[Signals]:
        with self._net.under("the signals"):
            return self._signals.read()
        return []

    def _reap(self) -> list[process.Ended]:
        """Return the processes that have ended. Asked in each turn: SIGCHLD coalesces, and wait4(2) may be refused
        once."""
        dead: list[process.Ended] = []
        with self._net.under("the question who has ended"):
            for ended in process.reap():
                dead.append(ended)
        return dead

    def _lend_sockets(self) -> None:
        """With --reuse-port: make sure that each socket has a worker."""
        if self._fleet.listening:
            serving = {slot.number: slot.seat for slot in self._fleet.of_state(SlotState.READY)}
            self._listeners.lend({worker: serving.get(slot) for slot, worker in self._children.workers.items()})

    def _check_files_and_memory(self, now_s: float) -> None:
        """Check what nobody reports: touched files, workers that have grown too much, times that have come."""
        self._children.spare.prepare(self._fleet, now_s)
        self._rehearsal.turn(now_s)
        for path, _ in self._touched.changes():
            log.info("%s has changed: reloading the application", path)
            self._fleet.templates.request_reload()
        for path, _ in self._rotated.changes():
            self.reopen_logs(f"{path} has changed")
        self._worker_watch.kill_the_large()

    # --- signals ---

    def _on_stop(self, signo: Signals) -> None:
        """TERM and INT: stop gracefully, after --shutdown-delay. A second INT: stop now."""
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

    def _on_upgrade(self, signo: Signals) -> None:
        self._rehearsal.request(signo.name)

    def _upgrade(self) -> None:
        """Become the new image. Raises OSError if the kernel refuses; then everything is as it was."""
        running = self._fleet.of_state(SlotState.READY, SlotState.STALLED)
        handover = Handover(
            self._scoreboard.fd,
            self._scoreboard.past_fd,
            self._listeners.held(),
            self._children.held_workers(running),
            tuple((fifo.path, fifo.fd) for fifo in self._fifos),
            daemons=self._attached.pids(),
            limits_fd=self._ledger.fd,
        )
        try:
            self._signals.hold()
            self._start.execute(handover, self._notifier.variables)
        finally:
            self._signals.release()

    # --- orders of an operator, from any source (admin.commands.Operator) ---

    def snapshot(self) -> Snapshot:
        """Return the present state of the server."""
        return take_snapshot(
            self.settings,
            self._fleet,
            self._scoreboard,
            self._listeners.opened,
            self._started_s,
            Processes(
                self._children.template_pids,
                self._children.spare.pid,
                self._failures.last,
                peer_counts.added(self._children.connections.values()),
                tuple(self._attached.daemons),
            ),
            self._ledger,
        )

    def worker(self, slot: int) -> WorkerView | None:
        """Return the worker in a slot; see admin.commands.Operator."""
        return take_worker(self._fleet, self._scoreboard, slot)

    def limit_keys(self, most: int) -> list[KeyView]:
        """Return the top keys of the limits; see admin.commands.Operator."""
        return self._ledger.top_keys(most)

    def stop(self, who: str) -> None:
        """Stop gracefully, after --shutdown-delay."""
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
        """Stop now."""
        log.info("%s: wsgid stops now", who)
        self._fleet.request_end()

    def reload(self, who: str) -> str:
        """Start a reload. Returns a warning; empty if there is none."""
        log.info("%s: reloading the application", who)
        self._fleet.templates.request_reload()
        now = self._start.replaced_by()
        if not now:
            return ""
        warning = (
            f"{self._start.command} is {now} now: a reload keeps the packages of {sys.prefix}; "
            "SIGUSR2 takes the new ones"
        )
        log.warning("%s: %s", who, warning)
        return warning

    def resize(self, workers: int, who: str) -> None:
        """Change the number of workers: from 1 to half of the slots. The other half is for replacements."""
        self._fleet.target = min(max(workers, 1), scoreboard.SLOTS_MAX // 2)
        self._load_watch.set(self._fleet.target)
        log.info("%s: %s from now on", who, counted(self._fleet.target, "worker"))
        self._listeners.grow(self._fleet.target)

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Pass a question to a worker; see admin.commands.Operator."""
        return self._children.ask(slot, kind, arguments, fd)

    def dump_fd(self, slot: int) -> int | None:
        """Return the memfd of a worker; see admin.commands.Operator."""
        return self._children.dumps.get(slot)

    def reopen_logs(self, who: str) -> bool:
        """After a log rotation: open all log files again, here and, by their descriptors, in all processes. Returns
        whether there is a log file."""
        held = self._files.held()
        if not held:
            log.warning("%s: there is no log to reopen; --logto, --logger file: or --access-log name one", who)
            return False
        for trouble in self._files.reopen():
            log.error("%s: %s; the old file stays in use", who, trouble)
        log.info("%s: the log is reopened", who)
        self._children.order_all(messages.Reopen(list(held)), list(held.values()))
        return True


class SignalOrder(NamedTuple):
    """What a signal to the master orders. docs/signals.md is written from these sentences."""

    follow: Callable[[Master, Signals], None]
    effect: str


_STOP = (
    "Stop gracefully, after `--shutdown-delay`: unlink the sockets, empty the backlog, finish the requests in flight, "
    "and exit with 0."
)
SIGNAL_ORDERS: dict[Signals, SignalOrder] = {
    signal.SIGTERM: SignalOrder(Master._on_stop, _STOP),
    signal.SIGINT: SignalOrder(Master._on_stop, f"{_STOP} A second INT stops now."),
    signal.SIGQUIT: SignalOrder(Master._on_quit, "Stop now. Requests in flight are lost."),
    signal.SIGHUP: SignalOrder(
        Master._on_reload,
        "Reload, worker by worker: new workers with the present code of the application replace the old ones.",
    ),
    signal.SIGTTIN: SignalOrder(Master._on_resize, "One worker more."),
    signal.SIGTTOU: SignalOrder(Master._on_resize, "One worker fewer."),
    signal.SIGUSR1: SignalOrder(Master._on_reopen, "Reopen all log files, in all processes."),
    signal.SIGUSR2: SignalOrder(
        Master._on_upgrade,
        "Upgrade, worker by worker: the master executes itself, with the same pid and the same sockets. wsgid may be a "
        "new version, and options are read again from their files. First a rehearsal imports the application "
        "(`--check`). Then the workers are replaced one by one.",
    ),
}
