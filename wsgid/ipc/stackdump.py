"""The stack of a process that is stuck in C, where no signal handler of Python runs: faulthandler's handler, which is C
too, writes it into a memfd that the master reads.

Rules
* A real-time signal, which no program uses by itself; its default is death.  So it is only sent to who has handed over
  the memfd: then the handler stands.
* The file's offset is common to both (memfd passed as SCM_RIGHTS, open(2)): the master sets it back before it asks.
* It costs an empty memfd until somebody asks.
"""

import faulthandler
import fcntl
import os
import signal

from wsgid.linux import process

SIGNAL = signal.SIGRTMAX - 2
WRITTEN_AFTER_S = 0.3  # the handler takes some microseconds, once the kernel has given it the processor
_SIZE_MAX_BYTES = 256 * 1024


def prepare() -> int:
    """Let this process write the stacks of its threads when it gets SIGNAL. Returns the memfd."""
    fd = os.memfd_create("wsgid-dump", os.MFD_CLOEXEC)
    faulthandler.register(SIGNAL, fd, all_threads=True)
    return fd


def abandon() -> None:
    """SIGNAL means nothing to this process any more: its default is death."""
    faulthandler.unregister(SIGNAL)


def is_memfd(fd: int) -> bool:
    """Whether a descriptor is a memfd: reading another file could make the master wait for ever. Only files of memory
    can be sealed (fcntl(2), F_GET_SEALS)."""
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


def request(pid: int, fd: int) -> None:
    """Have a process write its stacks; they are there a moment later."""
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    process.send_signal(pid, SIGNAL)


def read(fd: int) -> str:
    """What has been written; empty if the process did not come to it."""
    return os.pread(fd, _SIZE_MAX_BYTES, 0).decode("utf-8", "replace")
