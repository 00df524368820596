"""When a worker has to look at its upgraded connections: as long as there is nothing to do, it may rest."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from wsgid.ipc.scoreboard import LINE_BYTES
from wsgid.serving.tally import Tally
from wsgid.serving.upgrades import ANSWER_S, LOOK_S, Upgrades

IDLE_S = 30.0
NOW_S = 1000.0


class Client:
    """An upgraded connection. It never answers."""

    is_websocket = True
    told_s = 0.0

    def __init__(self, active_s: float = NOW_S) -> None:
        self.active_s = active_s
        self.goodbyes = self.ends = 0

    def say_goodbye(self) -> None:
        self.goodbyes += 1

    def end_reading(self) -> None:
        self.ends += 1


def upgrades(*clients: Any, idle_s: float = 0.0) -> Upgrades:
    settings: Any = SimpleNamespace(
        websockets=10, socket_timeout=60.0, websocket_idle=idle_s, worker_reload_mercy=4 * ANSWER_S
    )
    tally = Tally(memoryview(bytearray(LINE_BYTES)).cast("Q"))
    made = Upgrades(settings, tally, lambda: None, lambda: None)
    made._open.update(dict.fromkeys(clients))
    return made


@pytest.mark.parametrize("idle_s", [0.0, IDLE_S])
def test_without_connections_nothing_is_due(idle_s: float) -> None:
    assert upgrades(idle_s=idle_s).due_s() == math.inf


def test_connections_that_may_be_quiet_for_ever_are_never_due() -> None:
    known = upgrades(Client())
    known.look(NOW_S)
    assert known.due_s() == math.inf


def test_quiet_connections_are_looked_at_now_and_then_and_end_in_time() -> None:
    client = Client()
    known = upgrades(client, idle_s=IDLE_S)
    now_s = NOW_S
    while not client.goodbyes:
        known.look(now_s)
        assert now_s < known.due_s() <= now_s + LOOK_S
        now_s = known.due_s()
    assert NOW_S + IDLE_S <= now_s <= NOW_S + IDLE_S + 2 * LOOK_S


def test_a_worker_that_leaves_does_not_rest_before_all_are_told() -> None:
    clients = [Client() for _ in range(250)]
    known = upgrades(*clients)
    known.leave()
    while known.due_s() == -math.inf:
        known.look(NOW_S)
    assert all(client.goodbyes == 1 for client in clients)


def test_a_client_that_does_not_answer_is_due_again() -> None:
    client = Client()
    known = upgrades(client)
    known.leave()
    known.look(NOW_S)
    assert known.due_s() == NOW_S + ANSWER_S
    known.look(known.due_s())
    assert client.ends == 1 and known.due_s() == NOW_S + 2 * ANSWER_S
