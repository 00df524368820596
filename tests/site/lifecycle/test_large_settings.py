"""Settings of any length reach the processes of the server."""

import subprocess
import sys
import textwrap
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client

APP = """
    import os
    def application(environ, start_response):
        start_response("200 OK", [])
        return [str(sum(len(value) for name, value in os.environ.items() if name.startswith("MANY_"))).encode()]
"""
VARIABLES, VALUE_CHARS = 60, 10_000


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file with many variables: together they are longer than a datagram."""
    path = tmp_path / "wsgid.toml"
    variables = [f"MANY_{number}={'x' * VALUE_CHARS}" for number in range(VARIABLES)]
    path.write_text(f"env = {variables!r}\n")
    return path


def test_a_server_with_large_settings_starts_and_reloads(start: Start, large: Path) -> None:
    server = start("--config", str(large), "--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert client.get(server.directory / "app.sock").body == b"%d" % (VARIABLES * VALUE_CHARS)
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(1, 1)
    assert client.get(server.directory / "app.sock").body == b"%d" % (VARIABLES * VALUE_CHARS)
    assert server.stop() == 0


def test_the_check_imports_an_application_with_large_settings(large: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        f"import os; assert len(os.environ['MANY_{VARIABLES - 1}']) == {VALUE_CHARS}\n{textwrap.dedent(APP)}"
    )
    arguments = ["--check", "--config", str(large), "--socket", "app.sock", "app:application"]
    command = [sys.executable, "-m", "wsgid", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
