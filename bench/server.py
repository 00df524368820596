"""A peer that runs, behind nginx or without nginx, from `with` to the end of its block. Then no process of it is
left."""

import http.client
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import IO

from bench import cost
from bench.peers import HOST, Launch, Peer
from tools import child
from tools.nginx import Nginx

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 20.0
ANSWER_DEADLINE_S = 10.0
POLL_S = 0.005


class ServerError(Exception):
    """The peer does not start, or does not answer as it should. The message says what was seen."""


class WrongAnswer(ServerError):
    """The peer is up, and answers something else than the application did."""


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a shape, and the answer that has to come.

    Args:
        answer: the body of the answer.
        posted_bytes: the size of the body that is sent.
        page: the part of the path behind the location of bench/front.py.
    """

    answer: bytes
    posted_bytes: int = 0
    page: str = ""


class Route(Enum):
    """How the load gets to the server."""

    NGINX = auto()  # nginx makes a new connection to the server for each request
    NGINX_KEPT = auto()  # nginx keeps its connections to the server
    STRAIGHT = auto()  # without nginx


@dataclass(frozen=True, slots=True)
class Server:
    """A peer that has answered.

    Args:
        pid: of its first process.
        socket: the path on which it listens.
        port: of the loopback, which gets the load.
        path: of the request.
        command: what was executed.
        up_s: the time from exec to the first right answer.
        up_cpu_s: the processor time of all its processes up to then.
    """

    pid: int
    socket: Path
    port: int
    path: str
    command: tuple[str, ...] = ()
    up_s: float = 0.0
    up_cpu_s: float = 0.0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"

    def check(self, request: Request) -> None:
        """Raises ServerError unless the server gives exactly this answer, on its route."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_DEADLINE_S)
        body = bytes(request.posted_bytes) or None
        try:
            connection.request("POST" if body else "GET", self.path, body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"no answer: {error!r}") from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise ServerError(f"status {response.status}")
        if content != request.answer:
            raise WrongAnswer(f"a wrong answer of {len(content):,} bytes instead of {len(request.answer):,}")


@contextmanager
def running(peer: Peer, launch: Launch, nginx: Nginx | None, request: Request, route: Route) -> Iterator[Server]:
    """Run a peer. nginx may be None on the route STRAIGHT."""
    launch.socket.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as log:
        started_s = time.monotonic()
        process = _start(peer, launch, log)
        try:
            location = "/kept" if route is Route.NGINX_KEPT else f"/{peer.protocol.value}"
            port = nginx.port if nginx and route is not Route.STRAIGHT else launch.port
            server = Server(process.pid, launch.socket, port, location + request.page, tuple(peer.command(launch)))
            try:
                _wait_until_up(process, server, request)
                yield replace(server, up_s=time.monotonic() - started_s, up_cpu_s=cost.cpu_s(server.pid))
            except ServerError as error:
                raise ServerError(f"{error}; its log ends with: {_last_words(log.fileno())}") from None
        finally:
            child.end(process, signal.SIGTERM)


def _start(peer: Peer, launch: Launch, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the peer in a process group of its own: Ctrl-C reaches only this program, which ends what it has
    started."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **peer.environ}
    try:
        return subprocess.Popen(
            peer.command(launch),
            cwd=launch.socket.parent,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServerError(f"cannot be started: {error}") from None


def _wait_until_up(process: subprocess.Popen[bytes], server: Server, request: Request) -> None:
    deadline_s = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            return server.check(request)
        except WrongAnswer:
            raise
        except ServerError as error:
            if process.poll() is not None:
                raise ServerError(f"ended with status {process.returncode}") from None
            if time.monotonic() > deadline_s:
                raise ServerError(f"not up after {START_DEADLINE_S:.0f} s: {error}") from None
        time.sleep(POLL_S)


def _last_words(log_fd: int) -> str:
    """The last line that names an error, or else the last line."""
    end = os.fstat(log_fd).st_size
    lines = os.pread(log_fd, 8192, max(0, end - 8192)).decode(errors="replace").splitlines()
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in reversed(said) if "error" in line.lower()), said[-1] if said else "none")
