"""What becomes of a template or a worker that the application forks.

    os.fork, multiprocessing, pty.fork ... -> after_in_child: give up what is wsgid's -> the application's code goes on

Rules
* The child is the greenlet that has forked, alone: as fork(2) copies one thread, and no other.  What waited in the hub
  never wakes up in the child; else the requests of others would be carried out twice.
* The child has none of wsgid's descriptors: no listener, no channel, no visitor's connection.  A connection that two
  processes hold has no end for who reads from it.  Instead of each there is a dead socket under its number, so that no
  object of ours ever writes into what the application opens later.
* gevent works in the child as in any other: the hub is the same object, and sockets of the application's keep working.
* A signal handler of wsgid's goes back to the default; one of the application's stays.
* A child that is to become another program (gevent.subprocess) keeps nothing past execve(2), and is left alone.
* os.register_at_fork cannot be undone: the hooks are registered once, and ask here whose fork it is.
"""

import _socket
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
import greenlet
from gevent import monkey
from gevent._abstract_linkable import AbstractLinkable
from gevent._hub_local import get_hub_if_exists
from gevent._waiter import Waiter
from gevent.hub import get_hub, reinit

from wsgid import log
from wsgid.linux import forked_child, process

_NEVER = object()
_ALL_SIGNALS = signal.valid_signals()
_SETTLE_S = 1.0  # for threads that were told to end
_AGAIN_S = 0.002
_CALLERS_MAX = 12  # frames between gevent.subprocess and our hook

_sleep = monkey.get_original("time", "sleep")
_thread_ident = monkey.get_original("_thread", "get_ident")

_fds: dict[int, tuple[int, int]] = {}  # of wsgid's, that are no sockets of a listener's: which file each is
_names: set[Any] = set()  # of the listeners: what they accept has the same
_farewells: list[Callable[[], None]] = []
_masks: dict[int, set[int]] = {}  # of threads that fork now: which signals they had blocked
_frozen: list[Any] = []  # locks, events and queues of the application's import
_described = "template"
_is_of_wsgid = False  # the fork that goes on now


def watch() -> None:
    """Register the hooks, once, in the process from which all others are forked."""
    os.register_at_fork(before=_before, after_in_parent=_restore_mask, after_in_child=_after_in_child)


def describe(text: str) -> None:
    """Say who forks, for the title and the log lines of a child: 'worker 0'."""
    global _described
    _described = text


def own(fd: int) -> None:
    """Let no child have this descriptor."""
    identity = _identity(fd)
    if identity:
        _fds[fd] = identity


def own_listener(fd: int) -> None:
    """Let no child have this listening socket, nor what is accepted from it."""
    with _borrowed(fd) as listener:
        _names.add(_comparable(listener.getsockname()))


def quiet() -> None:
    """Before the first fork, and before gc.freeze(): let nothing of what the import has started go on by itself.

    The hub stays, for what the import has made belongs to it: sockets, the queues of executors. Each worker tells it
    that there was a fork, as gevent does after its own os.fork.
    """
    hub = get_hub()
    _end_idle_threads(hub)
    _forget_others()
    watcher = _watcher_class(hub)  # after gc.freeze() the collector does not show these any more
    _frozen.extend(one for one in gc.get_objects() if issubclass(type(one), (AbstractLinkable, watcher)))


def _end_idle_threads(hub: Any) -> None:
    """Those of the hub's pool, in which the import has looked up a host."""
    pool = hub._threadpool
    if pool is None:
        return
    for _ in range(pool.size):
        pool.task_queue.put(None)
    deadline_s = time.monotonic() + _SETTLE_S
    while pool.size and time.monotonic() < deadline_s:
        _sleep(_AGAIN_S)


def on_fork(farewell: Callable[[], None]) -> None:
    """Have this called in each child, where the hub does not run."""
    _farewells.append(farewell)


@contextmanager
def of_wsgid() -> Iterator[None]:
    """What is forked here is no child of the application's."""
    global _is_of_wsgid
    _is_of_wsgid = True
    try:
        yield
    finally:
        _is_of_wsgid = False


def _before() -> None:
    """What the streams hold would be written twice. A signal that comes before the handlers are the child's would be
    lost, and with it Process.terminate(): it waits until then."""
    forked_child.flush()
    _masks[_thread_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)


def _restore_mask() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(_thread_ident()))


def _after_in_child() -> None:
    try:
        _begin()
    finally:
        _restore_mask()


def _report(sentence: str, error: BaseException | None) -> None:
    log.error("%s", sentence, exc_info=error)


def _begin() -> None:
    global _is_of_wsgid
    if _is_of_wsgid:
        _is_of_wsgid = False
        _forget_others()  # what hooks before the fork have started lives where they ran
        return
    if forked_child.is_one() or _is_before_exec():
        return
    forked_child.become(_report)
    log.speak_as(f"child of {_described}")
    process.set_title(f"child of {_described}")
    try:
        _forget_tasks()
        _forget_others()
        _give_up_descriptors()
        for farewell in _farewells:
            farewell()
        _reset_signals()
    except BaseException:  # Python would only write it to standard error and go on (PyOS_AfterFork_Child)
        log.error("a process that the application has forked cannot be made its own", exc_info=True)
        os._exit(1)


def _is_before_exec() -> bool:
    """Whether gevent's Popen forks: it executes a program next."""
    frame = sys._getframe()
    for _ in range(_CALLERS_MAX):
        if frame.f_globals.get("__name__") == "gevent.subprocess":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


# --- descriptors ---


def _give_up_descriptors() -> None:
    """Put a dead socket in the place of each: reads find the end there, and writes a peer that has left."""
    # One that was closed meanwhile has left its number to the application.
    owned = {fd for fd, identity in _fds.items() if _identity(fd) == identity}
    given_up = owned | set(_sockets_of_listeners())
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    right.close()
    for fd in given_up:
        os.dup2(left.fileno(), fd, inheritable=False)
    left.close()


def _identity(fd: int) -> tuple[int, int] | None:
    """Which file, socket or memory a descriptor stands for; None if it is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sockets_of_listeners() -> Iterator[int]:
    for fd in process.open_fds():
        with suppress(OSError):  # no socket, or that of the listing itself, which is closed
            with _borrowed(fd) as one:
                if _comparable(one.getsockname()) in _names:
                    yield fd


@contextmanager
def _borrowed(fd: int) -> Iterator[Any]:
    one = _socket.socket(fileno=fd)  # not gevent's, which would make the descriptor non-blocking
    try:
        yield one
    finally:
        one.detach()


def _comparable(name: Any) -> Any:
    """A TCP port: what a listener on all addresses accepts has the address that was asked for."""
    return name[1] if isinstance(name, tuple) else name or _NEVER


# --- gevent ---


def _forget_others() -> None:
    """Stop what the hub waits for, and take who waits out of locks, events and queues, but for this greenlet."""
    hub = get_hub_if_exists()
    if hub is None:
        return
    gevent.os._watched_children.clear()
    for callback in hub.loop._callbacks:
        callback.stop()
    watcher = _watcher_class(hub)
    for one in [*gc.get_objects(), *_frozen]:
        kind = type(one)  # isinstance() would ask __class__, and wake up lazy objects
        if issubclass(kind, watcher):
            _stop(one, hub.loop)
        elif issubclass(kind, Waiter):  # in a queue, say; nobody switches to a greenlet that is None
            one.clear()
        elif issubclass(kind, AbstractLinkable):
            _unlink(one)
    current = greenlet.getcurrent()
    if isinstance(current, gevent.Greenlet):
        current.unlink_all()
    reinit(hub)  # again if gevent does: it is told so twice without harm, and a plain posix.fork does not tell it


def _forget_tasks() -> None:
    """In a thread of gevent's pool: what else waits there is the worker's to do. The thread ends with this task, and
    with it the process."""
    queue = getattr(greenlet.getcurrent(), "_task_queue", None)
    if queue is not None:
        queue._queue.clear()
        queue._queue.append(None)
        queue.unfinished_tasks += 1


def _watcher_class(hub: Any) -> type:
    """Of all watchers of this loop, libev's or libuv's."""
    return next(kind for kind in type(hub.loop.timer(0)).__mro__ if kind.__name__ == "watcher")


def _stop(watcher: Any, loop: Any) -> None:
    if watcher.active and watcher.loop is loop:  # that of a loop which is no more cannot be stopped
        watcher.stop()


def _unlink(linkable: Any) -> None:
    """Take out all that wait: whoever did so before the fork is not here."""
    if not linkable.linkcount():
        return
    for links in gc.get_referents(linkable):
        if isinstance(links, list):
            for link in list(links):
                linkable.unlink(link)


# --- signals ---


def _reset_signals() -> None:
    for signo in signal.valid_signals():
        handler = signal.getsignal(signo)
        if getattr(handler, "__module__", "").startswith("wsgid."):
            signal.signal(signo, signal.default_int_handler if signo == signal.SIGINT else signal.SIG_DFL)
