"""The servers that are compared. Each server is started with options for high performance.

Rules
* All servers get the same number of workers, and the same backlog or a longer one. Servers with gevent get places for
  1000 requests in a worker, or more. No server writes an access log, except those of wsgid that are named after it.
* wsgid has its defaults on (counters, heartbeat), and also --harakiri, so that its time-outs are in force.
* A command stays in the foreground, and its descendants stay in its process group.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tools.nginx import ensure_nginx

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
GEVENT_PLACES = 1000
CROWD = 10_000  # requests
THREADS = 100  # of a worker
NGINX = """\
daemon off;
pid nginx.pid;
error_log nginx.log;
{user}
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    server {{
        listen 127.0.0.1:{port};
        location /http {{ alias {directory}; }}
    }}
}}
"""
BACKLOG = 4096  # the kernel's own limit on most machines (net.core.somaxconn)


class Protocol(Enum):
    """The protocol of a server. The value is its location in bench/front.py. There, nginx makes a connection for each
    request."""

    UWSGI = "uwsgi"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server has to do.

    Args:
        application: MODULE:CALLABLE.
        workers: the number of processes.
        waiting: the number of requests that a worker must be able to have in flight together; 1 if no request waits.
        socket: the path to listen on.
        port: a port of the loopback, to listen on instead; 0: no port.
    """

    application: str
    workers: int
    waiting: int
    socket: Path
    port: int = 0

    @property
    def places(self) -> int:
        return max(GEVENT_PLACES, self.waiting)

    @property
    def harakiri_s(self) -> int:
        """The limit of a request. Thousands of requests that wait have to stay until they are let go."""
        return 30 if self.waiting < CROWD else 3600


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    protocol: Protocol
    command: Callable[[Launch], list[str]]
    environ: dict[str, str] = field(default_factory=dict)


def _wsgid(launch: Launch) -> list[str]:
    return [
        str(BIN / "wsgid"),
        "--socket",
        str(launch.socket),
        "--workers",
        str(launch.workers),
        "--gevent",
        str(launch.places),
        "--harakiri",
        str(launch.harakiri_s),
        launch.application,
    ]


def _wsgid_access_log(launch: Launch) -> list[str]:
    """The access log goes to standard error, which is a file here."""
    return [*_wsgid(launch), "--access-log", "-"]


def _wsgid_access_log_combined(launch: Launch) -> list[str]:
    return [*_wsgid_access_log(launch), "--log-format", "combined"]


def _wsgid_http(launch: Launch) -> list[str]:
    address = f"{HOST}:{launch.port}" if launch.port else str(launch.socket)
    kept = ["--http-idle", str(launch.places), "--http-keepalive", "3600"] if launch.waiting >= CROWD else []
    return [
        str(BIN / "wsgid"),
        "--http",
        address,
        "--workers",
        str(launch.workers),
        "--gevent",
        str(launch.places),
        "--harakiri",
        str(launch.harakiri_s),
        *kept,
        launch.application,
    ]


def _wsgid_static(launch: Launch) -> list[str]:
    return [*_wsgid_http(launch), "--static-map", f"/http={launch.socket.parent}"]


def _nginx(launch: Launch) -> list[str]:
    """One worker that sends files itself, with sendfile(2)."""
    directory = launch.socket.parent
    configuration = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # nginx's own user could not enter the directory
    configuration.write_text(NGINX.format(user=user, port=launch.port, directory=directory))
    return [ensure_nginx(), "-p", str(directory), "-e", "nginx.log", "-c", str(configuration)]


def _uwsgi(launch: Launch) -> list[str]:
    return _uwsgi_on(launch, "--socket", str(launch.socket))


def _uwsgi_http(launch: Launch) -> list[str]:
    """The one socket of it that keeps connections over HTTP: --http-socket closes each, whatever it says."""
    return _uwsgi_on(launch, "--http11-socket", f"{HOST}:{launch.port}" if launch.port else str(launch.socket))


def _uwsgi_on(launch: Launch, option: str, address: str) -> list[str]:
    return [
        str(BIN / "uwsgi"),
        option,
        address,
        "--module",
        launch.application,
        "--virtualenv",
        sys.prefix,
        "--master",
        "--processes",
        str(launch.workers),
        "--listen",
        str(BACKLOG),
        "--need-app",
        "--disable-logging",
        "--die-on-term",
        "--vacuum",
        "--thunder-lock",
        "--auto-procname",
    ]


def _uwsgi_gevent(launch: Launch) -> list[str]:
    return [*_uwsgi(launch), "--gevent", str(launch.places), "--gevent-early-monkey-patch"]


def _gunicorn(launch: Launch, *worker: str) -> list[str]:
    """No control socket: gunicorn would make it in the home directory."""
    address = f"{HOST}:{launch.port}" if launch.port else f"unix:{launch.socket}"
    kept = ["--keep-alive", "3600"] if launch.waiting >= CROWD else []
    return [
        str(BIN / "gunicorn"),
        "--bind",
        address,
        "--workers",
        str(launch.workers),
        *worker,
        "--worker-connections",
        str(launch.places),
        "--backlog",
        str(BACKLOG),
        "--no-control-socket",
        *kept,
        launch.application,
    ]


def _gunicorn_gevent(launch: Launch) -> list[str]:
    return _gunicorn(launch, "--worker-class", "gevent")


def _gunicorn_uwsgi(launch: Launch) -> list[str]:
    return [*_gunicorn_gevent(launch), "--protocol", "uwsgi"]


def _gunicorn_gthread(launch: Launch) -> list[str]:
    """As many threads as can run: more threads would compete for the GIL. A request without a thread waits in the
    worker's queue."""
    return _gunicorn(launch, "--worker-class", "gthread", "--threads", str(min(launch.waiting, THREADS)))


def _granian(launch: Launch) -> list[str]:
    """Threads only where requests wait. For other applications its manual recommends one thread: more would compete for
    the GIL."""
    address = ["--host", HOST, "--port", str(launch.port)] if launch.port else ["--uds", str(launch.socket)]
    return [
        str(BIN / "granian"),
        "--interface",
        "wsgi",
        *address,
        "--workers",
        str(launch.workers),
        "--blocking-threads",
        str(launch.waiting),
        "--backpressure",
        str(launch.places),
        "--backlog",
        str(BACKLOG),
        "--http",
        "1",
        "--no-ws",
        launch.application,
    ]


def _one_process(name: str) -> Callable[[Launch], list[str]]:
    """Only on a port: fastwsgi has no unix sockets."""
    return lambda launch: [sys.executable, "-m", "bench.one_process", name, launch.application, str(launch.port)]


def _floor(launch: Launch) -> list[str]:
    program = launch.socket.with_name("floor")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(program), str(HERE / "floor.c")], check=True)
    return [str(program), str(launch.socket), str(launch.workers)]


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("wsgid", Protocol.UWSGI, _wsgid),
        Peer("wsgid-pure", Protocol.UWSGI, _wsgid, {"WSGID_PURE": "1"}),
        Peer("wsgid-access-log", Protocol.UWSGI, _wsgid_access_log),
        Peer("wsgid-access-log-combined", Protocol.UWSGI, _wsgid_access_log_combined),
        Peer("wsgid-http", Protocol.HTTP, _wsgid_http),
        Peer("uwsgi-sync", Protocol.UWSGI, _uwsgi),
        Peer("uwsgi-gevent", Protocol.UWSGI, _uwsgi_gevent),
        Peer("gunicorn-uwsgi", Protocol.UWSGI, _gunicorn_uwsgi),
        Peer("gunicorn-http", Protocol.HTTP, _gunicorn_gevent),
        Peer("gunicorn-gthread", Protocol.HTTP, _gunicorn_gthread),
        Peer("granian", Protocol.HTTP, _granian),
        Peer("uwsgi-http", Protocol.HTTP, _uwsgi_http),
        Peer("bjoern", Protocol.HTTP, _one_process("bjoern")),
        Peer("fastwsgi", Protocol.HTTP, _one_process("fastwsgi")),
        Peer("pywsgi", Protocol.HTTP, _one_process("pywsgi")),
        Peer("wsgid-static", Protocol.HTTP, _wsgid_static),
        Peer("nginx", Protocol.HTTP, _nginx),
        Peer("floor", Protocol.UWSGI, _floor),
    )
}
