"""Fixtures: real servers. Each server is ended after its test, and the fixture looks for processes that are left."""

import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, profiles
from tests.support.server import Server
from wsgid import compiled

Start = Callable[..., Server]

profiles.load()
# pytest rewrites the tests before it compiles them. The result is kept for the other processes and runs, also where
# PYTHONDONTWRITEBYTECODE is set: that is four seconds of processor time for each of the ten processes of `make test`.
sys.dont_write_bytecode = False


def pytest_report_header() -> str:
    return f"wsgid's hot path: {compiled.described()}"


def pytest_sessionstart() -> None:
    """The tests refuse to run on an extension module that is older than its source. An installed package has no source
    to compile again: the times of its files say nothing."""
    if not Path(compiled.__file__).is_relative_to(ROOT):
        return
    for name in compiled.hot():
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        built = Path(spec.origin)
        sources = [built.with_name(name.rpartition(".")[2] + suffix) for suffix in (".pyx", ".pxd", ".py")]
        first, *more = [source for source in sources if source.exists()]
        read = [first, *more] if first.suffix == ".pxd" else [first]  # beside a .pyx, the .py is the pure form
        newer = [source.name for source in read if source.stat().st_mtime > built.stat().st_mtime]
        if newer and built.suffix == ".so":
            pytest.exit(f"{newer[0]} is newer than its compiled form: run `make build`", 2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers in `tmp_path`: start(*arguments, app=SOURCE). The source is written to app.py there."""
    servers: list[Server] = []

    def start_one(*arguments: str, app: str | None = None, **options: Any) -> Server:
        if app is not None:
            (tmp_path / "app.py").write_text(textwrap.dedent(app))
        servers.append(Server(tmp_path, *arguments, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        server.end()
