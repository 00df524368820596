"""Locks between the workers of a server: a lock is a byte of the scoreboard's memfd that fcntl(2) locks.

Rules
* The kernel releases the locks of a process when the process ends, however it ends. No lock outlives its worker.
* Only bytes far behind the end of the memfd are locked (fcntl(2), "Advisory record locking", allows that). So the words
  of the scoreboard are not touched, and each name has a byte of its own.
* The kernel does not tell two greenlets of a process apart. The caller keeps them apart.
* A forked child does not inherit locks (fcntl(2)).
* The kernel releases all locks of a process if that process closes any descriptor of the memfd. wsgid closes none.
* Nothing here waits. All workers have the same memfd, also after a reload, and after USR2 unless the scoreboard's
  layout has changed.
"""

import fcntl
import os
import struct
import zlib

_FIRST = 1 << 40  # behind every scoreboard
_FLOCK = "hhqqi4x"  # struct flock on Linux with 64 bits: l_type, l_whence, l_start, l_len, l_pid


class Locks:
    """The locks, as one worker sees them.

    Args:
        fd: of the scoreboard's memfd; the caller keeps it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def take(self, name: str) -> bool:
        """Take a lock. Returns False if another process has it. A process that has it already takes it again."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(name))
        except BlockingIOError:
            return False
        return True

    def release(self, name: str) -> None:
        """Release a lock that this process has."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _place(name))

    def holder(self, name: str) -> int:
        """Return the pid of the other process that has the lock; 0 if no other process has it."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _place(name), 1, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else int(pid)


def _place(name: str) -> int:
    """Return the byte for a name. There are 2^56 places, so that two names do not meet."""
    data = name.encode()
    return _FIRST + (zlib.crc32(data) << 24 | zlib.crc32(data[::-1]) & 0xFFFFFF)
