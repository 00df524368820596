"""An application that cannot be imported, and workers that die young: the log has a sentence, and there is no busy
loop."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faults import crowd
from faults.crowd import Client
from faults.measure import tree_cpu_s
from faults.report import Result, Scenario
from faults.rows import in_words
from faults.site import site
from tests.support.client import packet
from tests.support.server import Server


def crash_loop_at_import() -> list[Result]:
    """An application that cannot be imported: the log says it once, and nothing is tried again."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
        directory = Path(name)
        (directory / "app.py").write_text("raise RuntimeError('broken at import')\n")
        started_s = time.monotonic()
        server = Server(directory, "--socket", "app.sock", "--workers", "4", "app:application")
        try:
            code, took_s = server.wait(), time.monotonic() - started_s
            server.assert_nothing_left()
        finally:
            server.end()
        tracebacks = server.log.count("Traceback (most recent call last)")
    return [
        Result("exit code 3", str(code), code == 3),
        Result("within a second", f"{took_s:.2f} s", took_s < 1),
        Result("one traceback", str(tracebacks), tracebacks == 1),
        Result("no process and no socket left", "none", True),
    ]


DIES_YOUNG = """
    import os, signal, gevent
    with open("starts", "a") as starts:
        starts.write("x")
        odd = starts.tell() % 2

    def die():
        if odd:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    gevent.spawn_later(0.05, die)
"""


def crash_loop_after_start(seconds: float = 20.0) -> list[Result]:
    """Workers that die 50 ms after they became ready, again and again, in two ways."""
    with site(DIES_YOUNG, "--lazy-apps", workers=2) as crashing:
        server = crashing.server
        before_s, started_s = tree_cpu_s(server.pid), time.monotonic()

        def visitors() -> Iterator[Client]:
            while time.monotonic() - started_s < seconds:
                yield paused(0.1, crowd.ask(crashing.address, packet()))

        met = crowd.run(visitors(), 5)
        share = (tree_cpu_s(server.pid) - before_s) / (time.monotonic() - started_s)
    deaths = sum("exited with code" in line and "worker" in line for line in server.lines)
    tracebacks = server.log.count("Traceback (most recent call last)")
    sentences = [line for line in server.lines if "exited with code 7" in line]
    return [
        Result("less than 2 % CPU for the whole tree", f"{share:.1%}, {deaths} deaths in {seconds:g} s", share < 0.02),
        Result("at most one traceback a kind", f"{tracebacks} for 2 kinds", tracebacks <= 2),
        Result(
            "a sentence names the worker and its exit code or signal",
            sentences[-1].split("wsgid ")[-1] if sentences else "none",
            bool(sentences),
        ),
        Result("visitors are served in between", in_words(met), met["200"] > 0),
    ]


def paused(seconds: float, client: Client) -> Client:
    yield seconds
    return (yield from client)


SCENARIOS: tuple[Scenario, ...] = (crash_loop_at_import, crash_loop_after_start)
