"""`make demo` and `make demo-databases`: what they print, that their addresses are answered, and that nothing is
left."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.support.processes import kill_tree, still_runs
from tests.support.server import eventually
from tools.nginx import EXAMPLES

ROOT = EXAMPLES.parent
Demo = Callable[..., "subprocess.Popen[str]"]

STEPS = (
    "starting PostgreSQL, MariaDB and Redis",
    "making the tables: Django on PostgreSQL",
    "making the tables: Flask on MariaDB",
)

# The demo on a machine without nginx, for any user.
WITHOUT_NGINX = """
import os, sys
import tools.nginx, tools.demo
tools.nginx.find_nginx = lambda: None
os.geteuid = lambda: 1000
sys.exit(tools.demo.main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """The directory for the demo's temporary directories: its path is short enough for sockets, and other users can
    enter."""
    with tempfile.TemporaryDirectory(prefix="wsgid-demo-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def demo(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    """Start the demo with these arguments of Python."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        with open(directory / "said", "w") as said:
            started.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "TMPDIR": str(directory)},
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:  # the test has failed
            kill_tree(process.pid)
        process.wait()


def addresses(said: Path, *steps: str) -> list[str]:
    """The addresses that are served, when they are served. `steps` are the lines that the demo prints before."""
    for step in (*steps, "Ctrl-C ends it"):
        eventually(lambda: step in said.read_text(), f"the demo says: {step}")  # noqa: B023
    return re.findall(r"(?m)^  (http://127\.0\.0\.1:\d+/) ", said.read_text())


def assert_served(url: str, server: str) -> None:
    with urlopen(url) as response:
        assert b"Hello from wsgid" in response.read()
        assert response.headers.get("Server", "wsgid").startswith(server)


def assert_ends(process: "subprocess.Popen[str]", directory: Path, signo: signal.Signals = signal.SIGINT) -> None:
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signo)
    assert process.wait(20) == 0
    assert (directory / "said").read_text().endswith("The demo is over.\n")
    eventually(lambda: not any(map(still_runs, started)), "all its processes are reaped")
    assert [path.name for path in directory.iterdir()] == ["said"]


def test_the_demo_is_served_over_http_and_through_nginx(demo: Demo, directory: Path) -> None:
    process = demo("-m", "tools.demo")
    straight, through = addresses(directory / "said")
    assert_served(straight, "wsgid")
    assert_served(through, "nginx")
    assert_ends(process, directory)


def test_without_nginx_the_demo_is_served_over_http_and_says_how_to_get_nginx(demo: Demo, directory: Path) -> None:
    process = demo("-c", WITHOUT_NGINX)
    [straight] = addresses(directory / "said")
    assert_served(straight, "wsgid")
    assert (
        "sudo apt-get install nginx)\nWithout nginx, this is served over HTTP alone.\n"
        in (directory / "said").read_text()
    )
    assert_ends(process, directory)


def test_with_databases_both_sites_are_served_and_the_commands_work(demo: Demo, directory: Path) -> None:
    process = demo("-m", "tools.demo_databases")
    django, flask = addresses(directory / "said", *STEPS)
    tried = re.findall(rf"(?m)^  (curl .* (?:{django}|{flask}))$", (directory / "said").read_text())
    pages = [subprocess.run(shlex.split(command), capture_output=True, text=True, check=True) for command in tried]
    assert [page.stdout.count("This is your visit number") for page in pages] == [1, 1]
    assert "<li>Hello, " in pages[1].stdout  # the text that the site's command has written
    assert_ends(process, directory, signal.SIGTERM)


def test_with_databases_the_demo_can_be_ended_while_it_starts(demo: Demo, directory: Path) -> None:
    process = demo("-m", "tools.demo_databases")
    eventually(lambda: STEPS[0] in (directory / "said").read_text(), "the databases start")
    assert_ends(process, directory)
