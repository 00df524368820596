"""An application that attacks the master of its server: it breaks its own worker, and nothing else.

The application finds the worker's objects among the descriptors of its process. Any code in the worker could do so.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import attacks
from tests.conftest import Start
from tests.support import another_user, client
from tests.support.ctl import said
from tests.support.processes import open_files
from tests.support.server import Server, eventually, open_to_all

pytestmark = another_user.as_root


@pytest.fixture
def server(start: Start, tmp_path: Path) -> Server:
    """A server with a root master, and with workers of another user."""
    open_to_all(tmp_path)
    return start(
        "--socket",
        "app.sock",
        "--workers",
        "2",
        "--uid",
        another_user.USER,
        "app:application",
        app=attacks.APP,
        prefix=another_user.prefix(),
    ).wait_ready(2)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does not belong to the server."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "the process was signalled"
        process.kill()


def attack(server: Server, move: attacks.Move) -> None:
    """One worker makes a move. The connection ends with the worker."""
    client.exchange(server.directory / "app.sock", client.packet("/attack", json.dumps(move).encode()))


def dumps(server: Server) -> int:
    """How many memfds for stacks the master has: each worker sends one after it has become ready."""
    return sum("memfd:wsgid-dump" in target for target in open_files(server.pid).values())


def serves(server: Server) -> None:
    assert client.get(server.directory / "app.sock").body == b"fine"
    assert server.log.count("Traceback") == 0 and psutil.pid_exists(server.pid)


@pytest.mark.parametrize("name", sorted(attacks.FATAL.keys() - {"death"}))
def test_a_worker_that_sends_a_forbidden_message_is_killed_alone(
    server: Server, stranger: "subprocess.Popen[bytes]", name: str
) -> None:
    master = psutil.Process(server.pid)
    eventually(lambda: dumps(server) == 2, "the master has the memory for stacks of both workers")
    before = master.num_fds()
    attack(server, attacks.move(name, random.Random(1), stranger.pid))
    server.wait_for(r"worker [01]: .*; its channel is closed and it is killed")
    server.wait_for(r"worker [01] .* was killed by SIGKILL")
    server.wait_ready(3)
    serves(server)
    eventually(lambda: master.num_fds() <= before + 1, "what came along is closed")  # one is the spare's channel
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.hot  # both forms count modulo 2^64
@pytest.mark.parametrize("name", attacks.HARMLESS)
def test_what_a_worker_writes_into_shared_memory_harms_only_its_own_counts(server: Server, name: str) -> None:
    attack(server, attacks.move(name, random.Random(1), os.getpid()))
    for subcommand in ("status", "requests", "memory"):
        said(server.directory, subcommand)
    for _ in range(20):  # so that the worker that was attacked counts, too
        serves(server)
    for pid in server.worker_pids():
        os.kill(pid, Signals.SIGKILL)
    server.wait_ready(4)
    said(server.directory, "status")
    serves(server)
    assert server.stop() == 0


@pytest.mark.parametrize("name", attacks.TEMPLATE)
def test_a_template_that_sends_a_forbidden_message_is_killed_and_the_workers_serve_on(
    server: Server, stranger: "subprocess.Popen[bytes]", name: str
) -> None:
    """The template imports the application, so a reload runs the new code there."""
    attacking = server.directory / "import.json"
    attacking.write_text(json.dumps(attacks.move(name, random.Random(1), stranger.pid)))
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"template 1: .*; its channel is closed and it is killed")
    server.wait_for("template 1 was killed by SIGKILL")
    serves(server)
    attacking.unlink()
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation \d+, pid \d+\) is ready", 4)
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.hot
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([*attacks.HARMLESS]), max_size=12),
    st.sampled_from([*attacks.FATAL]),
    st.randoms(use_true_random=False),
)
def test_after_any_moves_of_hostile_workers_the_server_serves(
    server: Server, stranger: "subprocess.Popen[bytes]", harmless: list[str], fatal: str, chance: random.Random
) -> None:
    """A short form of `make faults ONLY=hostile-worker`, which makes ten thousand moves under load."""
    attacker = attacks.Attacker(server.directory / "app.sock", chance, stranger.pid)
    deaths = server.log.count("was killed by SIGKILL")
    attacker.attack(harmless, fatal)
    eventually(lambda: server.log.count("was killed by SIGKILL") > deaths, "the attacker is killed")
    eventually(lambda: len(server.worker_pids()) == 2, "there are two workers again")
    serves(server)
