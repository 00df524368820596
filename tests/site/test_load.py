"""The load of tests/support/load.py counts every answer, and recognises wrong answers."""

import pytest

from tests.conftest import Start
from tests.support.load import BROKEN, REFUSED, RIGHT, WRONG, Kind, Load, Plan, Way
from tests.support.server import Server

APP = """
    def application(environ, start_response):
        path, body = environ["PATH_INFO"], environ["QUERY_STRING"].encode()
        length = len(body) + (path == "/short")
        start_response("404 Not Found" if path == "/lost" else "200 OK", [("Content-Length", str(length))])
        return [body.upper() if path == "/other" else body]
"""
OUTCOMES = {"/right": RIGHT, "/lost": "status 404", "/other": WRONG, "/short": BROKEN}


def serve(start: Start) -> Server:
    return start("--socket", "app.sock", "--http", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)


@pytest.mark.parametrize("way", [None, *Way])
def test_each_answer_is_judged(start: Start, way: Way | None) -> None:
    server = serve(start)
    address = server.directory / "app.sock" if way is None else server.tcp_addresses()[0]
    kinds = tuple(Kind(f"{path}?xID", "xID") for path in OUTCOMES)
    with Load(Plan(address, kinds, 4, ways=(way or Way.CLOSE,), ends_with=tuple(OUTCOMES.values()))) as load:
        pass
    assert {kinds[record.kind].path.partition("?")[0]: record.outcome for record in load.records} == OUTCOMES
    # requests that are sent at once are counted one by one
    assert len(load.records) == 4 * max(way.value if way else 1, 1)
    assert load.right == len(load.records) // 4 and len(load.wrong) == len(load.records) - load.right


def test_a_connection_without_a_listener_is_refused(start: Start) -> None:
    server = serve(start)
    address = server.tcp_addresses()[0]
    assert server.stop() == 0
    for unused in (server.directory / "app.sock", address):
        with Load(Plan(unused, (Kind("/", ""),), 4, ends_with=(REFUSED,))) as load:
            pass
        assert load.outcomes() == {REFUSED: 4}


def test_a_load_can_be_read_and_waited_for_while_it_runs(start: Start) -> None:
    server = serve(start)
    with Load(Plan(server.tcp_addresses()[0], (Kind("/right?ID", "ID"),), 3, ways=tuple(Way))) as load:
        load.more(50)
        first = load.right
        assert first >= 50
        load.more(100)
        assert load.right >= first + 100 and load.wrong == []
    assert load.right == len(load.records)
