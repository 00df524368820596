"""Thousands of requests at once, and more requests than --gevent has places for."""

import time
from collections import Counter
from collections.abc import Iterator

from faults import crowd
from faults.apps import APP
from faults.crowd import Client
from faults.measure import KB, allow_descriptors, pss_bytes
from faults.report import Result, Scenario
from faults.rows import all_met
from faults.site import Watched, site, watch
from tests.support.client import packet


def ten_thousand_in_flight(count: int = 10_000, sleep_s: float = 2.0, over_s: float = 1.5) -> list[Result]:
    """Two workers, with all these requests in flight at the same time."""
    allow_descriptors(count + 1000)
    with site(APP, "--gevent", str(count * 6 // 10), workers=2) as crowded:
        crowded.settle()
        before_bytes = pss_bytes(crowded.server.worker_pids())
        slow, seen = packet("/sleep", QUERY_STRING=str(sleep_s)), Watched()
        met: Counter[str] = Counter()

        def clients() -> Iterator[Client]:
            for _ in range(count):
                yield crowd.into(met, crowd.ask(crowded.address, slow))
            yield watch(crowded, count, seen)

        started_s = time.monotonic()
        crowd.run(clients(), count + 1)
        took_s = time.monotonic() - started_s
    each = (seen.pss_bytes - before_bytes) / count
    return [
        all_met(f"all {count:,} answered", met, count),
        Result(f"{count:,} in flight at the same time", f"{seen.at_most:,}", seen.at_most == count),
        Result(
            f"in less than {sleep_s + over_s:g} s, of which each sleeps {sleep_s:g} s",
            f"{took_s:.2f} s",
            took_s < sleep_s + over_s,
        ),
        Result("at most 12 kB Pss for each in flight", f"{each / KB:.1f} kB", each <= 12 * KB),
    ]


def at_the_limit(count: int = 500, places: int = 50, sleep_s: float = 1.0) -> list[Result]:
    """Connections beyond --gevent wait in the backlog, and cost no processor time there."""
    with site(APP, "--gevent", str(places)) as full:
        slow, seen = packet("/sleep", QUERY_STRING=str(sleep_s)), Watched()
        met: Counter[str] = Counter()
        rest_s = sleep_s * count / places * 0.7

        def clients() -> Iterator[Client]:
            yield watch(full, places, seen, rest_s)
            for _ in range(count):
                yield crowd.into(met, crowd.ask(full.address, slow))

        crowd.run(clients(), count + 1)
    used_s = seen.cpu_s[1] - seen.cpu_s[0]
    return [
        all_met(f"all {count} answered", met, count),
        Result(f"{places} in flight, and never more", str(seen.at_most), seen.at_most == places),
        Result(
            "no spin: less than 5 % CPU while it is full", f"{used_s:.2f} s in {rest_s:.1f} s", used_s < 0.05 * rest_s
        ),
    ]


SCENARIOS: tuple[Scenario, ...] = (ten_thousand_in_flight, at_the_limit)
