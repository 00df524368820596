"""The first of wsgid's own programs, forked by the command before it reads its options: both then import at the same
time.

    command --begin()--> fork -> the program: the patch for gevent, and all its imports -> arrive(): waits
       reads its options, binds -> take() -----------------------------------------------> goes on
                                or end(): the process is not needed

Rules
* Such a process must be what an executed one would be (programs.py).  So it is forked only by a process that is as
  Python has started it: with one thread, with nothing that gevent patches, and without a debugger.  It has the same
  descriptors, signals and sys.path as an executed one.
* What the options change until then (environment, umask, directory, standard descriptors, limits, title) it gets when
  it is taken.  If the options change what Python or a library has read at its start, or packages were installed
  meanwhile, the process is killed, and another one is executed.
* It holds nothing of the server. If the command ends, it sees the end of its channel, and leaves.
* This module is imported before everything else. It imports only what is cheap.
"""

import _socket
import os
import posix
import resource
import signal
import struct
import sys
from collections.abc import Mapping

from wsgid.linux import interpreter, memfd
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
# Variables that begin so are read at the start: by Python, the C library, gevent, zope.interface, setproctitle, wsgid.
_READ_EARLY = (
    *("PYTHON", "LD_", "MALLOC", "GLIBC", "LANG", "LC_", "TZ", "OPENSSL"),
    *("GEVENT", "PURE_PYTHON", "ZOPE", "SPT_", "WSGID_PURE"),
)
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)  # --max-fd, --limit-as
_DESCRIPTORS_MAX = 1 << 30
_INT = struct.Struct("i")

_pid = 0  # of the process, while nobody has taken it
_fd = -1  # our end of its channel
_environ: dict[str, str] = {}  # with which it has begun
_begun_with: tuple[object, ...] = ()
_is_ahead = False  # whether this process is the one that was forked


def begin() -> None:
    """Fork the process, if it can be used. In the child, this function ends with SystemExit, as a program does."""
    global _pid, _fd, _environ, _begun_with
    module = _module()
    if not module or not _is_untouched():
        return
    try:
        ours, theirs = pair()
    except OSError:  # programs.py tries it again, and says so
        return
    environ = _for_children(os.environ)
    begun_with = module, interpreter.installed()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        _be_program(module, theirs)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    posix.close(theirs)
    if pid > 0:
        _pid, _fd, _environ, _begun_with = pid, ours, environ, begun_with
    else:
        posix.close(ours)


def take(module: str, title_prefix: str, environ: Mapping[str, str], optimize: int) -> tuple[int, int] | None:
    """Let the process go on, with what an executed one would get now. Returns its pid and the descriptor of its
    channel, which the caller owns from now on; None if there is no process that fits.

    Args:
        module: the program.
        title_prefix: of its process title.
        environ: that an executed process would get.
        optimize: the number of -O that its interpreter would get.
    """
    global _pid, _fd
    if not _pid:
        return None
    changed = {name for name in environ.keys() | _environ.keys() if environ.get(name) != _environ.get(name)}
    fits = optimize <= sys.flags.optimize and not any(name.startswith(_READ_EARLY) for name in changed)
    if not fits or (module, interpreter.installed()) != _begun_with or not _send(title_prefix, environ):
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


def arrive(fd: int) -> str | None:
    """Wait until this process is taken, if it was forked ahead; an executed one does nothing here. The first call of a
    program. Returns the prefix of the process title; None if the process was not needed.

    Args:
        fd: of its channel.
    """
    if not _is_ahead:
        return sys.argv[2]
    channel = _socket.socket(fileno=fd)
    try:
        room = _socket.CMSG_SPACE((len(_STANDARD) + 2) * _INT.size)
        _, ancillary, _, _ = channel.recvmsg(1, room, _socket.MSG_CMSG_CLOEXEC)
    finally:
        channel.detach()
    if not ancillary:
        return None
    *fds, circumstances = [number for _, _, data in ancillary for (number,) in _INT.iter_unpack(data)]
    for standard, sent in zip(_STANDARD, fds):
        os.dup2(sent, standard)
    os.fchdir(fds[-1])
    for sent in fds:
        posix.close(sent)
    title_prefix, umask, environ = memfd.read(circumstances)
    os.umask(umask)
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    return str(title_prefix)


def _send(title_prefix: str, environ: Mapping[str, str]) -> bool:
    """Send the process what it would have got from execve(2) now. Returns whether the kernel has allowed it."""
    umask = os.umask(0o077)
    os.umask(umask)
    directory = circumstances = -1
    channel = _socket.socket(fileno=_fd)
    try:
        directory = os.open(".", os.O_PATH | os.O_CLOEXEC)
        for limit in _LIMITS:
            resource.prlimit(_pid, limit, resource.getrlimit(limit))
        circumstances = memfd.write([title_prefix, umask, dict(environ)])
        fds = b"".join(map(_INT.pack, (*_STANDARD, directory, circumstances)))
        channel.sendmsg([b"x"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)], _socket.MSG_NOSIGNAL)
    except (OSError, ValueError):  # ValueError: a limit that only root may raise
        return False
    finally:
        channel.detach()
        for fd in (directory, circumstances):
            if fd >= 0:
                posix.close(fd)
    return True


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


def _for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what systemd has meant for the master alone."""
    has_sockets = environ.get("LISTEN_PID") == str(os.getpid())
    left_out = {*_SYSTEMD, *(_SYSTEMD_SOCKETS if has_sockets else ())}
    return {name: value for name, value in environ.items() if name not in left_out}


def _be_program(module: str, fd: int) -> None:
    """Be what the executed program is (interpreter.py; process.py: spawn). Raises SystemExit at its end."""
    global _is_ahead
    _is_ahead = True
    os.closerange(3, fd)
    os.closerange(fd + 1, _DESCRIPTORS_MAX)
    for signo in signal.valid_signals():
        if signo not in _IGNORED_BY_PYTHON and signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _STOP_SIGNALS)
    sys.path[:] = interpreter.own_path()
    interpreter.say_safe_path()
    sys.argv[:] = [module, str(fd), ""]
    import runpy

    runpy.run_module(module, run_name="__main__", alter_sys=True)
