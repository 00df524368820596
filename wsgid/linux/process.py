"""Processes as the kernel knows them: fork, exec, reap, titles, exit statuses in words.

Rules
* waitpid and wait4 are imported from the C module `posix`. In a patched process, os.waitpid is gevent's: that function
  creates a hub with child watchers in the calling process.
* Only waitpid and wait4 tell whether a process is alive.
"""

import ctypes
import os
import posix
import resource
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from typing import NamedTuple

import setproctitle

from wsgid.linux.signals import STOP_SIGNALS

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_UNDISTURBED_S = 60.0
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
# PyDLL keeps the interpreter's lock. Between fork and PyOS_AfterFork_Child no other thread exists that could return it.
_libc, _python = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi


def become_subreaper() -> None:
    """Make orphaned descendants children of this process (prctl(2), PR_SET_CHILD_SUBREAPER).

    The master can then wait for workers that the template has forked, and can reap processes that an application leaves
    behind.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def spawn(argv: list[str], environ: Mapping[str, str], inherit_fd: int) -> int:
    """Start a program that inherits exactly `inherit_fd` and the three standard descriptors. Returns its pid.

    All signals have their default actions in the program, whatever has happened to them before wsgid started (nohup, a
    shell's trap, a signal mask).  Signals of the terminal and of the service manager stay blocked until the program has
    installed its handlers.

    Args:
        argv: the program and its arguments; argv[0] is a path.
        environ: its whole environment.
        inherit_fd: the descriptor, which keeps its number.

    Raises:
        OSError: posix_spawn(3) was refused.
    """
    os.set_inheritable(inherit_fd, True)
    try:
        return os.posix_spawn(argv[0], argv, environ, setsigmask=STOP_SIGNALS, setsigdef=_DEFAULTED)
    finally:
        os.set_inheritable(inherit_fd, False)


def double_fork(child: Callable[[], None]) -> None:
    """Run `child` in a grandchild; see fork_orphan. `child` must not return. If it returns or raises, the process ends
    with status 1.

    Raises:
        OSError: fork(2) was refused, here or in the process between.
    """
    if fork_orphan():
        try:
            child()
        finally:
            os._exit(1)


def fork_orphan() -> bool:
    """Fork a grandchild whose parent ends at once, so that the grandchild becomes a child of the subreaper.

    The hooks of os.register_at_fork run once, as for a single fork: `before` and `after_in_parent` run here,
    `after_in_child` runs in the grandchild. Both forks are therefore calls of libc's fork, which runs the hooks of
    pthread_atfork(3). The functions of the Python/C API (PyOS_BeforeFork and the others) then tell Python about the
    fork.

    Returns:
        True in the grandchild, False here.

    Raises:
        OSError: fork(2) was refused, here or in the process between.
    """
    with _undisturbed():
        _python.PyOS_BeforeFork()
        middle = _libc.fork()
        if middle == 0:
            _be_middle()
            return True
        code = ctypes.get_errno()
        _python.PyOS_AfterFork_Parent()
    if middle < 0:
        raise OSError(code, os.strerror(code))
    _, status = posix.waitpid(middle, 0)
    if os.WIFEXITED(status) and status != 0:  # the exit code is the errno of the second fork
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, os.strerror(code))
    if status != 0:
        raise OSError(f"the second fork failed: {status_in_words(status)}")
    return False


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep other threads from requesting the interpreter's lock.

    A forked process inherits such a request in its memory, and would wait for a thread that does not exist there.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_UNDISTURBED_S)
    try:
        if len(sys._current_frames()) > 1:
            ctypes.CDLL(None).usleep(int(2e6 * interval_s))  # threads that wait already use the old interval
        yield
    finally:
        sys.setswitchinterval(interval_s)


def _be_middle() -> None:
    """Fork again, then end; return in the grandchild. Do nothing else: Python does not know yet that there was a
    fork."""
    status, middle = 1, _libc.getpid()
    with suppress(BaseException):  # no exception may lead into code that runs in the parent, too
        orphan = _libc.fork()
        if orphan == 0:
            _python.PyOS_AfterFork_Child()
            # The master signals only its own children (send_signal). Be one of them before the first message goes out.
            while os.getppid() == middle:
                os.sched_yield()
            return
        status = 0 if orphan > 0 else ctypes.get_errno() or 1
    os._exit(status)


def open_fds() -> list[int]:
    """Return the descriptors of this process, and one that is closed by now. Empty where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []


def close_inherited(named: Collection[int]) -> None:
    """Close descriptors that this process was started with and that no option names, so that no child inherits them.

    Python opens its own descriptors with close-on-exec (PEP 446); inheritable descriptors come from outside.

    Args:
        named: descriptors that stay open, beside the three standard ones.
    """
    for fd in open_fds():
        if fd > 2 and fd not in named:
            with suppress(OSError):
                if os.get_inheritable(fd):
                    os.close(fd)


class Ended(NamedTuple):
    """A child that has ended: its wait status, and the processor time of the child and of its own reaped children."""

    pid: int
    status: int
    cpu_us: int


def reap() -> Iterator[Ended]:
    """Yield each child that has ended. SIGCHLD coalesces, so wait4 runs until it finds no more.

    Raises:
        OSError: wait4(2) failed for another reason; what was yielded before is valid.
    """
    while True:
        try:
            pid, status, used = posix.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield Ended(pid, status, int((used.ru_utime + used.ru_stime) * 1e6))


def cpu_us(pid: int) -> int:
    """Return the processor time of a process, all threads together; 0 if the process is gone.

    This is one system call. Linux has a clock for each process, and no user needs a right to read it
    (clock_getcpuclockid(3); the number is that of <linux/posix-timers.h>, MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED).
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2) // 1000
    except OSError:
        return 0


def real_uid(pid: int) -> int:
    """Return the number of the user who runs a process; -1 if the process is gone (proc(5), status).

    The owner of /proc/PID is another one: root, if the process may not be dumped.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return -1


def status_in_words(status: int) -> str:
    """Return a wait status in the operator's words, for example 'exited with code 3' or 'was killed by SIGKILL'."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:  # real-time signals have no names
            name = f"signal {number}"
        return f"was killed by {name}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"


def is_child(pid: int) -> bool:
    """Whether a process is a child of this process that has not been reaped yet (waitid(2), WNOWAIT).

    The kernel gives the pid of such a child to no other process, and only this process can reap the child. The answer
    therefore holds until this process calls waitpid: a signal that is sent after this check cannot reach another
    process.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def send_signal(pid: int, signo: int) -> None:
    """Send a signal to a child. A child that has just ended is no error; it will be reaped. A process that is not our
    child gets nothing.

    Raises:
        OSError: the kernel refused (EPERM, after the application has become another user).
    """
    if is_child(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signo)


def end(pid: int) -> None:
    """Kill and reap a child that holds nothing and therefore ends at once."""
    with suppress(OSError):  # already reaped; or the kernel refuses, and SIGCHLD will cause the reaping later
        send_signal(pid, signal.SIGKILL)
        posix.waitpid(pid, 0)


class Pace(Enum):
    """A process's share of the processors beside its siblings, as a step from our own nice value."""

    USUAL = 0
    HURRIED = -10  # nearly a whole processor, for the short time in which other processes wait for this process


def set_pace(pid: int, pace: Pace) -> None:
    """Set the nice value of a process. Without CAP_SYS_NICE (setpriority(2)) everything stays as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + pace.value)
    except OSError:  # EACCES, EPERM, or the process is gone; nothing depends on it
        pass


def limit_open_files(count: int) -> None:
    """Set how many descriptors this process and its children may have (getrlimit(2), RLIMIT_NOFILE).

    Args:
        count: 0 leaves the limit as it is.

    Raises:
        OSError: the kernel refused.
        ValueError: the number is above the hard limit, which only root may raise.
    """
    if count:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        may_raise = os.geteuid() == 0 and hard != resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard) if may_raise else hard))


def limit_address_space(size_bytes: int) -> None:
    """Set how much address space this process and its children may have (getrlimit(2), RLIMIT_AS).

    Args:
        size_bytes: 0 leaves the limit as it is.

    Raises:
        OSError: the kernel refused.
        ValueError: the size is above the hard limit, which only root may raise.
    """
    if size_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))


def bind_to_processors(seat: int, count: int) -> None:
    """Pin this process to `count` CPUs: seat k gets the CPUs from number k * count on, wrapping around, as with uWSGI's
    cpu-affinity.

    Only CPUs that this process may use count: taskset and a cgroup's cpuset take CPUs away (sched_setaffinity(2),
    cpuset(7)), a quota (cpu.max) does not.

    Args:
        seat: the seat number of this worker, from 0.
        count: CPUs for each worker; 0 means no pinning.

    Raises:
        OSError: a sandbox forbids the call, or the cpuset has changed in this moment.
    """
    if not count:
        return
    allowed = sorted(os.sched_getaffinity(0))
    first = seat * count
    os.sched_setaffinity(0, {allowed[(first + step) % len(allowed)] for step in range(count)})


_title_prefix = ""


def begin_titles_with(prefix: str) -> None:
    """Begin all titles of this process, and of the processes that it forks, with this prefix."""
    global _title_prefix
    _title_prefix = prefix


def set_title(text: str) -> None:
    """Set the process title that ps and top show."""
    setproctitle.setproctitle(f"{_title_prefix}wsgid: {text}")
