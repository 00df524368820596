"""More clients than the server may have descriptors."""

import time

from faults import crowd
from faults.apps import APP
from faults.measure import cpu_s
from faults.report import Result, Scenario
from faults.rows import all_met
from faults.site import site
from tests.support.client import packet


def out_of_descriptors(count: int = 200, sleep_s: float = 1.0, limit: int = 64) -> list[Result]:
    """More slow clients than the server may have descriptors."""
    with site(APP, prefix=["bash", "-c", 'ulimit -n "$0"; exec "$@"', str(limit)]) as small:
        pids, lines = small.server.worker_pids(), len(small.server.lines)
        before_s, started_s = cpu_s(pids), time.monotonic()
        met = crowd.run(
            (crowd.ask(small.address, packet("/sleep", QUERY_STRING=str(sleep_s))) for _ in range(count)), count
        )
        took_s, used_s = time.monotonic() - started_s, cpu_s(pids) - before_s
        said = small.server.lines[lines:]
        again = crowd.run((crowd.ask(small.address, packet()) for _ in range(count)), count)
        same = pids == small.server.worker_pids()
    return [
        all_met(f"all {count} slow ones answered with {limit} descriptors", met, count),
        all_met(f"{count} more answered afterwards", again, count),
        Result("the same worker", "yes" if same else "no", same),
        Result("no spin: less than 10 % CPU", f"{used_s:.2f} s in {took_s:.1f} s", used_s < 0.1 * took_s),
        Result("at most one log line a second", f"{len(said)} in {took_s:.1f} s", len(said) <= took_s),
    ]


SCENARIOS: tuple[Scenario, ...] = (out_of_descriptors,)
