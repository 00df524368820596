"""End a child that leads a process group of its own: asked first, with one signal after the other, then killed."""

import contextlib
import os
import signal
import subprocess

PATIENCE_S = 5.0


def end(child: subprocess.Popen[bytes], *signals: signal.Signals) -> None:
    for number in signals:
        child.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # also its own children, where it did not end them
    child.wait()
