"""Processes as the kernel knows them: fork, exec, reap, signals, titles, exit statuses in words.

Rules
* fork and waitpid come from `posix`, the C module: in a patched process those of `os` are gevent's, which create a hub
  with child watchers in whoever calls them.
* waitpid is the only truth about who lives.
"""

import ctypes
import os
import posix
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import setproctitle

from wsgid import log

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 512 << 10
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)  # reach whole process groups
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


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

    Raises:
        OSError: fork(2) was refused, here or in the process between.
    """
    middle = posix.fork()
    if middle == 0:
        status = 1
        try:
            if posix.fork() == 0:
                child()
            else:
                status = 0
        finally:
            os._exit(status)
    _, status = posix.waitpid(middle, 0)
    if status != 0:
        raise OSError(f"the second fork failed: {status_in_words(status)}")


def reap() -> Iterator[tuple[int, int]]:
    """All children that have ended, as (pid, wait status). SIGCHLD coalesces, so ask until there is none."""
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


def send_signal(pid: int, signo: signal.Signals) -> None:
    """kill(2); a process that has just ended is no error: it will be reaped."""
    try:
        os.kill(pid, signo)
    except ProcessLookupError:
        pass


def end(pid: int) -> None:
    """SIGKILL and reap: for a child that holds nothing, so that it ends at once."""
    send_signal(pid, signal.SIGKILL)
    try:
        posix.waitpid(pid, 0)
    except ChildProcessError:  # reaped a moment ago
        pass


class Pace(Enum):
    """How much of the processors a process gets beside its siblings, as a step from our own nice value."""

    USUAL = 0
    HURRIED = -10  # nearly a whole processor, for the short time in which others wait for it


def set_pace(pid: int, pace: Pace) -> None:
    """Without the privilege (setpriority(2), CAP_SYS_NICE) everything stays as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + pace.value)
    except OSError:
        pass


@dataclass(frozen=True, slots=True)
class Memory:
    """How large a process is: its address space, and what of it is resident."""

    vsz_bytes: int
    rss_bytes: int


def memory(pid: int | str = "self") -> Memory:
    """As the kernel says (proc(5), statm); nothing if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            size, resident = statm.read().split()[:2]
    except OSError:
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
    sums = {"rss": ("Rss",), "pss": ("Pss",), "private": ("Private_Clean", "Private_Dirty"),
            "shared": ("Shared_Clean", "Shared_Dirty"), "swap": ("Swap",)}
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


def _ignore(_signo: int, _frame: object) -> None:
    """An empty handler, not SIG_IGN, which the programs that the application starts would inherit (execve(2))."""


def ignore(*signals: signal.Signals) -> None:
    """Let these signals do nothing in this process."""
    for signo in signals:
        signal.signal(signo, _ignore)
