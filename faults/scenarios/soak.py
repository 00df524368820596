"""The long run: memory, descriptors and the log do not grow."""

from collections import Counter

from faults import crowd
from faults.report import Result, Scenario
from faults.rows import growth, in_words, same_descriptors
from faults.site import site
from tests.support.client import Address, packet
from tools.nginx import EXAMPLES

# A 404 of Flask's leaves 82 objects in cycles. The number of such objects before a collection is random: megabytes.
SOAKED = """
    import gc, itertools
    from flask_app import application as flask
    calls = itertools.count(1)

    def application(environ, start_response):
        if next(calls) % 500 == 0:
            gc.collect()
        if environ["PATH_INFO"] != "/hello":
            return flask(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def soak(count: int = 200_000, warm_up: int = 20_000) -> list[Result]:
    """A plain answer, a POST of 1 kB, a 404 and a page of Flask in turn, again and again."""
    with site(SOAKED, "--pythonpath", str(EXAMPLES), workers=2) as soaked:
        lines = len(soaked.server.lines)
        early = _mix(soaked.address, warm_up)
        before = soaked.weigh()
        late = _mix(soaked.address, count - warm_up)
        after = soaked.weigh()
        lines = len(soaked.server.lines) - lines
    expected = Counter({"200": count - count // 4, "404": count // 4})
    return [
        Result(f"all {count:,} answered, a quarter of them 404", in_words(early + late), early + late == expected),
        growth(before, after, 0.02, f"{count - warm_up:,}"),
        same_descriptors(before, after),
        Result("nothing in the log", f"{lines} lines", not lines),
    ]


def _mix(address: Address, count: int) -> Counter[str]:
    kinds = [packet("/hello"), packet("/upload", bytes(1000), REQUEST_METHOD="POST"), packet("/nowhere"), packet("/")]
    return crowd.run((crowd.ask(address, kinds[number % len(kinds)]) for number in range(count)), 32)


SCENARIOS: tuple[Scenario, ...] = (soak,)
