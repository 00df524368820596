"""A worker: the life of a gevent hub, from its first heartbeat to its last answer.

The dispatcher handles connections. This module handles everything around it: the heartbeat, the master's orders, the
regular round that checks requests and the worker itself, and the ways to its end.
"""

import atexit
import faulthandler
import importlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from gevent.event import Event
from gevent.hub import get_hub

from wsgid import hooks, log
from wsgid.application import forks, late_import, offload_home
from wsgid.application.drivers import DRIVER_WATCH
from wsgid.application.hook_runner import HookRunner
from wsgid.application.uwsgi_api.watch import UWSGI_WATCH
from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.diagnostics.connections import ConnectionTable
from wsgid.diagnostics.queries import AT_ONCE, Queries
from wsgid.errors import ApplicationImportError, ControlError, ExitCode
from wsgid.ipc import messages, stackdump
from wsgid.ipc.channel import Channel
from wsgid.ipc.locks import Locks
from wsgid.ipc.messages import OnDrain
from wsgid.ipc.scoreboard import Word, add
from wsgid.linux import forked_child, memory, signals
from wsgid.linux.filewatch import Watch
from wsgid.log import stdio
from wsgid.log.files import LogFiles
from wsgid.log.stack_text import stack_text
from wsgid.serving import access_log, cleanup, limited
from wsgid.serving.clock import CLOCK
from wsgid.serving.collector import CollectorCount
from wsgid.serving.connection import READ
from wsgid.serving.dispatcher import Dispatcher
from wsgid.serving.draining import HARD_STOP_MARGIN_S, Draining, State
from wsgid.serving.leftovers import Leftovers
from wsgid.serving.pulse import Pulse
from wsgid.serving.recycling import Recycling
from wsgid.serving.rounds import Rounds
from wsgid.serving.stutter import Stutter
from wsgid.serving.timeouts import Timeouts
from wsgid.sockets import certificates
from wsgid.sockets.listen_spec import ListenSocket
from wsgid.wsgi.types import Application

TELL_DROPPED_S = 60.0  # how often dropped output is reported


class Worker:
    """The event loop of a worker.

    Args:
        order: the master's order, with slot, generation and seat.
        settings: the operator's settings.
        application: the WSGI callable.
        listeners: the listening sockets with their protocols.
        channel: to the master.
        line: this worker's words of the scoreboard.
        limits_fd: of the memory of the limits.
        files: the open log files.
        locks: of the server.
    """

    def __init__(
        self,
        order: messages.Spawn,
        settings: Settings,
        application: Application,
        listeners: Sequence[ListenSocket],
        channel: Channel,
        line: memoryview,
        limits_fd: int,
        files: LogFiles,
        locks: Locks,
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._line = line
        self._files = files
        self._access_log = access_log.open_for(settings, order.slot, files.fds)
        self._hub = get_hub()
        self._left = Event()
        permits = limited.begin(settings, order.slot, limits_fd)
        self._dispatcher = Dispatcher(
            settings,
            limited.wrapped(application, settings, permits),
            listeners,
            line,
            self._say_once,
            self._left.set,
            order,
            self._access_log,
            permits,
        )
        self._hooks = HookRunner(locks)
        self._leftovers = Leftovers(self._hub, settings.worker_reload_mercy)
        self._said: set[str] = set()
        self._orders = self._hub.loop.io(channel.fileno(), READ)
        self._postponed: list[tuple[messages.Message, list[int]]] = []  # orders that arrived while the hub was held up
        self._term = self._hub.loop.signal(signal.SIGTERM)
        self._timeouts = Timeouts(settings, self._hub, line, self._answer_held_up)
        self._draining = Draining(self._hub, self._dispatcher, self._timeouts, self._left)
        self._offload_home = offload_home.begin(line)
        self._retirement = Recycling(settings)
        self._connections = ConnectionTable(self._report_connections if settings.metrics else None)
        self._questions = Queries(order.slot, lambda: self._dispatcher.greenlets, self._connections)
        self._tell_dropped_at_s = 0.0
        self._served = 0  # requests, when the worker rested last
        self._modules = Watch(_module_files()) if settings.py_autoreload else None
        # Several beats within the shortest limit, so that a healthy hub never looks stalled.
        self._pulse = Pulse(self._hub.loop, min(settings.hub_warn, settings.hub_timeout_s, 1.0) / 4, self._beat)
        self._stutter = Stutter(line, settings.application, settings.hub_warn, self._say_once)
        self._rounds = Rounds(self._hub.loop, self._look, self._pulse, self._vouch)
        self._collector = CollectorCount(line)

    def run(self) -> None:
        """Run the start hooks, then serve until the worker is told to leave and everything in flight is answered.

        Raises:
            ApplicationImportError: a start hook has raised.
        """
        forks.on_fork(self._in_child)
        DRIVER_WATCH.say_through(self._say_once)
        UWSGI_WATCH.say_through(self._say_once)
        self._hooks.start(self._watch_hook)
        CLOCK.start()
        cleanup.tie_time_outs()
        self._line[Word.HEARTBEAT_NS] = time.monotonic_ns()
        self._pulse.start()
        self._collector.start()
        self._rounds.start()
        signal.signal(signal.SIGXCPU, self._on_stall)
        self._orders.start(self._on_orders)
        self._term.start(self.drain, OnDrain.EMPTY, self._settings.worker_reload_mercy)
        self._dispatcher.open()
        self._channel.send(messages.Ready())
        self._channel.send(messages.Dumps(), [stackdump.prepare()])
        self._connections.start(time.monotonic())
        try:
            self._wait_until_left()
        finally:
            # In a child of the application no greenlet is left to run (LoopExit): the child ends as a process without
            # threads.
            forked_child.end_if_one()
            self._stutter.stop()
            self._pulse.stop()  # what follows has its own limit, and must not count for --hub-timeout
            self._line[Word.HEARTBEAT_NS] = time.monotonic_ns() + HARD_STOP_MARGIN_S * 10**9
            if self._access_log:
                self._access_log.close()

    def _wait_until_left(self) -> None:
        self._survive(self._left.wait)
        self._survive(lambda: self._leftovers.wait(self._draining.mercy_until_s))
        self._survive(lambda: self._hooks.stop(self._draining.mercy_until_s))
        self._questions.close()

    def _watch_hook(self, described: str) -> None:
        """End this process if a start hook takes longer than an import may."""
        late_import.watch(self._report_failure, self._settings.boot_timeout, described)

    def _report_failure(self, error: ApplicationImportError) -> None:
        self._channel.send(messages.BootFailed(str(error)[: messages.LINE_MAX_CHARS], ""))

    def _survive(self, wait: Callable[[], object]) -> None:
        while True:
            try:
                wait()
                return
            # gevent raises these exceptions here, in the main greenlet, if a greenlet of the application does not catch
            # them. In a thread they would only end the thread. They must not end the requests of everybody.
            except (SystemExit, KeyboardInterrupt, SystemError) as error:
                forked_child.end_if_one(error)
                log.error("a greenlet of the application has raised %r; the worker goes on", error)

    def _in_child(self) -> None:
        """Give up what belongs to the worker, in a process that the application has forked."""
        self._dispatcher.serve_nobody()
        self._questions.abandon()
        self._hooks.abandon()
        self._collector.stop()
        self._stutter.abandon()
        stackdump.abandon()

    def _on_stall(self, signo: int, frame: Any) -> None:
        """Handle the master's signal about a stalled hub. The round does not run now, and the worker may soon be
        killed."""
        if self._access_log:
            self._access_log.flush()
        self._timeouts.on_stall(signo, _interrupted(frame))

    def _beat(self, late_s: float) -> None:
        now_ns = time.monotonic_ns()
        CLOCK.look()
        self._line[Word.HELD_US] = int(CLOCK.held_s * 1e6)  # before the heartbeat: the master reads both
        self._line[Word.LAG_US] = int(late_s * 1e6)
        add(self._line, Word.HUB_LATE_US, int(max(late_s, self._stutter.beat(late_s)) * 1e6))
        self._line[Word.HEARTBEAT_NS] = now_ns
        self._rounds.beat()

    def _vouch(self, until_s: float) -> None:
        """The loop rests until then: it runs, although there will be no heartbeat."""
        self._line[Word.HEARTBEAT_NS] = int(until_s * 1e9)
        self._stutter.rest(until_s)

    def _look(self) -> float:
        """Look around, and return until when there is nothing to look after; -inf if this worker must not rest."""
        CLOCK.look()
        self._stutter.look()
        if self._rounds.is_resting:
            self._give_back()
        self._look_around(time.monotonic())
        may_rest = self._draining.state is not State.EMPTYING and self._modules is None
        return min(self._dispatcher.due_s(), self._connections.due_s()) if may_rest else -math.inf

    def _give_back(self) -> None:
        """A busy time is over: what it has freed can be used by other processes."""
        if self._served != self._line[Word.REQUESTS]:
            self._served = self._line[Word.REQUESTS]
            memory.give_back_freed()

    def _look_around(self, now_s: float) -> None:
        """End overdue requests, and check whether this worker should be replaced. Requests pay nothing for it."""
        self._timeouts.end_overdue(self._dispatcher.deadlines, now_s)
        self._dispatcher.trim(now_s)
        self._dispatcher.look_after_parked(now_s)
        self._line[Word.IDLE_GREENLETS] = self._dispatcher.idle_greenlets
        self._connections.look(now_s)
        self._offload_home.show()
        self._print_waiting(now_s)
        DRIVER_WATCH.tell()
        if self._access_log:
            self._access_log.flush()
        reason = self._retirement.reason(now_s, self._line[Word.REQUESTS])
        if reason:
            cause, text = reason
            self._channel.send(messages.Tired(cause, text))
        if self._modules:
            for path, stamp in self._modules.changes():
                self._channel.send(messages.SourceChanged(path, str(stamp)))
            self._modules.add(_module_files())

    def _print_waiting(self, now_s: float) -> None:
        """Write printed text that nobody has read yet, and report dropped lines."""
        stdio.put()
        if now_s >= self._tell_dropped_at_s:
            lines, reason = stdio.dropped()
            if lines:
                self._tell_dropped_at_s = now_s + TELL_DROPPED_S
                log.warning(
                    "dropped %s of standard output and error, which could not be written: %s",
                    counted(lines, "line"),
                    reason,
                )

    def _report_connections(self, counts: dict[str, int]) -> bool:
        """Tell the master how many connections there are. Returns False if the master has not read all messages yet:
        there has to be room for those that matter more."""
        try:
            return not self._channel.unread_bytes() and self._channel.send(messages.Connections(counts))
        except OSError:  # ioctl(2): it is unknown whether there is room
            return False

    def _say_once(self, key: str, text: str) -> None:
        """Let the master log a sentence once for all workers."""
        if key not in self._said:
            self._said.add(key)
            self._channel.send(messages.Notice(key, text[: messages.LINE_MAX_CHARS]))

    # --- leaving ---

    def _on_orders(self) -> None:
        """Follow orders: the channel is readable."""
        self._follow_postponed()
        for received in self._received():
            if received is None:
                self._orphaned()
                return
            self._follow(*received)

    def _received(self) -> Iterator[tuple[messages.Message, list[int]] | None]:
        """Yield the messages in the channel. If descriptors are used up, an order is lost in part, which is logged."""
        while True:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            except ControlError as error:
                log.error("%s: ignored", error)
                continue
            yield received
            if received is None:
                return

    def _follow_postponed(self) -> None:
        while self._postponed:
            self._follow(*self._postponed.pop(0))

    def _follow(self, message: messages.Message, fds: list[int]) -> None:
        match message:
            case messages.Drain(backlog=backlog, mercy_s=mercy_s):
                self.drain(OnDrain(backlog), mercy_s)
            case messages.LendSockets(number=number, spoken=values):
                for fd in fds:
                    forks.own_listener(fd)
                self._dispatcher.take_share(number, [certificates.shared(fd, spec) for fd, spec in zip(fds, values)])
            case messages.ReturnSockets(number=number):
                self._dispatcher.leave_share(number)
            case messages.Question(kind=kind, arguments=arguments):
                self._questions.take(kind, arguments, fds[0])
            case messages.Reopen(names=names):
                self._reopen(names, fds)
            case messages.Lead(leads=leads, vacant_s=vacant_s):
                self._hooks.lead(leads, vacant_s)

    def _answer_held_up(self, frame: FrameType | None) -> bool:
        """Answer questions in the signal handler, while the hub is held up at `frame`. Other messages are postponed.
        Returns whether there was a question."""
        answered = False
        for received in self._received():
            if received is None:  # the hub will see the end of the channel itself
                break
            message, fds = received
            if isinstance(message, messages.Question) and message.kind in AT_ONCE:
                self._questions.answer_held_up(message.kind, message.arguments, fds[0], frame)
                answered = True
            else:
                self._postponed.append(received)
        if self._postponed:
            self._hub.loop.run_callback(self._follow_postponed)
        return answered

    def _reopen(self, names: Sequence[str], fds: Sequence[int]) -> None:
        if self._access_log:
            self._access_log.flush()  # lines from before the rotation belong into the old file
        self._files.replace(names, fds)

    def _orphaned(self) -> None:
        """The master is gone: answer what is in flight, and release the address for the next master."""
        mercy_s = self._settings.worker_reload_mercy
        log.error("the master is gone: finishing the requests in flight, at most %g s", mercy_s)
        self._orders.stop()
        self._hooks.rest()
        self._draining.begin_as_orphan(mercy_s)

    def drain(self, backlog: OnDrain, mercy_s: float) -> None:
        """Leave as soon as everything is answered (serving/draining.py)."""
        self._hooks.rest()
        self._draining.begin(backlog, mercy_s)

    def mercy_left_s(self) -> float:
        """Return how much of the mercy time was not needed. Valid after the worker has left."""
        return self._draining.mercy_until_s - time.monotonic()


def _module_files() -> list[str]:
    return [path for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))]


def run(
    order: messages.Spawn,
    settings: Settings,
    load: Callable[[], Application],
    listeners: Sequence[ListenSocket],
    channel: Channel,
    line: memoryview,
    limits_fd: int,
    files: LogFiles,
    locks: Locks,
) -> ExitCode:
    """Be a worker: the whole life of a freshly forked process.

    Args:
        order: the master's order.
        load: returns the application; with --lazy-apps it imports the application.

    Raises:
        ApplicationImportError: raised by `load`, or by a start hook.
    """
    hooks.become_worker(order.seat, order.slot)
    if not settings.lazy_apps:
        signals.ignore(signal.SIGXCPU)  # until there is a hub to report on
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is in flight yet, and an import may take long
    application = load()
    if settings.uwsgi_module:
        importlib.import_module("wsgid.application.uwsgi_api.module").enter_worker(locks)
    # The application may have changed this. A write to a closed peer must fail with an error, and not end the worker.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    made = Worker(order, settings, application, listeners, channel, line, limits_fd, files, locks)
    made.run()
    _run_atexit(max(math.ceil(made.mercy_left_s()), HARD_STOP_MARGIN_S))
    return ExitCode.OK


def _interrupted(frame: FrameType | None) -> FrameType | None:
    """Return where the worker was interrupted, also if the signal has interrupted its own handler."""
    interrupted = frame
    while frame is not None:
        if frame.f_code is Worker._on_stall.__code__:
            interrupted = frame.f_back
        frame = frame.f_back
    return interrupted


def _run_atexit(limit_s: int) -> None:
    """Run what the application has registered with atexit, but at most `limit_s` seconds."""

    def end(_signo: int, frame: FrameType | None) -> None:
        log.error(
            "functions that are registered with atexit have not ended within %d s and are cut; one is here:",
            limit_s,
            extra={"traceback": stack_text(frame)},
        )
        forked_child.flush()
        os._exit(ExitCode.OK)

    signal.signal(signal.SIGALRM, end)
    signal.alarm(limit_s)
    faulthandler.dump_traceback_later(limit_s + HARD_STOP_MARGIN_S, exit=True)  # for code that runs no Python handler
    atexit._run_exitfuncs()
