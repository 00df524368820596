"""`make demo`: what it says, that it answers where it says, and that it leaves nothing."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.server import eventually
from tools.nginx import EXAMPLES

ROOT = EXAMPLES.parent
Demo = Callable[..., "subprocess.Popen[str]"]

# What a machine without nginx is to the demo, whoever it is run by.
WITHOUT_NGINX = """
import os, sys
import tools.nginx, tools.demo
tools.nginx.find_nginx = lambda: None
os.geteuid = lambda: 1000
sys.exit(tools.demo.main())
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    """Start it with these arguments of Python's."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        with open(tmp_path / "said", "w") as said:
            started.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "TMPDIR": str(tmp_path)},
                )
            )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def addresses(said: Path) -> list[str]:
    eventually(lambda: "Ctrl-C ends it" in said.read_text(), "the demo is up")
    return re.findall(r"(?m)^  (http://127\.0\.0\.1:\d+/) ", said.read_text())


def assert_served(url: str, server: str) -> None:
    with urlopen(url) as response:
        assert b"Hello from wsgid" in response.read()
        assert response.headers.get("Server", "wsgid").startswith(server)


def assert_ends(process: "subprocess.Popen[str]", directory: Path) -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert (directory / "said").read_text().endswith("The demo is over.\n")
    assert [path.name for path in directory.iterdir()] == ["said"]


def test_it_is_served_over_http_and_through_nginx(demo: Demo, tmp_path: Path) -> None:
    process = demo("-m", "tools.demo")
    straight, through = addresses(tmp_path / "said")
    assert_served(straight, "wsgid")
    assert_served(through, "nginx")
    assert_ends(process, tmp_path)


def test_without_nginx_it_is_served_over_http_and_says_how_to_get_nginx(demo: Demo, tmp_path: Path) -> None:
    process = demo("-c", WITHOUT_NGINX)
    [straight] = addresses(tmp_path / "said")
    assert_served(straight, "wsgid")
    assert (
        "sudo apt-get install nginx)\nWithout nginx, this is served over HTTP alone.\n"
        in (tmp_path / "said").read_text()
    )
    assert_ends(process, tmp_path)
