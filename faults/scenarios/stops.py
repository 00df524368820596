"""SIGTERM under full load: requests that were accepted, and requests that wait in the backlog, are answered."""

import re
import time
from pathlib import Path

from faults.apps import MIXED
from faults.report import Result, Scenario
from faults.rows import counted
from faults.site import ended, nginx_address, nginx_for, serving
from tests.support.load import REFUSED, RIGHT, Load, Plan
from tests.support.server import Server, eventually

PLACES = 8  # --gevent of the servers that are stopped


def stop() -> list[Result]:
    return [*stop_at_the_socket(), *stop_behind_nginx()]


def stop_at_the_socket(clients: int = 128) -> list[Result]:
    """Count the requests that are lost when SIGTERM comes under full load. A client ends when it is refused. After the
    unlink no worker has taken its connection, so no request is lost by a refusal."""
    with serving("--gevent", str(PLACES), "app:application", workers=2) as server:
        with Load(Plan(server.directory / "app.sock", MIXED, clients, ends_with=(REFUSED,))) as load:
            term_s, end = _term(server, load)
    outcomes = load.outcomes()
    lost = len(load.records) - outcomes[RIGHT] - outcomes[REFUSED]
    return [_open_at(load, term_s), Result("0 lost, at the socket", counted(lost, load), lost == 0), end]


def stop_behind_nginx(clients: int = 128) -> list[Result]:
    """The same through nginx. nginx answers 502 when it is refused: as many 502s as nginx's log has failed connects are
    no loss."""
    with serving("--gevent", str(PLACES), "app:application", workers=2) as server, nginx_for(server) as nginx:
        with Load(Plan(nginx_address(nginx), MIXED, clients, ends_with=("status 502",))) as load:
            term_s, end = _term(server, load)
        refused = len(re.findall(r"connect\(\) to unix:\S+ failed", nginx.error_log()))
        others = [line for line in nginx.error_log().splitlines() if "[error]" in line and "connect()" not in line]
    outcomes = load.outcomes()
    lost = len(load.records) - outcomes[RIGHT] - min(outcomes["status 502"], refused)
    return [
        _open_at(load, term_s),
        Result(
            "0 lost, behind nginx (502 of a refused connect aside)",
            f"{counted(lost, load)}; {outcomes['status 502']} x 502 for {refused} refused connects",
            lost == 0 and not others,
        ),
        end,
    ]


def _term(server: Server, load: Load) -> tuple[float, Result]:
    """Stop when enough requests are open. Returns the time, and how the server ended."""
    wanted = _open_wanted(load) * 9 // 8  # some requests end between this look and the signal
    eventually(lambda: _connections(server) >= wanted, f"{wanted} requests are open")
    term_s = time.monotonic()
    return term_s, ended(server)


def _connections(server: Server) -> int:
    """Connections on app.sock, accepted or waiting: the kernel gives both the listener's name (proc(5),
    /proc/net/unix)."""
    name = f" {server.directory}/app.sock"
    return sum(line.endswith(name) for line in Path("/proc/net/unix").read_text().splitlines()) - 1


def _open_wanted(load: Load) -> int:
    return min(72, load.plan.clients // 2)


def _open_at(load: Load, moment_s: float) -> Result:
    """Requests that began before that moment and ended after it. They were in flight then, or waited for a place."""
    count = sum(record.started_s < moment_s < record.ended_s for record in load.records)
    bar = _open_wanted(load)
    return Result(
        f"at least {bar} requests open at SIGTERM; --gevent has places for {2 * PLACES}",
        str(count),
        count >= bar > 2 * PLACES,
    )


SCENARIOS: tuple[Scenario, ...] = (stop,)
