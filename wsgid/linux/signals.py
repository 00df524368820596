"""Signals as bytes in a pipe."""

import os
import signal
from collections.abc import Sequence

STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)  # reach whole process groups


class SignalPipe:
    """Signals as bytes in a pipe, so that one selector waits for signals and for everything else.

    The C signal handler writes the signal's number (signal.set_wakeup_fd). The Python handlers do nothing.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe holds 64 KiB of unread signals. Losing one more loses nothing.
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for signo in signals:
            signal.signal(signo, _do_nothing)

    def fileno(self) -> int:
        """Return the reading end's descriptor, for a selector."""
        return self._read_fd

    def read(self) -> list[signal.Signals]:
        """Return the signals that have arrived since the last call, oldest first."""
        try:
            return [signal.Signals(number) for number in os.read(self._read_fd, 4096)]
        except BlockingIOError:
            return []

    def hold(self) -> None:
        """Let signals wait in the kernel, also those that are in the pipe already. Needed over execve(2), which closes
        the pipe."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for signo in self.read():
            os.kill(os.getpid(), signo)

    def release(self) -> None:
        """Take the signals that have waited, and all later ones. Also unblocks what was blocked before wsgid
        started."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _do_nothing(_signo: int, _frame: object) -> None:
    """Do nothing. SIG_IGN would not do: programs that the application starts would inherit it (execve(2))."""


def ignore(*signals: signal.Signals) -> None:
    """Let these signals have no effect on this process."""
    for signo in signals:
        signal.signal(signo, _do_nothing)
