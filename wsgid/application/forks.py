"""Processes that the application forks from a template or a worker.

    os.fork, multiprocessing, pty.fork ... -> after_in_child: give up what belongs to wsgid -> the application's code

Rules
* In the child only the greenlet that has forked goes on, as fork(2) copies only one thread.  Other greenlets never wake
  up there; otherwise their requests would be served twice.
* The child has none of wsgid's descriptors: no listener, no channel, no connection of a visitor.  If two processes held
  a connection, the peer would not see its end.  A dead socket takes the number of each descriptor, so that no object of
  wsgid ever writes to a file that the application opens later.
* gevent works in the child as usual: the hub is the same object, and the application's sockets keep working.
* Signal handlers of wsgid are reset to the default; handlers of the application stay.
* A child that only executes another program (gevent.subprocess) is left alone: it keeps nothing past execve(2).
* Hooks of os.register_at_fork cannot be removed. They are registered once, and check whose fork it is.
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
_SETTLE_S = 1.0  # for threads that were asked to end
_AGAIN_S = 0.002
_CALLERS_MAX = 12  # frames between gevent.subprocess and our hook

_sleep = monkey.get_original("time", "sleep")
_thread_ident = monkey.get_original("_thread", "get_ident")

_main_thread_ident = _thread_ident()  # wsgid's processes import this module in their main thread
_fds: dict[int, tuple[int, int]] = {}  # descriptors of wsgid, except sockets of listeners, and their files
_names: set[Any] = set()  # the addresses of the listeners; accepted connections have the same
_farewells: list[Callable[[], None]] = []
_masks: dict[int, set[int]] = {}  # for each thread that forks now: the signals that it had blocked
_frozen: list[Any] = []  # locks, events and queues of all imports
_described = "template"
_is_of_wsgid = False  # whether wsgid itself forks now


def watch() -> None:
    """Register the hooks, once, in the process from which all others are forked."""
    os.register_at_fork(before=_before, after_in_parent=_restore_mask, after_in_child=_after_in_child)


def describe(text: str) -> None:
    """Set the name of this process, for title and log lines of its children: 'worker 0'."""
    global _described
    _described = text


def own(fd: int) -> None:
    """Mark a descriptor: children do not get it."""
    identity = _identity(fd)
    if identity:
        _fds[fd] = identity


def own_listener(fd: int) -> None:
    """Mark a listening socket: children get neither this socket nor connections that are accepted from it."""
    with _borrowed(fd) as listener:
        _names.add(_comparable(listener.getsockname()))


def is_of_listener(name: Any) -> bool:
    """Whether a socket with this name of its own is a listener of wsgid, or was accepted from one. For TCP only the
    port counts: the kernel gives the port of a listener to no connection that goes out (__inet_hash_connect)."""
    return _comparable(name) in _names


def quiet() -> None:
    """Stop everything that the import has started in the hub. Called before the first fork and before gc.freeze().

    The hub itself stays, because objects of the import belong to it: sockets, queues of executors. Each worker tells
    the hub about the fork, as gevent does after its own os.fork.
    """
    hub = get_hub()
    _end_idle_threads(hub)
    _forget_others()
    watcher = _watcher_class(hub)  # after gc.freeze() the collector does not list these objects
    _frozen.extend(
        candidate for candidate in gc.get_objects() if issubclass(type(candidate), (AbstractLinkable, watcher))
    )


def remember_locks() -> None:
    """Remember the locks that exist by now: those of the standard library. Called before gc.freeze(): after it, the
    collector does not list them."""
    _frozen.extend(candidate for candidate in gc.get_objects() if issubclass(type(candidate), AbstractLinkable))


def _end_idle_threads(hub: Any) -> None:
    """End idle threads of the hub's pool. The import may have started them, for example to look up a host."""
    pool = hub._threadpool
    if pool is None:
        return
    for _ in range(pool.size):
        pool.task_queue.put(None)
    deadline_s = time.monotonic() + _SETTLE_S
    while pool.size and time.monotonic() < deadline_s:
        _sleep(_AGAIN_S)


def on_fork(farewell: Callable[[], None]) -> None:
    """Call this function in each child. The hub does not run there.

    Args:
        farewell: gives up what belongs to wsgid.
    """
    _farewells.append(farewell)


@contextmanager
def of_wsgid() -> Iterator[None]:
    """While this context lasts, a fork is wsgid's own and makes no child of the application."""
    global _is_of_wsgid
    _is_of_wsgid = True
    try:
        yield
    finally:
        _is_of_wsgid = False


def _before() -> None:
    """Flush the streams, otherwise the child would write the same text again. Block signals: a signal that arrived
    before the child has its own handlers would be lost, and Process.terminate() with it."""
    forked_child.flush()
    if not _is_of_wsgid:
        _await_children()
    _masks[_thread_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)


def _await_children() -> None:
    """Have gevent handle SIGCHLD before the fork, as its subprocess module does. Its os.fork does so after the fork: of
    a child that has ended until then, os.waitpid would never hear."""
    hub = get_hub_if_exists()
    if hub is None and _thread_ident() == _main_thread_ident:
        hub = get_hub()  # os.fork makes it anyway, a moment later
    if hub is not None and hub.loop.default:  # in a thread, gevent watches no children
        hub.loop.install_sigchld()


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
        _forget_others()  # greenlets that hooks have started before the fork live in the parent
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
    except BaseException:  # Python would print the exception and go on (PyOS_AfterFork_Child)
        log.error("a process that the application has forked cannot give up what belongs to wsgid", exc_info=True)
        os._exit(1)


def _is_before_exec() -> bool:
    """Whether gevent's Popen forks. Its child executes a program next."""
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
    """Put a dead socket in the place of each descriptor: a read finds end-of-file, a write finds that the peer has
    left."""
    # A descriptor that was closed meanwhile has left its number to the application.
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
        with suppress(OSError):  # not a socket, or the descriptor of the listing itself, which is closed
            with _borrowed(fd) as borrowed:
                if _comparable(borrowed.getsockname()) in _names:
                    yield fd


@contextmanager
def _borrowed(fd: int) -> Iterator[Any]:
    borrowed = _socket.socket(fileno=fd)  # not gevent's class, which would make the descriptor non-blocking
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _comparable(name: Any) -> Any:
    """Return a comparable form of an address. For TCP only the port counts: a connection to a listener on all
    interfaces has the address that the client has asked for."""
    return name[1] if isinstance(name, tuple) else name or _NEVER


# --- gevent ---


def _forget_others() -> None:
    """Stop all watchers of the hub. Remove all waiting greenlets, except this one, from locks, events and queues."""
    hub = get_hub_if_exists()
    if hub is None:
        return
    gevent.os._watched_children.clear()
    for callback in hub.loop._callbacks:
        callback.stop()
    watcher = _watcher_class(hub)
    for candidate in [*gc.get_objects(), *_frozen]:
        kind = type(candidate)  # isinstance() would ask __class__, which wakes up lazy objects
        if issubclass(kind, watcher):
            _stop(candidate, hub.loop)
        elif issubclass(kind, Waiter):  # for example in a queue; nobody switches to a waiter without a greenlet
            candidate.clear()
        elif issubclass(kind, AbstractLinkable):
            _unlink(candidate)
    current = greenlet.getcurrent()
    if isinstance(current, gevent.Greenlet):
        current.unlink_all()
    reinit(hub)  # gevent may do the same later: twice does no harm. A plain posix.fork does not do it


def _forget_tasks() -> None:
    """Drop all other tasks of this thread of gevent's pool: they are the worker's. The thread ends after the present
    task, and the process with it."""
    queue = getattr(greenlet.getcurrent(), "_task_queue", None)
    if queue is not None:
        queue._queue.clear()
        queue._queue.append(None)
        queue.unfinished_tasks += 1


def _watcher_class(hub: Any) -> type:
    """Return the base class of all watchers of this loop: libev's or libuv's."""
    return next(kind for kind in type(hub.loop.timer(0)).__mro__ if kind.__name__ == "watcher")


def _stop(watcher: Any, loop: Any) -> None:
    if watcher.active and watcher.loop is loop:  # a watcher of a destroyed loop cannot be stopped
        watcher.stop()


def _unlink(linkable: Any) -> None:
    """Remove all waiting callbacks: their greenlets do not exist in this process."""
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
