"""A refused system call, reported in one sentence.

Rules
* The sentence says what was wanted, and gives the system call, the error and the remedy.  There is no traceback.
* Missing memory is a refusal too: Python raises MemoryError where the kernel reports ENOMEM.
"""

import errno
import os
import posix
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wsgid.errors import Refused

REFUSALS = (OSError, MemoryError)

_PROCESSES = "raise the limit of processes (ulimit -u, LimitNPROC=, TasksMax=)"
_DESCRIPTORS = "raise the limit of open files (ulimit -n, LimitNOFILE=)"
_MEMORY = "give this machine, or this service, more memory"
_RIGHTS = "give this user the right to it"
_BACK = "put it back"
_ENDED = "the process at the other end has ended, and its own lines in the log may say why"
_OTHERS = "look into the kernel's log (dmesg)"
_REMEDIES = {
    errno.EMFILE: _DESCRIPTORS,
    errno.ETOOMANYREFS: _DESCRIPTORS,
    errno.ENFILE: "raise fs.file-max (sysctl)",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
    errno.ENOENT: _BACK,
    errno.ENOTDIR: _BACK,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "raise the quota",
    errno.EROFS: "choose a directory that can be written",
    errno.EADDRINUSE: "stop the program that uses it",
    errno.EAGAIN: _PROCESSES,
    errno.E2BIG: "shorten --env or the environment: a variable has room for 128 KiB (execve(2))",
    errno.EPIPE: _ENDED,
    errno.ECONNRESET: _ENDED,
}
_REMEDIES_OF = {  # where the call makes a difference
    ("posix_spawn", errno.ENOENT): "let the virtual environment's installation finish, or put it back",
    ("execve", errno.ENOENT): "let the virtual environment's installation finish, or put it back",
    ("sendmsg", errno.EAGAIN): "the process at the other end does not read, so look whether it is stopped",
    ("epoll_ctl", errno.ENOSPC): "raise fs.epoll.max_user_watches (sysctl)",
}


@contextmanager
def named(call: str, thing: str = "") -> Iterator[None]:
    """Add to an OSError the name of the system call, and the thing that the call was for.

    Raises:
        Refused: instead of the OSError.
    """
    try:
        yield
    except Refused:
        raise
    except OSError as error:
        refused = Refused(error.errno, error.strerror or str(error))
        refused.call = f"{call} {thing}".rstrip()
        raise refused from error


def words(error: BaseException) -> str:
    """Return call, error and remedy: "chdir /srv/site: No such file or directory (ENOENT); put it back"."""
    if isinstance(error, MemoryError):
        return f"{_place(error)}: Cannot allocate memory (ENOMEM); {_MEMORY}"
    if not isinstance(error, OSError) or error.errno is None:  # not from a system call
        return f"{_place(error)}: {error}; {_OTHERS}"
    call = error.call if isinstance(error, Refused) else _place(error)
    remedy = _REMEDIES_OF.get((call.partition(" ")[0], error.errno)) or _REMEDIES.get(error.errno, _OTHERS)
    code = errno.errorcode.get(error.errno, str(error.errno))
    return f"{call}: {error.strerror} ({code}); {remedy}"


def _place(error: BaseException) -> str:
    """Return the place of an error without a system call's name: our innermost function, and the file in question."""
    # Not extract_tb: it reads the source, which needs a descriptor.
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [code for code in codes if f"{os.sep}wsgid{os.sep}" in code.co_filename]
    place = f"{os.path.basename(ours[-1].co_filename)}, {ours[-1].co_name}" if ours else type(error).__name__
    named_file = getattr(error, "filename", None)
    return f"{place}, {os.fsdecode(named_file)}" if isinstance(named_file, (str, bytes)) else place


def soon(pause_s: float) -> str:
    """Return when the next attempt happens: "in 0.4 s"."""
    return f"in {pause_s:.2g} s" if pause_s >= 0.05 else "at once"


def close(fd: int) -> None:
    """Close a descriptor and ignore errors: on Linux the descriptor is closed even then (close(2)).

    Uses `posix`: in a patched process os.close is gevent's, which keeps a socket open until the hub has run.
    """
    with suppress(OSError):
        posix.close(fd)
