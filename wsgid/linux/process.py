"""Processes as the kernel knows them: fork, exec, reap, titles, exit statuses in words.

Rules
* waitpid comes from `posix`, the C module: in a patched process that of `os` is gevent's, which creates a hub
  with child watchers in whoever calls it.
* waitpid is the only truth about who lives.
"""

import ctypes
import os
import posix
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from typing import NoReturn

import setproctitle

from wsgid.linux.signals import STOP_SIGNALS

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_UNDISTURBED_S = 60.0
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
# Both keep the interpreter's lock: between a fork and PyOS_AfterFork_Child no other thread is there to give it back.
_libc, _python = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi


def become_subreaper() -> None:
    """Orphans of our descendants become our children (prctl(2), PR_SET_CHILD_SUBREAPER): so the master can wait for
    workers that the template has forked, and reaps what an application leaves behind.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def spawn(argv: list[str], environ: Mapping[str, str], inherit_fd: int) -> int:
    """Start a program that inherits exactly `inherit_fd` beside the standard three. Returns its pid.

    What whoever started us has done to signals (nohup, a shell's trap, a block) does not reach it: all have their
    defaults.  Those of the terminal and the service manager are blocked until it says what they mean.
    """
    os.set_inheritable(inherit_fd, True)
    try:
        return os.posix_spawn(argv[0], argv, environ, setsigmask=STOP_SIGNALS, setsigdef=_DEFAULTED)
    finally:
        os.set_inheritable(inherit_fd, False)


def double_fork(child: Callable[[], None]) -> None:
    """Run `child` in a grandchild, whose parent is gone at once: it then belongs to the subreaper.

    `child` must not return; if it does, or raises, the process ends with status 1.

    Hooks of os.register_at_fork run once, as around one fork: `before` and `after_in_parent` here, `after_in_child` in
    the grandchild. So both forks are libc's, which runs what is registered with pthread_atfork(3), and Python is told
    by the functions that are there for it (Python/C API, PyOS_BeforeFork).

    Raises:
        OSError: fork(2) was refused, here or in the process between.
    """
    with _undisturbed() as interval_s:
        _python.PyOS_BeforeFork()
        middle = _libc.fork()
        if middle == 0:
            _be_middle(child, interval_s)
        code = ctypes.get_errno()
        _python.PyOS_AfterFork_Parent()
    if middle < 0:
        raise OSError(code, os.strerror(code))
    _, status = posix.waitpid(middle, 0)
    if os.WIFEXITED(status) and status != 0:  # with what has kept it from forking
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, os.strerror(code))
    if status != 0:
        raise OSError(f"the second fork failed: {status_in_words(status)}")


@contextmanager
def _undisturbed() -> Iterator[float]:
    """Let no other thread ask for the interpreter's lock: a forked process that found such a wish in its memory would
    wait for a thread that it does not have. Gives the switch interval that there was before."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_UNDISTURBED_S)
    try:
        if len(sys._current_frames()) > 1:
            ctypes.CDLL(None).usleep(int(2e6 * interval_s))  # who waits already does so by the old interval
        yield interval_s
    finally:
        sys.setswitchinterval(interval_s)


def _be_middle(child: Callable[[], None], interval_s: float) -> NoReturn:
    """Fork again and end. Nothing more: Python does not know yet that there was a fork."""
    status, middle = 1, _libc.getpid()
    try:
        worker = _libc.fork()
        if worker == 0:
            _python.PyOS_AfterFork_Child()
            # The master signals its own children alone (send_signal): be one before the first message says who we are.
            while os.getppid() == middle:
                os.sched_yield()
            sys.setswitchinterval(interval_s)
            child()
        status = 0 if worker > 0 else ctypes.get_errno() or 1
    finally:
        os._exit(status)


def open_fds() -> list[int]:
    """The descriptors of this process, and one more that is closed by now; none where there is no /proc to say so."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []


def close_inherited(named: Collection[int]) -> None:
    """Close the descriptors that this process was started with and that nobody has named: no child shall have them.

    Python opens its own descriptors close-on-exec (PEP 446), so the others are inherited.

    Args:
        named: those that stay open, beside the standard three.
    """
    for fd in open_fds():
        if fd > 2 and fd not in named:
            with suppress(OSError):
                if os.get_inheritable(fd):
                    os.close(fd)


def reap() -> Iterator[tuple[int, int]]:
    """All children that have ended, as (pid, wait status). SIGCHLD coalesces, so ask until there is none.

    Raises:
        OSError: waitpid(2) was refused otherwise; what was given before is right.
    """
    while True:
        try:
            pid, status = posix.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def status_in_words(status: int) -> str:
    """A wait status as the operator says it: 'exited with code 3', 'was killed by SIGKILL'."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:  # real-time signals have no names
            name = f"signal {number}"
        return f"was killed by {name}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"


def is_child(pid: int) -> bool:
    """Whether a process is a child of this process that nobody has reaped yet (waitid(2), WNOWAIT).

    The kernel gives the pid of such a child to nobody else, and this process alone can reap it. So the answer holds
    until this process calls waitpid: a signal that is sent after this check cannot meet a stranger.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def send_signal(pid: int, signo: int) -> None:
    """Signal a child. A child that has just ended is no error: it will be reaped. Nothing is sent to a process that is
    no child of ours.

    Raises:
        OSError: the kernel refused (EPERM, after the application has become another user).
    """
    if is_child(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signo)


def end(pid: int) -> None:
    """SIGKILL and reap: for a child that holds nothing, so that it ends at once."""
    with suppress(OSError):  # reaped a moment ago; or the kernel refuses, and SIGCHLD will have it reaped
        send_signal(pid, signal.SIGKILL)
        posix.waitpid(pid, 0)


class Pace(Enum):
    """How much of the processors a process gets beside its siblings, as a step from our own nice value."""

    USUAL = 0
    HURRIED = -10  # nearly a whole processor, for the short time in which others wait for it


def set_pace(pid: int, pace: Pace) -> None:
    """Without the privilege (setpriority(2), CAP_SYS_NICE) everything stays as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + pace.value)
    except OSError:  # EACCES, EPERM, or the process is gone; nothing depends on it
        pass


def bind_to_processors(seat: int, count: int) -> None:
    """Let this process run on `count` processors alone, those that are a seat's: the first seat has the first ones, the
    next the following, round and round, as with uWSGI's cpu-affinity. Only those that this process may use count:
    taskset and a cgroup's cpuset take others away (sched_setaffinity(2), cpuset(7)); a quota (cpu.max) does not. 0: on
    all.

    Raises:
        OSError: a sandbox forbids it, or the cpuset has changed in this moment.
    """
    if not count:
        return
    allowed = sorted(os.sched_getaffinity(0))
    first = seat * count
    os.sched_setaffinity(0, {allowed[(first + step) % len(allowed)] for step in range(count)})


_title_prefix = ""


def begin_titles_with(prefix: str) -> None:
    """Put this before all titles of this process, and of what it forks."""
    global _title_prefix
    _title_prefix = prefix


def set_title(text: str) -> None:
    """The process title that ps and top show."""
    setproctitle.setproctitle(f"{_title_prefix}wsgid: {text}")
