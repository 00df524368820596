"""The master's children."""

import signal

from wsgid import log
from wsgid.linux import process


def send_signal(pid: int, signo: int) -> None:
    """Signal a child; a refusal (EPERM, after the application has become another user) is said in the log."""
    try:
        process.send_signal(pid, signo)
    except OSError as error:
        name = signal.strsignal(signo)
        log.error("process %d cannot be sent %s: kill: %s; end it by hand", pid, name, error.strerror)
