"""The messages that a server sends to systemd. In these tests a datagram socket plays the part of systemd."""

import os
import re
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import PATIENCE_S, Server
from wsgid.supervisor import systemd
from wsgid.supervisor.fleet import Deadlines, Fleet
from wsgid.supervisor.slots import Slot, SlotState
from wsgid.supervisor.systemd import Notifier

APP = """
    import os, json
    NAMES = [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]
    def application(environ, start_response):
        start_response("200 OK", [])
        return [json.dumps(NAMES).encode()]
"""
BROKEN = "raise RuntimeError('broken')\n"


class Systemd:
    """The socket that NOTIFY_SOCKET names, and all messages that were sent to it."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(PATIENCE_S)
        self.messages: list[str] = []

    def until(self, wanted: str, count: int = 1) -> "Systemd":
        """Receive until this many more messages begin with this text."""
        deadline_s = time.monotonic() + PATIENCE_S
        while count:
            assert time.monotonic() < deadline_s, f"never: {wanted}; {self.messages}"
            self.messages.append(self.socket.recv(4096).decode())
            count -= self.messages[-1].startswith(wanted)
        return self

    @property
    def states(self) -> list[str]:
        """The messages about states, without the messages about the clock."""
        return [
            message.partition("\n")[0] for message in self.messages if not message.startswith(("STATUS=", "WATCHDOG=1"))
        ]

    @property
    def status(self) -> str:
        return [message for message in self.messages if message.startswith("STATUS=")][-1].removeprefix("STATUS=")


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Systemd]:
    played = Systemd(str(tmp_path / "notify"))
    yield played
    played.socket.close()


def serve(start: Start, *options: str, app: str = APP, notify: str = "notify", **environ: str) -> Server:
    server = start(
        "--socket",
        "app.sock",
        "--workers",
        "2",
        *options,
        "app:application",
        app=app,
        environ={"NOTIFY_SOCKET": notify, **environ},
    )
    return server


def get(server: Server) -> client.Answer:
    return client.get(server.directory / "app.sock")


def test_a_life_is_told_in_order(start: Start, told: Systemd, tmp_path: Path) -> None:
    server = serve(start)
    told.until("READY=1")
    assert len(re.findall("is ready", server.wait_ready(2).log)) == 2
    told.until("STATUS=ready: ")
    assert told.status == "ready: 2 of 2 workers ready, generation 0, 0 requests in flight"
    server.send_signal(Signals.SIGHUP)
    told.until("READY=1").until("STATUS=ready: ")
    assert told.status == "ready: 2 of 2 workers ready, generation 1, 0 requests in flight"
    (tmp_path / "app.py").write_text(BROKEN)
    server.send_signal(Signals.SIGHUP)
    told.until("READY=1").until("STATUS=ready: ")
    assert told.status.endswith("2 workers ready, generation 1, 0 requests in flight; the last reload has failed")
    server.send_signal(Signals.SIGTERM)
    told.until("STOPPING=1")
    assert told.states == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert server.wait() == 0


def test_a_reload_is_told_with_the_clock_that_systemd_compares(start: Start, told: Systemd) -> None:
    server = serve(start)
    told.until("READY=1")
    before_us = time.monotonic_ns() // 1000
    server.send_signal(Signals.SIGHUP)
    told.until("RELOADING=1")
    match = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", told.messages[-1])
    assert match and before_us <= int(match[1]) <= time.monotonic_ns() // 1000
    told.until("READY=1")
    server.wait_for(r"\(generation 1, pid \d+\) is ready", 2)


def test_a_second_reload_within_the_first_is_told_too(start: Start, told: Systemd, tmp_path: Path) -> None:
    server = serve(start)
    told.until("READY=1")
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "app.py").write_text(f"open({str(tmp_path / 'gate')!r}).read()")
    server.send_signal(Signals.SIGHUP)
    told.until("RELOADING=1")
    with open(tmp_path / "gate", "w"):  # waits until the import of the first reload stands at the gate
        (tmp_path / "app.py").write_text(textwrap.dedent(APP))
        server.send_signal(Signals.SIGHUP)
        told.until("RELOADING=1").until("READY=1")
    assert told.states == ["READY=1", "RELOADING=1", "RELOADING=1", "READY=1"]


def test_a_lazy_reload_that_fails_in_the_workers_is_told(start: Start, told: Systemd, tmp_path: Path) -> None:
    server = serve(start, "--lazy-apps")
    told.until("READY=1")
    (tmp_path / "app.py").write_text(BROKEN)
    server.send_signal(Signals.SIGHUP)
    told.until("READY=1").until("STATUS=ready: ")
    assert "the last reload has failed" in told.status
    assert told.states == ["READY=1", "RELOADING=1", "READY=1"]
    assert get(server).status == 200
    # the workers try again and again, so in the end the reload succeeds
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    server.wait_for(r"\(generation 0, .* exited with code 0", 2)
    told.until("STATUS=ready: 2 of 2 workers ready, generation 1")
    while "failed" in told.status:
        told.until("STATUS=ready")
    assert told.states == ["READY=1", "RELOADING=1", "READY=1"]


def test_an_upgrade_is_a_reload(start: Start, told: Systemd) -> None:
    server = serve(start)
    told.until("READY=1")
    server.send_signal(Signals.SIGUSR2)
    told.until("READY=1")
    server.wait_for("wsgid starts anew")
    server.wait_for(r"\(generation 1, pid \d+\) is ready", 2)
    server.send_signal(Signals.SIGHUP)
    told.until("READY=1")
    assert told.states == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
    server.send_signal(Signals.SIGTERM)
    told.until("STOPPING=1")


def test_an_application_that_cannot_be_imported_is_never_told_ready(start: Start, told: Systemd) -> None:
    server = serve(start, app=BROKEN)
    assert server.wait() == 3
    told.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        told.until("READY=1")
    assert told.states in ([], ["STOPPING=1"])


def test_an_abstract_socket_is_reached(start: Start) -> None:
    name = f"wsgid-test-{os.getpid()}"
    told = Systemd(f"\0{name}")
    serve(start, notify=f"@{name}")
    told.until("READY=1")
    told.socket.close()


def test_only_the_master_has_systemds_variables(start: Start, told: Systemd) -> None:
    server = serve(start, WATCHDOG_USEC="60000000", LISTEN_FDNAMES="x")
    told.until("READY=1")
    names = get(server).body.decode()
    assert "NOTIFY" not in names and "WATCHDOG" not in names


def test_the_watchdog_is_fed_twice_in_its_time_also_after_an_upgrade(start: Start, told: Systemd) -> None:
    server = serve(start, WATCHDOG_USEC="20000")  # much shorter than the master's own tick
    told.until("READY=1").until("WATCHDOG=1", 50)
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    told.until("READY=1").until("WATCHDOG=1", 50)


def test_a_watchdog_of_another_process_is_not_fed(start: Start, told: Systemd) -> None:
    server = serve(start, WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    told.until("READY=1").until("STATUS=ready")
    server.send_signal(Signals.SIGTERM)
    told.until("STOPPING=1")
    assert not any("WATCHDOG" in message for message in told.messages)


def test_a_missing_socket_of_systemd_is_logged_and_the_server_serves(start: Start, tmp_path: Path) -> None:
    server = serve(start, notify=str(tmp_path / "nobody")).wait_ready(2)
    server.wait_for("systemd cannot be notified at .*nobody")
    assert get(server).status == 200


def test_a_passed_socket_and_notifications_together(start: Start, told: Systemd, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "passed.sock"))
    listener.listen(10)
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.argv[2], sys.argv[2:])"
    )
    server = start(
        "app:application",
        app=APP,
        environ={"NOTIFY_SOCKET": "notify"},
        prefix=[sys.executable, "-c", code, str(listener.fileno())],
        pass_fds=[listener.fileno()],
    )
    listener.close()
    told.until("READY=1")
    assert client.get(tmp_path / "passed.sock").body == b"[]"
    server.send_signal(Signals.SIGUSR2)
    told.until("READY=1")
    assert client.get(tmp_path / "passed.sock").body == b"[]"
    assert server.stop() == 0
    told.until("STOPPING=1")
    assert (tmp_path / "passed.sock").exists()  # the socket belongs to systemd
    (tmp_path / "passed.sock").unlink()


# --- without a server ---


def test_the_status_changes_seldom(told: Systemd, tmp_path: Path) -> None:
    busy = [0]
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, lambda: busy[0], False)
    fleet = Fleet(1, Deadlines(60, 60, 30))
    for tick in range(100):
        busy[0] += 1
        notifier.turn(fleet, tick / 10)
    told.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        told.until("READY=1")
    assert len(told.messages) == 2, told.messages  # at 0 s, and at 5 s
    notifier.close()


def test_a_message_for_which_there_is_no_room_is_sent_later(told: Systemd, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, lambda: 0, False)
    fleet = Fleet(0, Deadlines(60, 60, 30))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood:
        flood.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                flood.sendto(b"WATCHDOG=1", str(tmp_path / "notify"))
    notifier.turn(fleet, 1.0)
    assert notifier.next_turn_s() == 1.0 + systemd.AGAIN_S
    told.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        told.until("READY=1")
    assert told.states == []
    notifier.turn(fleet, 1.1)
    told.until("READY=1")
    notifier.close()


def test_a_worker_that_dies_at_each_start_does_not_keep_the_service_from_being_up(
    told: Systemd, tmp_path: Path
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, lambda: 0, False)
    fleet = Fleet(2, Deadlines(60, 60, 30))
    fleet.slots = [Slot(0, SlotState.READY), Slot(1, SlotState.SPAWNING)]
    fleet.proven = True
    notifier.turn(fleet, 1.0)
    fleet.slots[1] = Slot(1, failures=2)
    notifier.turn(fleet, 2.0)
    told.until("STATUS=ready")
    assert [message.partition(":")[0] for message in told.messages] == ["STATUS=starting", "READY=1", "STATUS=ready"]
    notifier.close()


def test_without_systemd_there_is_nothing_to_do() -> None:
    notifier = Notifier({}, lambda: 0, False)
    notifier.turn(Fleet(0, Deadlines(60, 60, 30)), 1.0)
    assert notifier.next_turn_s() == float("inf") and notifier.variables == {}


@pytest.mark.parametrize("usec", ["", "abc", "0"])
def test_a_watchdog_without_a_time_is_none(usec: str) -> None:
    assert Notifier({"WATCHDOG_USEC": usec}, lambda: 0, False).next_turn_s() == float("inf")
