"""The first of wsgid's own programs, forked by the command before it reads its options: both then import at the same
time.

    command --begin()--> fork -> the program: the patch for gevent, and all its imports
       reads its options, binds -> take(): the program is used; or end(): it is not needed

Rules
* Such a process must be what an executed one would be (programs.py).  So it is forked only by a process that is as
  Python has started it: with one thread, with nothing that gevent patches, and without a debugger.  It has the same
  descriptors, signals, environment and sys.path as an executed one.
* It is taken only if an executed process would get no other option for its interpreter, no other environment, and
  nothing else that a process inherits (umask, limits, directory, standard descriptors).  Otherwise it is killed, and a
  process is executed.
* It holds nothing of the server. If the command ends, it sees the end of its channel, and leaves.
* This module is imported before everything else. It imports only what is cheap.
"""

import os
import posix
import resource
import signal
import sys
from collections.abc import Mapping

from wsgid.linux import interpreter
from wsgid.linux.socket_pair import pair

TEMPLATE, CHECK = "wsgid.template", "wsgid.application.check_child"

# With these, no template is started, or none with our standard descriptors.  (A file may have these options, too: then
# the process was forked in vain.)
_OTHERS = ("-h", "--help", "--usage", "--version", "--migrate", "--daemonize", "--daemonize2", "-d")
_UPGRADED = "WSGID_HANDOVER"  # supervisor/upgrade.py
_PATCHED = ("asyncio", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading")
_SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # only the master has these (supervisor/systemd.py)
_SYSTEMD_SOCKETS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # at its start (Python/pylifecycle.c)
_STANDARD = (0, 1, 2)
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)  # --max-fd, --limit-as
_DESCRIPTORS_MAX = 1 << 30

_pid = 0  # of the process, while nobody has taken it
_fd = -1  # our end of its channel
_begun_with: tuple[object, ...] = ()


def begin() -> None:
    """Fork the process, if it can be used. In the child, this function ends with SystemExit, as a program does."""
    global _pid, _fd, _begun_with
    module = _module()
    if not module or not _is_untouched():
        return
    try:
        ours, theirs = pair()
    except OSError:  # programs.py tries it again, and says so
        return
    environ = _for_children(os.environ)
    begun_with = _circumstances(module, environ)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        _be_program(module, theirs, environ)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    posix.close(theirs)
    if pid > 0:
        _pid, _fd, _begun_with = pid, ours, begun_with
    else:
        posix.close(ours)


def take(module: str, title_prefix: str, environ: Mapping[str, str], optimize: int) -> tuple[int, int] | None:
    """Return the pid and the descriptor of the channel of the process; None if there is none that fits. The caller owns
    both from now on.

    Args:
        module: the program.
        title_prefix: of its process title.
        environ: that an executed process would get.
        optimize: the number of -O that its interpreter would get.
    """
    global _pid, _fd
    if not _pid:
        return None
    if title_prefix or optimize > sys.flags.optimize or _circumstances(module, environ) != _begun_with:
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


def _module() -> str:
    """Return the program that this command is about to start; empty if there is none."""
    given = [argument.partition("=")[0] for argument in sys.argv[1:]]
    if _UPGRADED in os.environ or any(option in given for option in _OTHERS):
        return ""
    return CHECK if "--check" in given else TEMPLATE


def _is_untouched() -> bool:
    """Whether this process is as Python starts one. A .pth file or sitecustomize may have started threads, for example,
    which a forked process would not have."""
    if any(name in sys.modules for name in _PATCHED) or sys.gettrace() or sys.getprofile():
        return False
    try:
        for fd in _STANDARD:
            os.fstat(fd)  # a closed one is opened later (log/stdio.py)
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _circumstances(module: str, environ: Mapping[str, str]) -> tuple[object, ...]:
    """Return what the program would start with, if it was executed now."""
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        directory = os.getcwd()
    except OSError:  # it was removed
        directory = ""
    standard = [(status.st_dev, status.st_ino) for status in map(os.fstat, _STANDARD)]
    limits = [*map(resource.getrlimit, _LIMITS)]
    return module, dict(environ), umask, directory, standard, limits, interpreter.installed()


def _for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what systemd has meant for the master alone."""
    has_sockets = environ.get("LISTEN_PID") == str(os.getpid())
    left_out = {*_SYSTEMD, *(_SYSTEMD_SOCKETS if has_sockets else ())}
    return {name: value for name, value in environ.items() if name not in left_out}


def _be_program(module: str, fd: int, environ: Mapping[str, str]) -> None:
    """Be what the executed program is (interpreter.py; process.py: spawn). Raises SystemExit at its end."""
    os.closerange(3, fd)
    os.closerange(fd + 1, _DESCRIPTORS_MAX)
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for signo in signal.valid_signals():
        if signo not in _IGNORED_BY_PYTHON and signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _STOP_SIGNALS)
    sys.path[:] = interpreter.own_path()
    interpreter.say_safe_path()
    sys.argv[:] = [module, str(fd), ""]
    import runpy

    runpy.run_module(module, run_name="__main__", alter_sys=True)
