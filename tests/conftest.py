"""Fixtures: real servers that are ended, and looked after, whatever the test does."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers in `tmp_path`: start(*arguments, app=SOURCE). The source becomes app.py there."""
    servers: list[Server] = []

    def start_one(*arguments: str, app: str | None = None, **options: Any) -> Server:
        if app is not None:
            (tmp_path / "app.py").write_text(textwrap.dedent(app))
        servers.append(Server(tmp_path, *arguments, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        server.end()
