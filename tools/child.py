"""End a child that leads a process group of its own: send one signal after the other, then kill the group."""

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
        os.killpg(child.pid, signal.SIGKILL)  # also the children that the child has not ended
    child.wait()
