"""What the log says of a process that has ended, and what is known of one that is gone."""

import os
import signal

import pytest

from wsgid.linux import process


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with code 0"),
        (3 << 8, "exited with code 3"),
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSEGV | 0x80, "was killed by SIGSEGV"),  # with a core dump: wait(2)
        (signal.SIGRTMIN + 3, f"was killed by signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert process.status_in_words(status) == words


def test_the_processor_time_of_a_process_that_is_gone_is_0() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert process.cpu_us(pid) == 0 < process.cpu_us(os.getpid())
