"""The stack of a process that is stuck in C, where no Python signal handler runs.

faulthandler's handler is written in C. At a signal it writes the stack into a memfd, and the master reads the memfd.

Rules
* The signal is a real-time signal, which no program uses by default. Its default action ends the process.  So the
  signal
  is sent only after the worker has passed the memfd: then its handler is installed.
* Both processes share the file's offset (memfd passed by SCM_RIGHTS, open(2)). The master sets it to 0 before it asks.
* Until somebody asks, the cost is an empty memfd.
"""

import faulthandler
import fcntl
import os
import signal

from wsgid.linux import process

SIGNAL = signal.SIGRTMAX - 2
WRITTEN_AFTER_S = 0.3  # the handler itself takes some microseconds, once it gets a processor
_SIZE_MAX_BYTES = 256 * 1024


def prepare() -> int:
    """Let this process write the stacks of its threads when it gets SIGNAL. Returns the memfd."""
    fd = os.memfd_create("wsgid-dump", os.MFD_CLOEXEC)
    faulthandler.register(SIGNAL, fd, all_threads=True)
    return fd


def abandon() -> None:
    """Remove the handler of SIGNAL from this process. From then on SIGNAL would end it."""
    faulthandler.unregister(SIGNAL)


def is_memfd(fd: int) -> bool:
    """Whether a descriptor is a memfd. Only files in memory can be sealed (fcntl(2), F_GET_SEALS). Another file must be
    refused: reading it could make the master wait for ever."""
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


def request(pid: int, fd: int) -> None:
    """Ask a process to write its stacks. They are in the memfd a moment later.

    Args:
        pid: of a child.
        fd: its memfd.

    Raises:
        OSError: the signal cannot be sent.
    """
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    process.send_signal(pid, SIGNAL)


def read(fd: int) -> str:
    """Return what the process has written; empty if it has not run its handler yet."""
    return os.pread(fd, _SIZE_MAX_BYTES, 0).decode("utf-8", "replace")
