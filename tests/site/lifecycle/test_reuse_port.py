"""--reuse-port: a socket for each worker. Each socket always has a worker, and no connection is lost when workers
change."""

import os
import re
from pathlib import Path
from signal import Signals

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client, pid_app
from tests.support.load import BROKEN, Load, Plan, Way
from tests.support.processes import open_files
from tests.support.server import Server, eventually, halt
from wsgid.supervisor.reuse_port import deal

pytestmark = pytest.mark.alone

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def serve(start: Start, *options: str, workers: int = 2, app: str = pid_app.SOURCE) -> Server:
    return start(
        "--http", "127.0.0.1:0", "--reuse-port", "--workers", str(workers), *options, "app:application", app=app
    ).wait_ready(workers)


def listeners(pid: int, address: tuple[str, int]) -> set[str]:
    """The inodes of a process's listening sockets on this address (proc(5), net/tcp: state 0A)."""
    there = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split()) and fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == address[1]
    }
    return there & {target.removeprefix("socket:[").removesuffix("]") for target in open_files(pid).values()}


def shares(server: Server, address: tuple[str, int]) -> list[set[str]]:
    found = []
    for pid in server.worker_pids():
        try:
            found.append(listeners(pid, address))
        except FileNotFoundError:  # the process has just ended
            continue
    return found


def are_dealt(server: Server, address: tuple[str, int], workers: int) -> bool:
    """Whether there are this many workers, each socket has one worker, and no socket has two."""
    dealt = shares(server, address)
    ours = listeners(server.pid, address)
    return len(dealt) == workers and all(dealt) and set().union(*dealt) == ours and sum(map(len, dealt)) == len(ours)


def settled(server: Server, address: tuple[str, int], workers: int) -> None:
    eventually(lambda: are_dealt(server, address, workers), f"each socket has one of {workers} workers")


@given(st.integers(1, 40), st.lists(st.integers(0, 60), unique=True, max_size=40))
def test_each_socket_has_a_worker_and_each_worker_a_socket(count: int, seats: list[int]) -> None:
    dealt = deal(count, seats)
    assert len(dealt) == len(seats)
    assert all(dealt) and all(seat % count in share for seat, share in zip(seats, dealt))
    assert not seats or set().union(*dealt) == set(range(count))


@given(st.integers(1, 40))
def test_no_workers_share_a_socket_when_there_are_as_many_workers_as_sockets(count: int) -> None:
    assert deal(count, range(count)) == [{number} for number in range(count)]


def test_each_worker_has_a_socket_of_its_own(start: Start) -> None:
    server = serve(start, workers=3)
    address = server.tcp_addresses()[0]
    settled(server, address, 3)
    assert len(listeners(server.pid, address)) == 3
    with Load(Plan(address, (pid_app.PID,), 6, ways=(Way.CLOSE,))) as load:
        load.more(300)
    assert load.wrong == []
    assert server.stop() == 0
    server.assert_nothing_left()


def test_what_waits_in_the_queue_of_a_killed_worker_is_answered(start: Start) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    settled(server, address, 2)
    for pid in server.worker_pids():
        halt(pid)
    waiting = [client.connect(address) for _ in range(200)]
    for connection in waiting:
        connection.sendall(GET)
    stopped = server.worker_pids()
    os.kill(stopped[0], Signals.SIGKILL)
    server.wait_ready(3)
    os.kill(stopped[1], Signals.SIGCONT)
    answers = [client.parse(client.read_all(connection)) for connection in waiting]
    assert [answer.status for answer in answers] == [200] * 200
    assert len({answer.body for answer in answers}) > 1  # the kernel has spread the connections
    for connection in waiting:
        connection.close()
    settled(server, address, 2)


def test_kills_under_load_lose_what_was_in_flight_alone(start: Start) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    with Load(Plan(address, (pid_app.WORK,), 12, ways=(Way.CLOSE, Way.KEEP_ALIVE))) as load:
        for count in range(3):
            os.kill(server.worker_pids()[0], Signals.SIGKILL)
            server.wait_ready(3 + count)
            load.more()
    killed = server.wait_for(r"was killed by SIGKILL")
    lost = sum(int(said[1]) for line in server.lines if (said := re.search(r"SIGKILL with (\d+) requests", line)))
    # A connection without a request is cut, too: a kept one between two requests, and one whose request has not
    # arrived yet. At most one of each client, each time.
    assert len(killed) == 3 and len(load.wrong) <= lost + 3 * 12
    with Load(Plan(address, (pid_app.PID,), 6, ways=(Way.CLOSE,))) as after:
        after.more()
    assert after.wrong == []


@pytest.mark.parametrize("signo", [Signals.SIGHUP, Signals.SIGUSR2])
def test_reloads_under_load_lose_nothing(start: Start, signo: Signals) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    before = listeners(server.pid, address)
    with Load(Plan(address, (pid_app.WORK,), 18, ways=tuple(Way))) as load:
        for _ in range(3):
            server.lines.clear()
            server.send_signal(signo)
            server.wait_for(r"worker \d+ .* is ready", 2)
            server.wait_for(r"worker \d+ .* exited with code 0", 2)
            settled(server, address, 2)
            load.more()
    assert load.wrong == []
    assert listeners(server.pid, address) == before
    assert server.stop() == 0
    server.assert_nothing_left()


def test_more_and_fewer_workers_under_load_lose_nothing(start: Start) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    with Load(Plan(address, (pid_app.WORK,), 18, ways=tuple(Way))) as load:
        for count, signo in enumerate([Signals.SIGTTIN, Signals.SIGTTIN], 3):
            server.send_signal(signo)
            settled(server, address, count)
            assert len(listeners(server.pid, address)) == count
            load.more()
        for count in (3, 2, 1):
            server.send_signal(Signals.SIGTTOU)
            settled(server, address, count)
            assert len(listeners(server.pid, address)) == 4  # no socket is closed, because its queue would be reset
            load.more()
    assert load.wrong == []


def test_a_slot_that_rests_after_crashes_leaves_its_socket_to_others(start: Start) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    with Load(Plan(address, (pid_app.WORK,), 6, ways=(Way.CLOSE,))) as load:
        for count in range(4):  # the fourth successor has to wait
            victim = server.wait_for(r"worker 1 .*pid (\d+)\) is ready", count + 1)[-1]
            os.kill(int(victim[1]), Signals.SIGKILL)
            server.wait_for("worker 1 .* was killed by SIGKILL", count + 1)
            load.more(20)
    lost = sum(int(said[1]) for line in server.lines if (said := re.search(r"SIGKILL with (\d+) requests", line)))
    # An accepted connection whose request has not arrived yet is cut too: at most one of each client, each time.
    assert len(load.wrong) <= lost + 4 * 6 and all(wrong.startswith(BROKEN) for wrong in load.wrong)
    settled(server, address, 2)


def test_connections_that_wait_for_a_stalled_worker_are_answered_by_another(start: Start) -> None:
    server = serve(start, "--hub-timeout", "1")
    address = server.tcp_addresses()[0]
    settled(server, address, 2)
    halt(server.worker_pids()[0])
    waiting = [client.connect(address) for _ in range(100)]
    for connection in waiting:
        connection.sendall(GET)
    answers = [client.parse(client.read_all(connection)) for connection in waiting]
    assert [answer.status for answer in answers] == [200] * 100
    for connection in waiting:
        connection.close()
    server.wait_ready(3)  # the stalled worker was ended, and another worker was started
    settled(server, address, 2)


def test_several_addresses(start: Start) -> None:
    server = serve(start, "--socket", "127.0.0.2:0")
    (said,) = server.wait_for(r"listens on \S+:(\d+), \S+:(\d+) with 2 workers$")
    eventually(lambda: len(server.worker_pids()) == 2, "both workers are there")
    assert client.get(("127.0.0.2", int(said[1]))).status == 200
    assert client.parse(client.exchange(("127.0.0.1", int(said[2])), GET)).status == 200


@pytest.mark.parametrize("address", ["app.sock", "fd://0"])
def test_an_address_that_is_not_tcp_is_refused_with_a_sentence(start: Start, address: str) -> None:
    server = start("--socket", address, "--reuse-port", "app:application", app=pid_app.SOURCE)
    assert server.wait() == 1
    server.wait_for(f"--reuse-port cannot be used on {address}: SO_REUSEPORT is for TCP; name a host:port, or leave")
    server.assert_nothing_left()


def test_a_second_server_does_not_get_a_part_of_the_connections(start: Start) -> None:
    server = serve(start)
    port = server.tcp_addresses()[0][1]
    second = start("--http", f"127.0.0.1:{port}", "--reuse-port", "app:application")
    assert second.wait() == 1
    second.wait_for("stop the other server or choose another address")


def test_the_template_holds_none_of_the_sockets(start: Start) -> None:
    """Otherwise a queue would outlive its server, and no process would accept from it."""
    server = serve(start)
    address = server.tcp_addresses()[0]
    assert [listeners(pid, address) for pid in server.template_pids()] == [set()] * len(server.template_pids())
