"""The first template, forked by the command before it reads its options: both then import at the same time.

    command --begin()--> fork -> wsgid.template: the patch for gevent, and all imports of a template
       reads its options, binds -> take(): the first template; or end(): the process is not needed

Rules
* Such a process must be what an executed one would be (launch.py).  So it is forked only by a process that is as Python
  has started it: with one thread, with nothing that gevent patches, and without a debugger.  It has the same
  descriptors, signals, environment and sys.path as an executed one.
* It is taken only if an executed process would get no other option for its interpreter and no other environment.
  Otherwise it is killed, and a process is executed.
* It holds nothing of the server. If the command ends, it sees the end of its channel, and leaves.
* This module is imported before everything else. It imports only what is cheap.
"""

import os
import posix
import signal
import sys
from collections.abc import Mapping

from wsgid.ipc.pair import pair
from wsgid.linux import interpreter

# These options print something and start no server. (From a file they work, too: then the process was forked in vain.)
_NO_START = ("-h", "--help", "--usage", "--version", "--check", "--migrate", "--daemonize", "--daemonize2", "-d")
_UPGRADED = "WSGID_HANDOVER"  # supervisor/upgrade.py
_PATCHED = ("asyncio", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading")
_SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # only the master has these (systemd.py)
_SYSTEMD_SOCKETS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # at its start (Python/pylifecycle.c)
_DESCRIPTORS_MAX = 1 << 30

_pid = 0  # of the process, while nobody has taken it
_fd = -1  # our end of its channel
_environ: dict[str, str] = {}
_installed: list[tuple[str, int, int]] = []


def begin() -> None:
    """Fork the process, if it can become a template. In the child, this function does not return normally: it ends with
    SystemExit, as a program does."""
    global _pid, _fd, _environ, _installed
    if not _is_start() or not _is_untouched():
        return
    try:
        ours, theirs = pair()
    except OSError:  # then the master tries it, and says so
        return
    environ = _for_children(os.environ)
    installed = interpreter.installed()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        _be_template(theirs, environ)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    posix.close(theirs)
    if pid > 0:
        _pid, _fd, _environ, _installed = pid, ours, environ, installed
    else:
        posix.close(ours)


def take(environ: Mapping[str, str], title_prefix: str, optimize: int) -> tuple[int, int] | None:
    """Return the pid and the descriptor of the channel of the process; None if there is none that fits. The caller owns
    both from now on.

    Args:
        environ: that an executed process would get.
        title_prefix: of its process title.
        optimize: the number of -O that its interpreter would get.
    """
    global _pid, _fd
    if not _pid:
        return None
    fits = environ == _environ and not title_prefix and optimize <= sys.flags.optimize
    if not fits or interpreter.installed() != _installed:
        end()
        return None
    taken = _pid, _fd
    _pid, _fd = 0, -1
    return taken


def end() -> None:
    """Kill the process, if nobody has taken it."""
    global _pid, _fd
    if _pid:
        pid, fd = _pid, _fd
        _pid, _fd = 0, -1
        posix.kill(pid, signal.SIGKILL)
        posix.waitpid(pid, 0)
        posix.close(fd)


def _is_start() -> bool:
    """Whether this command is about to start a server."""
    if _UPGRADED in os.environ:
        return False
    return not any(argument.partition("=")[0] in _NO_START for argument in sys.argv[1:])


def _is_untouched() -> bool:
    """Whether this process is as Python starts one. A .pth file or sitecustomize may have started threads, for example,
    which a forked process would not have."""
    if any(name in sys.modules for name in _PATCHED) or sys.gettrace() or sys.getprofile():
        return False
    try:
        for fd in (0, 1, 2):
            os.fstat(fd)  # a closed one is opened later (log/stdio.py)
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what systemd has meant for the master alone."""
    has_sockets = environ.get("LISTEN_PID") == str(os.getpid())
    left_out = {*_SYSTEMD, *(_SYSTEMD_SOCKETS if has_sockets else ())}
    return {name: value for name, value in environ.items() if name not in left_out}


def _be_template(fd: int, environ: Mapping[str, str]) -> None:
    """Be what the executed program is (linux/interpreter.py, linux/process.py: spawn). Raises SystemExit at its end."""
    os.closerange(3, fd)
    os.closerange(fd + 1, _DESCRIPTORS_MAX)
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for signo in signal.valid_signals():
        if signo not in _IGNORED_BY_PYTHON and signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _STOP_SIGNALS)
    sys.path[:] = interpreter.own_path()
    sys.argv[:] = ["wsgid.template", str(fd), ""]
    import runpy

    runpy.run_module("wsgid.template", run_name="__main__", alter_sys=True)
