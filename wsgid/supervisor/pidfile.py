"""The file with the master's pid.

Rules
* The file is written after the sockets were bound. So a second server that cannot bind them leaves the file alone.
* The file is replaced as a whole, so that nobody reads a part of a number. It is removed only if it still has our pid.
"""

import os
from pathlib import Path

from wsgid import log
from wsgid.errors import ConfigError
from wsgid.linux import safefiles


def write(path: str, serves: bool) -> None:
    """Write our pid to a file.

    Args:
        path: of the file.
        serves: whether this process has served before (SIGUSR2). Then a file that cannot be written is a warning.

    Raises:
        ConfigError: the file cannot be written.
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
    if holder == os.getpid():  # the image before SIGUSR2 has written it
        return
    if _is_wsgid(holder):
        log.warning(
            "--pidfile %s has the pid of process %d, a wsgid that still runs: the file is overwritten", path, holder
        )
    try:
        # The mode is 644 even with uWSGI's umask of 0: a user who could write this file could have root kill any
        # process.
        safefiles.replace(path, b"%d\n" % os.getpid(), 0o644)
    except OSError as error:
        raise ConfigError(f"--pidfile {path} cannot be written: {error.strerror}; choose another file") from error


def remove(path: str) -> None:
    """Remove the file, if it still has our pid."""
    if _read(path) == os.getpid():
        try:
            os.unlink(path)
        except OSError as error:
            log.warning("--pidfile %s cannot be removed: %s", path, error.strerror)


def _read(path: str) -> int:
    """Return the pid in a file; 0 if there is none."""
    try:
        return int(Path(path).read_bytes() or 0)  # bytes: for text, a codec may have to be imported, which can fail
    except (OSError, ValueError):
        return 0


def _is_wsgid(pid: int) -> bool:
    try:
        return pid > 0 and b"wsgid" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
