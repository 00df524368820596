"""The files that logs are written to: --logto, and the `file:` of --logger and --access-log.

Rules
* The master alone opens them: the workers may not be allowed to. Descriptors ride along with Boot and Reopen.
* After a rotation the new file takes the old one's number (dup2(2)), so that nobody who writes to it need know.
* A file that cannot be opened again leaves the old one in use.
"""

import os
from collections.abc import Mapping, Sequence

from wsgid import log
from wsgid.errors import ConfigError
from wsgid.linux import safefiles
from wsgid.linux.syscall_errors import close, words
from wsgid.log import destination
from wsgid.log.destination import DestinationType

STREAMS = ""  # stands, among paths, for standard output and error, which --logto has put into a file


def paths(loggers: Sequence[str], access_log: str) -> list[str]:
    """The files of --logger and --access-log, each once: absolute paths."""
    named = [destination.parse(text) for text in loggers]
    named += [destination.parse_file(access_log)] if access_log else []
    return list(dict.fromkeys(one.path for one in named if one.kind is DestinationType.FILE))


class LogFiles:
    """The log files that one process has open.

    Args:
        logto: the path of --logto; empty if there is none, or if this process does not open it.
        fds: path -> descriptor of the others.
    """

    def __init__(self, logto: str = "", fds: Mapping[str, int] | None = None) -> None:
        self._logto = logto
        self.fds = dict(fds or {})

    @classmethod
    def open(cls, logto: str, paths: Sequence[str]) -> "LogFiles":
        """Open all of them, in the master.

        Args:
            logto: the path of --logto, or empty.
            paths: of the others.

        Raises:
            ConfigError: one of them cannot be opened.
        """
        if logto:
            log.write_to(logto)
        return cls(logto, {path: _open(path) for path in paths})

    def held(self) -> dict[str, int]:
        """What is sent with Reopen: path -> descriptor."""
        return {**({STREAMS: 2} if self._logto else {}), **self.fds}

    def reopen(self) -> list[str]:
        """Open all of them anew, in the master. Returns a sentence for each that cannot be."""
        troubles = []
        for path in self.held():
            try:
                if path == STREAMS:
                    log.write_to(self._logto)
                else:
                    self.replace([path], [_open(path)])
            except ConfigError as error:
                troubles.append(str(error))
            except OSError as error:
                troubles.append(f"the log file {path or self._logto} cannot be opened anew: {words(error)}")
        return troubles

    def replace(self, names: Sequence[str], fds: Sequence[int]) -> None:
        """Take what has come with Reopen, in the other processes; what is not known here is closed.

        Args:
            names: paths or STREAMS.
            fds: one for each; this process's own from now on.
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
    """See whether all of these could be opened; nothing is made or written.

    Raises:
        ConfigError: one of them could not.
    """
    for path in paths:
        if os.path.exists(path):
            close(_open(path))
        elif not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
            raise ConfigError(
                f"the log file {path} cannot be written: its directory takes no new file; choose another file"
            )


def _open(path: str) -> int:
    try:
        return safefiles.open_to_append(path)
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be written: {error.strerror}; choose another file") from error
