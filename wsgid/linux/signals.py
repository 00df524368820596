"""Signals as bytes of a pipe."""

import os
import signal
from collections.abc import Sequence

STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)  # reach whole process groups


class SignalPipe:
    """Signals as bytes of a pipe, so that one selector waits for them and for everything else.

    The C handler writes the signal's number (signal.set_wakeup_fd); the Python handlers stay empty.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe holds 64 KiB of signals that nobody has read yet: losing one more loses nothing.
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for signo in signals:
            signal.signal(signo, _do_nothing)

    def fileno(self) -> int:
        return self._read_fd

    def read(self) -> list[signal.Signals]:
        """The signals that have arrived since the last call, oldest first."""
        try:
            return [signal.Signals(number) for number in os.read(self._read_fd, 4096)]
        except BlockingIOError:
            return []

    def hold(self) -> None:
        """Let signals wait in the kernel, those too that are in the pipe already: over execve(2), which closes it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for signo in self.read():
            os.kill(os.getpid(), signo)

    def release(self) -> None:
        """Take those that have waited, and all from now on; whoever has started us may have blocked others, too."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _do_nothing(_signo: int, _frame: object) -> None:
    """An empty handler, not SIG_IGN, which the programs that the application starts would inherit (execve(2))."""


def ignore(*signals: signal.Signals) -> None:
    """Let these signals do nothing in this process."""
    for signo in signals:
        signal.signal(signo, _do_nothing)
