"""How many connections there are to each peer, in a form of bounded size: for messages, and for labels of metrics."""

from collections.abc import Iterable, Mapping

PEERS_MAX = 20
OTHER = "other"


def busiest(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the PEERS_MAX peers with the most connections, and the sum of all others as OTHER.

    Args:
        counts: by peer.
    """
    order = sorted(counts.items(), key=lambda entry: (entry[0] == OTHER, -entry[1], entry[0]))
    largest = dict(order[:PEERS_MAX])
    rest = sum(number for _, number in order[PEERS_MAX:])
    if rest:
        largest[OTHER] = largest.get(OTHER, 0) + rest
    return largest


def added(reports: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of several reports, in the same form."""
    sums: dict[str, int] = {}
    for report in reports:
        for peer, number in report.items():
            sums[peer] = sums.get(peer, 0) + number
    return busiest(sums)
