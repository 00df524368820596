"""The master's pid in a file.

Rules
* It is written when the sockets are ours: a second server that cannot have them leaves the first one's file alone.
* It is replaced as a whole, so that nobody reads half a number; removed only if it still has our pid.
"""

import os
from pathlib import Path

from wsgid import log
from wsgid.errors import ConfigError
from wsgid.linux import safefiles


def write(path: str, serves: bool) -> None:
    """
    Args:
        serves: whether this process has served before (SIGUSR2). Then a file that cannot be written is a warning.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        _write(path)
    except ConfigError as error:
        if not serves:
            raise
        log.warning("%s", error)


def _write(path: str) -> None:
    """Raises ConfigError."""
    holder = _read(path)
    if holder == os.getpid():  # the image before this one has written it
        return
    if _is_wsgid(holder):
        log.warning("--pidfile %s was that of process %d, a wsgid that still runs: it is overwritten", path, holder)
    try:
        # The mode is 644 also with uWSGI's umask of 0: who can write here can have root kill anything.
        safefiles.replace(path, b"%d\n" % os.getpid(), 0o644)
    except OSError as error:
        raise ConfigError(f"--pidfile {path} cannot be written: {error.strerror}; choose another file") from error


def remove(path: str) -> None:
    if _read(path) == os.getpid():
        try:
            os.unlink(path)
        except OSError as error:
            log.warning("--pidfile %s cannot be removed: %s", path, error.strerror)


def _read(path: str) -> int:
    """The pid in a file; 0 if there is none."""
    try:
        return int(Path(path).read_bytes() or 0)  # bytes: a codec may have to be imported, which can be refused as well
    except (OSError, ValueError):
        return 0


def _is_wsgid(pid: int) -> bool:
    try:
        return pid > 0 and b"wsgid" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
