"""Run the real `wsgidctl dashboard`, and ask it as its page does."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.ctl import PATIENCE_S, PROGRAM
from wsgid.ctl.dashboard.access import TOKEN_HEADER


class Reply:
    """An answer over HTTP."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode().strip()


class Dashboard:
    """A dashboard that runs."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url
        self.address = urlsplit(url)
        self.token = self.address.query.removeprefix("token=")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Ask, with no other headers than these and those that HTTP needs."""
        assert self.address.hostname
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def ask(self, question: str) -> Any:
        reply = self.request("GET", f"/api/{question}", headers={TOKEN_HEADER: self.token})
        assert reply.status == 200, reply.text
        return json.loads(reply.body)

    def order(self, name: str, **given: Any) -> Any:
        reply = self.request("POST", f"/api/{name}", json.dumps(given).encode(), {TOKEN_HEADER: self.token})
        assert reply.status == 200, reply.text
        return json.loads(reply.body)


@contextmanager
def command(
    directory: Path, *arguments: str, environ: dict[str, str] | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """The command itself, for tests of what it prints. It ends with the test, whatever happens."""
    with subprocess.Popen(
        [PROGRAM, *arguments], cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def dashboard(directory: Path, *arguments: str) -> Iterator[Dashboard]:
    """A dashboard of the server in this directory. At its end TERM has to end it, without an error."""
    with subprocess.Popen(
        [PROGRAM, "dashboard", "--json", *arguments],
        cwd=directory,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        try:
            yield Dashboard(process, json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            said = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0 and "Traceback" not in said, said
