"""Processes as the kernel knows them: fork, exec, reap, signals, titles, exit statuses in words.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

import setproctitle

from wsgid import log

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 512 << 10
_UNDISTURBED_S = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)  # reach whole process groups
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
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


def keep_freed_memory() -> None:
    """Have malloc(3) keep up to _KEPT_BYTES of what is free at the end of its heap. By default it is 128 KiB, and a
    worker that reads 64 KB after 64 KB of request bodies would give back the same pages, and fault them in again, with
    each request. Does nothing where libc is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)


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
    no child of ours. A refusal (EPERM, after the application has become another user) is said."""
    try:
        if is_child(pid):
            os.kill(pid, signo)
    except ProcessLookupError:
        pass
    except OSError as error:
        log.error(
            "process %d cannot be sent %s: kill: %s; end it by hand", pid, signal.strsignal(signo), error.strerror
        )


def end(pid: int) -> None:
    """SIGKILL and reap: for a child that holds nothing, so that it ends at once."""
    send_signal(pid, signal.SIGKILL)
    try:
        posix.waitpid(pid, 0)
    except OSError:  # reaped a moment ago; or the kernel refuses, and SIGCHLD will have it reaped
        pass


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


@dataclass(frozen=True, slots=True)
class Memory:
    """How large a process is: its address space, and what of it is resident."""

    vsz_bytes: int
    rss_bytes: int


def memory(pid: int | str = "self") -> Memory:
    """As the kernel says (proc(5), statm); nothing if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # bytes: a codec would be imported first
            size, resident = (statm.read() or b"").split()[:2]
    except (OSError, ValueError):
        return Memory(0, 0)
    return Memory(int(size) * _PAGE_BYTES, int(resident) * _PAGE_BYTES)


def rss_bytes(pid: int | str = "self") -> int:
    """The resident size of a process; 0 if it is gone."""
    return memory(pid).rss_bytes


def bind_to_processors(seat: int, count: int) -> None:
    """Let this process run on `count` processors alone, those that are a seat's: the first seat has the first ones, the
    next the following, round and round, as with uWSGI's cpu-affinity. Only those that this process may use count:
    taskset and a cgroup's cpuset take others away (sched_setaffinity(2), cpuset(7)); a quota (cpu.max) does not. 0: on
    all."""
    if not count:
        return
    allowed = sorted(os.sched_getaffinity(0))
    first = seat * count
    try:
        os.sched_setaffinity(0, {allowed[(first + step) % len(allowed)] for step in range(count)})
    except OSError as error:  # a sandbox forbids it, or the cpuset has changed in this moment
        log.warning("--cpu-affinity %d cannot be set: %s; this worker runs on all processors", count, error.strerror)


_PARTS = ("Rss", "Pss", "Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Swap")


def parts(pid: int | str) -> dict[str, int] | None:
    """What a process's memory consists of, in bytes: rss, pss (a page that n share counts for 1/n), private (uss),
    shared and swap (proc(5), smaps_rollup); None if the kernel does not say, or not to this user. The kernel walks
    through the page tables for it: some milliseconds for a large process."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            lines = [line.split() for line in rollup]
    except OSError:
        return None
    kb = {line[0].rstrip(":"): int(line[1]) for line in lines if line[0].rstrip(":") in _PARTS}
    sums = {
        "rss": ("Rss",),
        "pss": ("Pss",),
        "private": ("Private_Clean", "Private_Dirty"),
        "shared": ("Shared_Clean", "Shared_Dirty"),
        "swap": ("Swap",),
    }
    return {name: sum(kb.get(key, 0) for key in keys) << 10 for name, keys in sums.items()}


_title_prefix = ""


def begin_titles_with(prefix: str) -> None:
    """Put this before all titles of this process, and of what it forks."""
    global _title_prefix
    _title_prefix = prefix


def set_title(text: str) -> None:
    """The process title that ps and top show."""
    setproctitle.setproctitle(f"{_title_prefix}wsgid: {text}")


class SignalPipe:
    """Signals as bytes of a pipe, so that one selector waits for them and for everything else.

    The C handler writes the signal's number (signal.set_wakeup_fd); the Python handlers stay empty.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe holds 64 KiB of signals that nobody has read yet: losing one more loses nothing.
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for signo in signals:
            signal.signal(signo, _ignore)

    def fileno(self) -> int:
        return self._read_fd

    def read(self) -> list[signal.Signals]:
        """The signals that have arrived since the last call, oldest first."""
        try:
            return [signal.Signals(number) for number in os.read(self._read_fd, 4096)]
        except BlockingIOError:
            return []

    def hold(self) -> None:
        """Let signals wait in the kernel, those too that are in the pipe already: over execve(2), which closes it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for signo in self.read():
            os.kill(os.getpid(), signo)

    def release(self) -> None:
        """Take those that have waited, and all from now on; whoever has started us may have blocked others, too."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ignore(_signo: int, _frame: object) -> None:
    """An empty handler, not SIG_IGN, which the programs that the application starts would inherit (execve(2))."""


def ignore(*signals: signal.Signals) -> None:
    """Let these signals do nothing in this process."""
    for signo in signals:
        signal.signal(signo, _ignore)
