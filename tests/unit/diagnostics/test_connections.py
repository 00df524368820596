"""The table of connections: which connections it finds, when it finds them, and how little it looks."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.application import peers
from wsgid.diagnostics import connections
from wsgid.diagnostics.connections import Connection, ConnectionTable, by_peer


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(tmp_path / "peer.sock"))
        made.listen()
        yield made


def connect(listener: socket.socket) -> socket.socket:
    made = socket.socket(listener.family)
    made.connect(listener.getsockname())
    return made


def count_of(table: ConnectionTable, peer: str) -> int:
    return sum(found.peer == peer for found in table.connections().values())


def sweep(table: ConnectionTable, now_s: float) -> None:
    """Look until all descriptors were looked at."""
    table.look(now_s)
    while table._next < table._end:
        table.look(now_s)


def test_what_is_new_is_found_and_what_is_gone_is_forgotten(listener: socket.socket) -> None:
    table, peer = ConnectionTable(), listener.getsockname()
    with connect(listener), connect(listener):
        sweep(table, 10.0)
        assert count_of(table, peer) == 2
    sweep(table, 20.0)
    assert count_of(table, peer) == 0


def test_a_number_that_is_used_again_is_a_new_connection(listener: socket.socket) -> None:
    table = ConnectionTable()
    first = connect(listener)
    fd = first.fileno()
    sweep(table, 10.0)
    first.close()
    with connect(listener) as second:
        assert second.fileno() == fd
        sweep(table, 20.0)
        sweep(table, 30.0)
        assert table.connections()[fd].since_s == 20.0


def test_a_connection_that_has_broken_is_none_although_it_is_open(listener: socket.socket) -> None:
    table = ConnectionTable()
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.create_connection(tcp.getsockname()) as broken:
        sweep(table, 10.0)
        accepted, _ = tcp.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, see socket(7)
        accepted.close()
        with pytest.raises(ConnectionResetError):
            broken.recv(1)
        sweep(table, 10.0 + connections.SWEEP_S)
        assert broken.fileno() in table.connections()  # the kernel is not asked each time
        sweep(table, 10.0 + connections.CHECK_S)
        assert broken.fileno() not in table.connections()


def test_a_socket_that_connects_later_is_found_then(listener: socket.socket) -> None:
    table = ConnectionTable()
    with socket.socket(socket.AF_UNIX) as late:
        sweep(table, 10.0)
        assert late.fileno() not in table.connections()
        late.connect(listener.getsockname())
        sweep(table, 20.0)
        assert table.connections()[late.fileno()].since_s == 20.0


def test_a_connection_that_was_accepted_before_its_listener_was_seen_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, connect(listener) as out:
        accepted, _ = listener.accept()
        with accepted, socket.socket() as moved:
            os.dup2(listener.fileno(), moved.fileno())  # the listener has a higher number now
            listener.close()
            table = ConnectionTable()
            table.take_in(10.0)
            assert out.fileno() in table.connections() and accepted.fileno() not in table.connections()


def test_a_round_looks_for_a_bounded_time_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ConnectionTable()
    clock = iter(range(1_000_000))
    monkeypatch.setattr(connections, "_perf_counter", lambda: next(clock))
    table.look(10.0)
    assert table._next == 1  # at least one descriptor, so that the search ends
    table.look(10.1)
    assert table._next == 2


def test_a_worker_without_connections_asks_only_how_many_descriptors_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_count", lambda: 20)
    table = ConnectionTable()
    table._found.clear()
    table._quiet = 20
    monkeypatch.setattr(table, "_look_at", None)
    table.look(10.0)
    assert table._next >= table._end


def test_an_old_kernel_that_does_not_count_descriptors_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(connections, "_count", lambda: 0)
    table = ConnectionTable()
    with connect(listener):
        sweep(table, 10.0)
        assert count_of(table, listener.getsockname()) == 1


def test_without_a_descriptor_for_the_question_the_last_size_counts(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    table = ConnectionTable()
    sweep(table, 10.0)
    monkeypatch.setattr(connections, "table_size", lambda: 0)
    with connect(listener):
        table.take_in(20.0)
        assert count_of(table, listener.getsockname()) == 1


def test_what_has_changed_is_reported_once_and_again_after_a_while(listener: socket.socket) -> None:
    reports: list[int] = []
    taken = [False]

    def report(counts: dict[str, int]) -> bool:
        reports.append(counts.get(listener.getsockname(), 0))
        return taken[0]

    table = ConnectionTable(report)
    with connect(listener):
        sweep(table, 10.0)
        sweep(table, 12.0)
        assert reports == [1, 1]  # the first report was not taken
        taken[0] = True
        for now_s in (14.0, 16.0, 18.0):
            sweep(table, now_s)
        assert reports == [1, 1, 1]
        sweep(table, 14.0 + connections.REPORT_S + 1)
        assert reports == [1] * 4
    sweep(table, 40.0)
    assert reports[-1] == 0


@given(
    st.dictionaries(
        st.integers(0, 1000),
        st.builds(Connection, st.integers(), st.sampled_from("abc"), st.just(""), st.floats(0, 100)),
        max_size=50,
    ),
    st.sets(st.integers(0, 1000)),
)
def test_the_summary_adds_up(table: dict[int, Connection], in_use: set[int]) -> None:
    rows = by_peer(table, in_use, 100.0)
    assert sum(row["count"] for row in rows) == len(table)
    assert sum(row["in_use"] for row in rows) == len(in_use & table.keys())
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)
    assert all(0 <= row["youngest_s"] <= row["oldest_s"] <= 100 for row in rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("10.0.0.1", 5432), "10.0.0.1:5432"),
        (("::1", 5432, 0, 0), "[::1]:5432"),
        (("::ffff:10.0.0.1", 5432, 0, 0), "10.0.0.1:5432"),
        (("::ffff:1:2", 5432, 0, 0), "[::ffff:1:2]:5432"),
        ("/run/a.sock", "/run/a.sock"),
        (b"\0name\xff", "@name\ufffd"),
        ("", ""),
        (b"", ""),
    ],
)
def test_a_name_is_written_as_operators_write_it(name: object, expected: str) -> None:
    assert peers.address(name) == expected
