"""`wsgidctl top`: a live view of the server in the terminal, until q or Ctrl-C.

Rules
* Afterwards the terminal is always as it was before.
* Only this subcommand needs Rich. Without Rich it prints one sentence; --json works without Rich.
"""

import argparse
import json
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands import top_sample
from wsgid.ctl.commands.top_sample import Sample

HELP = "watch workers, rates and the slowest requests live; q quits"
INTERVAL_S = 1.0
_ALL_LINES = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=INTERVAL_S,
        metavar="SECONDS",
        help=f"seconds between two updates (default: {INTERVAL_S:g})",
    )
    parser.add_argument("--once", action="store_true", help="print the view once, and exit")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.2 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.2 to 3600")
    return seconds


def run(server: Server, given: argparse.Namespace) -> int:
    try:
        if given.json:
            _print_json(server, given)
        elif given.once:
            _print_frame(server, given.interval, _screen())
        elif sys.stdout.isatty():
            _watch(server, given.interval, _screen())
        else:
            raise CtlError("top needs a terminal: use `top --once`, or `top --json`, which prints one object a line")
    except KeyboardInterrupt:  # the usual way to quit
        pass
    return 0


def _screen() -> ModuleType:
    try:
        from wsgid.ctl.commands import top_screen
    except ImportError:
        raise CtlError("top needs the package rich: pip install rich, or use `top --json`") from None
    return top_screen


def _samples(server: Server, number: float, pause: Callable[[], bool]) -> Iterator[Sample]:
    """Yield so many samples; stop earlier when `pause` returns True."""
    taken, last = 0, None
    while True:
        last = top_sample.take(server, last)
        yield last
        taken += 1
        if taken >= number or not pause():
            return


def _pause(interval_s: float) -> bool:
    time.sleep(interval_s)
    return True


def _print_frame(server: Server, interval_s: float, top_screen: ModuleType) -> None:
    from rich.console import Console

    *_, last = _samples(server, 2, lambda: _pause(interval_s))
    Console().print(top_screen.draw(last, _ALL_LINES))


def _print_json(server: Server, given: argparse.Namespace) -> None:
    """Print one object for each interval. The first sample only begins the first interval."""
    taken = _samples(server, 2 if given.once else float("inf"), lambda: _pause(given.interval))
    next(taken)
    for sample in taken:
        print(json.dumps(sample.as_dict()), flush=True)


def _watch(server: Server, interval_s: float, top_screen: ModuleType) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        for sample in _samples(server, float("inf"), lambda: not pressed(interval_s)):
            live.update(top_screen.draw(sample, console.size.height), refresh=True)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Read single keys. Yields a function that waits so many seconds, and returns whether q was pressed."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script may have ignored SIGINT (sh(1))
    if not sys.stdin.isatty():
        yield lambda interval_s: not _pause(interval_s)
        return
    before: list[Any] = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _quits_within
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits_within(interval_s: float) -> bool:
    until_s = time.monotonic() + interval_s
    while (left_s := until_s - time.monotonic()) > 0:
        readable, _, _ = select.select([sys.stdin], [], [], left_s)
        if readable and os.read(sys.stdin.fileno(), 1) in (b"q", b"Q", b""):
            return True
    return False


def _leave(_signo: int, _frame: object) -> None:
    """End the program, so that the terminal is restored first."""
    raise SystemExit(1)
