"""wsgidctl top, in a terminal of its own (pty(7))."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.busy_site import send, serve
from tests.support.ctl import PROGRAM, refusal, said, wsgidctl
from tests.support.server import PATIENCE_S, eventually
from wsgid import __version__
from wsgid.ctl.commands import top_screen
from wsgid.ctl.commands.top_sample import Sample

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen


class Terminal:
    """A program in a pseudo terminal."""

    def __init__(self, directory: Path, *arguments: str, lines: int = 24, columns: int = 80) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.output = b""
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=directory,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # for Ctrl-C
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        )  # the size is the size of the terminal

    def read_until(self, pattern: bytes) -> bytes:
        deadline_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline_s, f"no {pattern!r} in {self.output!r}"
            self._read()
        return self.output

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.05)[0]:
            self.output += os.read(self._ours, 65536)

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def wait(self) -> int:
        """The exit code of the program. Its remaining output is read meanwhile."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline_s, self.output
            self._read()
        while select.select([self._ours], [], [], 0.2)[0]:  # a terminal hands over a few KB at a time
            self._read()
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.before and self.output.count(ENTER) == self.output.count(LEAVE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@contextmanager
def terminal(directory: Path, *arguments: str, **size: int) -> Iterator[Terminal]:
    opened = Terminal(directory, *arguments, **size)
    try:
        yield opened
    finally:
        opened.end()


@pytest.mark.parametrize("key", [b"q", b"Q", b"\x03"])
def test_top_shows_the_server_until_a_key_and_leaves_the_terminal_as_it_was(
    start: Start, tmp_path: Path, key: bytes
) -> None:
    server = serve(start, workers=2)
    with send(server, "/sleep"), terminal(tmp_path, "top", "--interval", "0.2") as top:
        top.read_until(rb"(?s)/sleep.*/sleep")  # two frames
        assert ENTER in top.output and LEAVE not in top.output and not top.is_as_before()
        for word in (
            f"wsgid {__version__}".encode(),
            b"app:application",
            b"2 of 2 workers",
            b"req/s",
            b"1/2000 in flight",
        ):
            assert word in top.output
        top.press(key)
        assert top.wait() == 0
        assert top.is_as_before()


def test_top_leaves_the_terminal_as_it_was_when_top_is_ended_or_the_server_goes(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with terminal(tmp_path, "top", "--interval", "0.2") as top:
        top.read_until(rb"req/s")
        top.process.send_signal(Signals.SIGTERM)
        assert top.wait() == 1 and top.is_as_before()
    with terminal(tmp_path, "top", "--interval", "0.2") as top:
        top.read_until(rb"req/s")
        assert server.stop() == 0
        assert top.wait() == 1 and top.is_as_before()
        assert b"Traceback" not in top.output and b"wsgidctl: " in top.output


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (10, 40), (50, 200), (3, 10)])
def test_a_frame_fits_its_terminal(start: Start, tmp_path: Path, lines: int, columns: int) -> None:
    server = serve(start, workers=2)
    with (
        send(server, "/sleep/" + "x" * 300),
        terminal(tmp_path, "top", "--interval", "0.2", lines=lines, columns=columns) as top,
    ):
        top.read_until(rb"(?s)wsgid.*wsgid")
        screen = top.output.split(ENTER)[1]
        for line in re.split(rb"\x1b\[H", screen)[-1].split(b"\n")[:lines]:
            shown = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", line).rstrip(b"\r").decode()
            assert len(shown) <= columns, shown
        top.press(b"q")
        assert top.wait() == 0


def test_one_frame_for_a_pipe(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with send(server, "/sleep"):
        eventually(lambda: said(tmp_path, "requests")["total"] == 1, "the request runs")
        row = r"^ *0 +ready +0 +\S+s +0\.0 +1/1000 +\d+ ms +\d+ % +\d+ % +\d+\.\d MiB +0 *$"
        # on a busy machine an event loop may be late: then it is shown as held up
        shown = eventually(
            lambda: (
                text
                if re.search(row, text := wsgidctl(tmp_path, "top", "--once", "--interval", "0.2").stdout, re.MULTILINE)
                else ""
            ),
            "the worker is shown",
        )
    assert "\x1b" not in shown
    for columns in (top_screen.WORKER_COLUMNS, top_screen.REQUEST_COLUMNS):
        assert re.search(r" *" + r" +".join(map(re.escape, columns)), shown)
    assert re.search(r"^\d+\.\ds +0 +GET +/sleep +127.0.0.1", shown, re.MULTILINE)
    assert "use `top --once`" in refusal(tmp_path, "top")


def test_json_is_an_object_for_each_interval(start: Start, tmp_path: Path) -> None:
    serve(start)
    with subprocess.Popen(
        [PROGRAM, "top", "--json", "--interval", "0.2"], cwd=tmp_path, text=True, stdout=subprocess.PIPE
    ) as top:
        assert top.stdout
        lines = top.stdout
        first = json.loads(lines.readline())
        for _ in range(5):
            client.get(tmp_path / "app.sock")
        eventually(lambda: json.loads(lines.readline())["per_s"]["requests"], "the requests are counted")
        top.terminate()
    assert first["per_s"]["requests"] == 0
    assert said(tmp_path, "top", "--once", "--interval", "0.2")["ready"] == 1


def test_a_worker_that_is_held_up_is_marked_and_not_waited_for(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with send(server, "/stuck"):
        server.wait_for("its event loop has not run")
        done = wsgidctl(tmp_path, "top", "--once", "--interval", "0.2")
        assert re.search(r"^! worker 0's event loop has not run", done.stdout, re.MULTILINE)
        assert re.search(r"held \d+\.\ds", done.stdout)
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_without_rich_top_says_how_to_get_rich(start: Start, tmp_path: Path) -> None:
    serve(start)
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('no rich here')\n")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = wsgidctl(tmp_path, "top", "--once", env=environ)
    assert done.returncode == 1
    assert done.stderr == ("wsgidctl: top needs the package rich: pip install rich, or use `top --json`\n")
    assert wsgidctl(tmp_path, "status", env=environ).returncode == 0
    assert wsgidctl(tmp_path, "top", "--once", "--json", "--interval", "0.2", env=environ).returncode == 0


_COUNTED = "requests 5xx cpu_us collector_us busy_us fronted front_us waiting_us reading_us sending_us"
RATES = dict.fromkeys(_COUNTED.split(), 1.0)


def sample(workers: int, requests: int, wrong: int) -> Sample:
    def worker(slot: int) -> dict[str, Any]:
        return {
            "slot": slot,
            "state": "ready",
            "pid": 10 + slot,
            "generation": 0,
            "age_s": 5.0,
            "in_flight": slot,
            "heartbeat_age_s": 0.1,
            "lag_s": 0.0,
            "stood_still": 0.0,
            "rss_bytes": 1 << 20,
            "restarts": {},
            "rests_s": 0.0,
        }

    status = {
        "version": "1",
        "application": "a[bold]:b",
        "mode": "running",
        "uptime_s": 1.0,
        "generation": 0,
        "pid": 1,
        "ready": workers,
        "wanted": workers,
        "places": 1000,
        "hub_warn_s": 1.0,
        "listeners": [],
        "totals": {"timed_out": 0, "rejected": 0},
        "workers": list(map(worker, range(workers))),
    }
    slow = {"age_s": 2.0, "worker": 0, "method": "GET", "path": "/[red]x", "peer": "::1"}
    return Sample(status, 0.0, ["wrong"] * wrong, [slow] * requests, RATES, {0: 1.0}, {0: 0.5})


@pytest.mark.parametrize("lines", [24, 40, 100])
@pytest.mark.parametrize(("workers", "requests", "wrong"), [(1, 0, 0), (64, 20, 9), (2, 20, 0), (300, 0, 4)])
def test_what_does_not_fit_is_counted(lines: int, workers: int, requests: int, wrong: int) -> None:
    from rich.console import Console

    console = Console(width=80, file=open(os.devnull, "w"), record=True)
    console.print(top_screen.draw(sample(workers, requests, wrong), lines))
    console.file.close()
    printed = console.export_text()
    assert len(printed.splitlines()) <= lines
    assert "a[bold]:b" in printed  # no markup
    shown = len(re.findall(r"^ *\d+ +ready", printed, re.MULTILINE))
    assert shown == workers or f"and {workers - shown} more worker" in printed
    if shown < workers:
        assert re.search(rf"^ *{workers - 1} +ready", printed, re.MULTILINE)  # the busiest worker is shown
    assert not requests or "/[red]x" in printed
