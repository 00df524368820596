"""Counts of connections by peer, in a form of bounded size."""

from hypothesis import given
from hypothesis import strategies as st

from wsgid.ipc.messages import Connections, decode, encode
from wsgid.ipc.peer_counts import OTHER, PEERS_MAX, added, busiest

COUNTS = st.dictionaries(st.text(max_size=20), st.integers(0, 1000), max_size=60)


@given(COUNTS)
def test_no_connection_is_lost_and_there_are_few_peers(counts: dict[str, int]) -> None:
    found = busiest(counts)
    assert sum(found.values()) == sum(counts.values())
    assert len(found) <= PEERS_MAX + 1
    shown = [number for peer, number in found.items() if peer != OTHER]
    left_out = [number for peer, number in counts.items() if peer not in found]
    assert not shown or not left_out or min(shown) >= max(left_out)


@given(COUNTS)
def test_the_form_of_a_form_is_the_same(counts: dict[str, int]) -> None:
    assert busiest(busiest(counts)) == busiest(counts)


@given(st.lists(COUNTS.map(busiest), max_size=5))
def test_reports_are_added_up(reports: list[dict[str, int]]) -> None:
    found = added(reports)
    assert sum(found.values()) == sum(sum(report.values()) for report in reports) and len(found) <= PEERS_MAX + 1


@given(st.dictionaries(st.text("abc:/@.", max_size=20), st.integers(0, 1000), max_size=60))
def test_each_form_fits_a_message(counts: dict[str, int]) -> None:
    message = Connections(busiest(counts))
    assert decode(encode(message)) == message
