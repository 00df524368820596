"""The log files: --logto, and the `file:` destinations of --logger and --access-log.

Rules
* Only the master opens them, because the workers may not have the right. The descriptors are sent with Boot and Reopen.
* The application's group may read a new file that the master makes as root. uWSGI opens these files as --uid.
* After a rotation the new file takes the number of the old descriptor (dup2(2)). Writers need not know of the rotation.
* If a file cannot be reopened, the old file stays in use.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress

from wsgid import log
from wsgid.errors import ConfigError
from wsgid.linux import safefiles
from wsgid.linux.syscall_errors import close, words
from wsgid.log import destination
from wsgid.log.destination import DestinationType

STREAMS = ""  # stands, in lists of paths, for standard output and standard error when --logto has put them into a file


def paths(loggers: Sequence[str], access_log: str) -> list[str]:
    """Return the files of --logger and --access-log, each path once.

    Args:
        loggers: the values of --logger.
        access_log: the value of --access-log; empty if there is none.

    Returns:
        Absolute paths.
    """
    named = [destination.parse(text) for text in loggers]
    named += [destination.parse_file(access_log)] if access_log else []
    return list(dict.fromkeys(destination.path for destination in named if destination.kind is DestinationType.FILE))


class LogFiles:
    """The log files that a process has open.

    Args:
        logto: the path of --logto; empty if there is none, or if this process does not open it.
        fds: path -> descriptor, for the other files.
        gid: the application's group, for new files; -1 for the master's.
    """

    def __init__(self, logto: str = "", fds: Mapping[str, int] | None = None, gid: int = -1) -> None:
        self._logto = logto
        self._gid = gid
        self.fds = dict(fds or {})

    @classmethod
    def open(cls, logto: str, paths: Sequence[str], gid: int = -1) -> "LogFiles":
        """Open all log files. Called in the master.

        Args:
            logto: the path of --logto, or empty.
            paths: of the other files.
            gid: the application's group, or -1.

        Raises:
            ConfigError: a file cannot be opened.
        """
        if logto:
            log.write_to(logto)
        return cls(logto, {path: _open(path, gid) for path in paths}, gid)

    def held(self) -> dict[str, int]:
        """Return what is sent with Reopen: path -> descriptor."""
        return {**({STREAMS: 2} if self._logto else {}), **self.fds}

    def reopen(self) -> list[str]:
        """Open all log files again. Called in the master. Returns one sentence for each file that cannot be opened."""
        troubles = []
        for path in self.held():
            try:
                if path == STREAMS:
                    log.write_to(self._logto)
                else:
                    self.replace([path], [_open(path, self._gid)])
            except ConfigError as error:
                troubles.append(str(error))
            except OSError as error:
                troubles.append(f"the log file {path or self._logto} cannot be opened anew: {words(error)}")
        return troubles

    def replace(self, names: Sequence[str], fds: Sequence[int]) -> None:
        """Take over the files of a Reopen message. Called in the other processes. Descriptors of unknown files are
        closed.

        Args:
            names: paths or STREAMS.
            fds: one descriptor for each name; this process owns them from now on.
        """
        for name, fd in zip(names, fds):
            if name == STREAMS:
                log.use(fd)
                continue
            try:
                if name in self.fds:
                    os.dup2(fd, self.fds[name], inheritable=False)
            finally:
                close(fd)


def check(paths: Sequence[str]) -> None:
    """Check that all these files could be opened. Nothing is created or written.

    Args:
        paths: of the files.

    Raises:
        ConfigError: a file could not be opened.
    """
    for path in paths:
        if os.path.exists(path):
            close(_open(path))
        elif not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
            raise ConfigError(
                f"the log file {path} cannot be written: its directory takes no new file; choose another file"
            )


def _open(path: str, gid: int = -1) -> int:
    try:
        fd = safefiles.open_to_append(path)
        there = os.fstat(fd)
        if gid >= 0 and os.geteuid() == 0 and stat.S_ISREG(there.st_mode) and (there.st_size, there.st_gid) == (0, 0):
            with suppress(OSError):  # a container may have taken this right from root
                os.fchown(fd, -1, gid)  # a file that logrotate has made keeps the group that logrotate gave it
        return fd
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be written: {error.strerror}; choose another file") from error
