"""--daemonize: go to the background, while the foreground waits until the application serves.

Rules
* Forked twice with a session of its own between (daemon(7)), before the master exists: it is nobody's child and can't
  get a terminal again.
* The foreground ends as the server does: 0 once a worker is ready; else with the master's exit code, having shown what
  the log got to say about it.
"""

import os
import sys

from wsgid.errors import ConfigError, ExitCode
from wsgid.linux import safefiles
from wsgid.linux.syscall_errors import close

_foreground_fd = -1  # where the foreground waits for one line; -1: nobody does


def detach(log_path: str) -> None:
    """Returns in the daemon only. The foreground waits and exits.

    Args:
        log_path: what standard output and error of the daemon are.

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
    """The first call is what the foreground ends with; does nothing where there is none."""
    global _foreground_fd
    fd, _foreground_fd = _foreground_fd, -1
    if fd == -1:
        return
    try:
        os.write(fd, b"%d" % code)
    except OSError:  # EPIPE: somebody has ended it
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
    """The foreground's wait. Returns what to exit with; end-of-file means that the daemon was killed."""
    code = int(os.read(read_fd, 16) or ExitCode.FAILURE)
    if code != ExitCode.OK:
        try:
            with open(log_path, "rb") as log:
                log.seek(begin_bytes)
                sys.stderr.buffer.write(log.read())
        except OSError:  # not a file: /dev/null, say
            pass
        sys.stderr.write(f"the server in the background has ended with code {code}; its log is {log_path}\n")
        sys.stderr.flush()
    return code
