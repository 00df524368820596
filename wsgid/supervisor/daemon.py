"""--daemonize: go to the background, while the foreground waits until the application serves.

Rules
* The daemon is forked twice, with a new session in between (daemon(7)), before the master exists. So it is a child of
  no shell, and cannot get a terminal again.
* The exit code of the foreground is 0 once a worker is ready. Otherwise it is the master's exit code, and the
  foreground first shows what the log has got meanwhile.
"""

import os
import sys

from wsgid.errors import ConfigError, ExitCode
from wsgid.linux import safefiles
from wsgid.linux.syscall_errors import close

_foreground_fd = -1  # the foreground waits here for one line; -1: no foreground waits


def detach(log_path: str) -> None:
    """Go to the background. Returns in the daemon only; the foreground waits and exits.

    Args:
        log_path: the file for standard output and error of the daemon.

    Raises:
        ConfigError: the log cannot be written.
    """
    global _foreground_fd
    log_fd = _open_log(log_path)
    begin_bytes = os.fstat(log_fd).st_size
    read_fd, _foreground_fd = os.pipe2(os.O_CLOEXEC)
    if os.fork() != 0:
        os.close(_foreground_fd)
        os._exit(_wait(read_fd, log_path, begin_bytes))
    os.setsid()
    if os.fork() != 0:
        os._exit(ExitCode.OK)
    os.close(read_fd)
    nothing_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing_fd, 0), (log_fd, 1), (log_fd, 2)):
        os.dup2(source, target)
    os.close(nothing_fd)
    os.close(log_fd)


def tell_foreground(code: int) -> None:
    """Tell the foreground its exit code. Only the first call counts; without a foreground nothing happens."""
    global _foreground_fd
    fd, _foreground_fd = _foreground_fd, -1
    if fd == -1:
        return
    try:
        os.write(fd, b"%d" % code)
    except OSError:  # EPIPE: the foreground was ended
        pass
    close(fd)


def _open_log(path: str) -> int:
    try:
        return safefiles.open_to_append(path)
    except OSError as error:
        raise ConfigError(
            f"the daemon's log {path} cannot be written: {error.strerror}; choose another file"
        ) from error


def _wait(read_fd: int, log_path: str, begin_bytes: int) -> int:
    """Wait in the foreground. Returns its exit code; end-of-file means that the daemon was killed."""
    code = int(os.read(read_fd, 16) or ExitCode.FAILURE)
    if code != ExitCode.OK:
        try:
            with open(log_path, "rb") as log:
                log.seek(begin_bytes)
                sys.stderr.buffer.write(log.read())
        except OSError:  # not a regular file, for example /dev/null
            pass
        sys.stderr.write(f"the server in the background has ended with code {code}; its log is {log_path}\n")
        sys.stderr.flush()
    return code
