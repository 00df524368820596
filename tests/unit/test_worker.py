"""The worker's signal handler, without a server."""

import sys
from signal import SIGXCPU
from types import FrameType, SimpleNamespace
from typing import Any

from wsgid.worker import Worker


def test_a_signal_that_interrupts_its_own_handler_shows_the_code_that_holds_the_loop() -> None:
    """As two questions to a worker whose loop is held up: the second one comes while the first is answered."""
    shown: list[FrameType] = []

    def on_stall(signo: int, frame: FrameType) -> None:
        shown.append(frame)
        if len(shown) < 3:
            Worker._on_stall(worker, signo, sys._getframe())

    worker: Any = SimpleNamespace(_access_log=None, _timeouts=SimpleNamespace(on_stall=on_stall))

    def application() -> None:
        Worker._on_stall(worker, SIGXCPU, sys._getframe())

    application()
    assert [frame.f_code.co_name for frame in shown] == ["application"] * 3
