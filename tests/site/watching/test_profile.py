"""A profile shows where a running worker spends its time. After the profile the worker is as before."""

import hashlib
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import PATIENCE_S, Server, eventually
from wsgid.diagnostics import profiler
from wsgid.diagnostics.profile_stacks import (
    DEEPER,
    DEPTH_MAX,
    LABELS_MAX,
    MORE,
    OTHERS,
    STACKS_MAX,
    WSGID,
    ProfileRefused,
    Samples,
)
from wsgid.diagnostics.samplers import LABEL_MAX_CHARS, request_label

pytestmark = pytest.mark.alone

WSGIDCTL = str(Path(sys.executable).with_name("wsgidctl"))
APP = """
    import hashlib, json, signal, threading, time
    from gevent import monkey
    import gevent

    def heavy_work():
        burn(0.03)

    def light_work():
        burn(0.01)

    def burn(seconds):
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    def long_call_of_c(rounds):
        hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)

    def deep_work(depth):
        deep_work(depth - 1) if depth else burn(0.05)

    def state():
        return json.dumps([repr(signal.getsignal(signal.SIGPROF)), signal.getitimer(signal.ITIMER_PROF)[1]]).encode()

    def applications_own(signo, frame):
        pass

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        start_response("200 OK", [])
        if path.startswith("/heavy"):
            heavy_work()
        elif path == "/light":
            light_work()
        elif path == "/sleep":
            time.sleep(60)
        elif path == "/hash":
            long_call_of_c(int(query))
        elif path == "/deep":
            deep_work(400)
        elif path == "/greenlet":
            gevent.spawn(light_work).join()
        elif path == "/thread":
            monkey.get_original("_thread", "start_new_thread")(burn, (0.01,))
        elif path == "/take":
            signal.signal(signal.SIGPROF, applications_own)
        elif path == "/timer":
            signal.signal(signal.SIGPROF, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_PROF, 1000, 1000)
        elif path == "/give-back":
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
        return [state()]
"""
NOTHING = ["<Handlers.SIG_DFL: 0>", 0.0]


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    """A server that interrupts no request to show its stack: on a busy machine, a sample could be taken within that."""
    always = ("--socket", "app.sock", "--workers", str(workers), "--hub-warn", "600", "--hub-timeout", "600")
    return start(*always, *options, "app:application", app=APP).wait_ready(workers)


def get(server: Server, path: str, query: str = "") -> Any:
    return json.loads(client.get(server.directory / "app.sock", path, QUERY_STRING=query).body)


@contextmanager
def asleep(server: Server) -> Iterator[None]:
    with client.connect(server.directory / "app.sock") as sleeper:
        sleeper.sendall(client.packet("/sleep"))
        eventually(lambda: server.in_flight() == 1, "the request sleeps")
        yield


def is_share(part: int, other: int, share: float, samples: int) -> bool:
    """Whether a part has this share of both, as exactly as this number of samples allows: four standard errors. On a
    busy machine the kernel takes fewer samples, and each sample has more weight."""
    return abs(part / (part + other) - share) < 4 * math.sqrt(share * (1 - share) / samples)


def wsgidctl(server: Server, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [WSGIDCTL, "profile", *arguments],
        cwd=server.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def profile(server: Server, *arguments: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """A profile of one second: what was printed, and the stacks."""
    done = wsgidctl(server, "--json", "--seconds", "1", "-o", "out.folded", *arguments)
    said, errors = done.communicate(timeout=PATIENCE_S)
    assert done.returncode == 0, errors
    return json.loads(said), stacks_in(server)


def stacks_in(server: Server) -> dict[tuple[str, ...], int]:
    """Stacks as names of functions, with microseconds."""
    stacks: dict[tuple[str, ...], int] = {}
    for line in (server.directory / "out.folded").read_text().splitlines():
        stack, _, weight_us = line.rpartition(" ")
        names = tuple(frame.rpartition(" (")[0] if ":" in frame else frame for frame in stack.split(";"))
        stacks[names] = stacks.get(names, 0) + int(weight_us)
    return stacks


def profile_of(
    server: Server, count: int, *requests: tuple[str, str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """A profile while this many requests of each kind run, however long they take. Then the server stops."""
    with under_way(server, "--hz", "1000", "--json", "-o", "out.folded") as running:
        for _ in range(count):
            for path, query in requests:
                get(server, path, query)
        server.send_signal(Signals.SIGTERM)
        said, errors = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, errors
    return json.loads(said), stacks_in(server)


def refusal(server: Server, *arguments: str) -> str:
    done = wsgidctl(server, *arguments)
    said, errors = done.communicate(timeout=PATIENCE_S)
    assert (done.returncode, said) == (1, ""), errors
    return errors


def time_of(stacks: dict[tuple[str, ...], int], name: str) -> int:
    return sum(weight_us for stack, weight_us in stacks.items() if name in stack)


@contextmanager
def under_way(server: Server, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A profile that runs until it is ended."""
    running = wsgidctl(server, "--seconds", "300", *arguments)
    try:
        eventually(lambda: any(catches_sigprof(pid) for pid in server.worker_pids()), "the profile runs")
        yield running
    finally:
        running.kill()
        running.communicate(timeout=PATIENCE_S)


def catches_sigprof(pid: int) -> bool:
    """Whether a process has a handler for SIGPROF, by proc(5): SigCgt is the mask of the signals that have a
    handler."""
    [mask] = re.findall("(?m)^SigCgt:\t(.*)$", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (Signals.SIGPROF - 1) & 1)


# --- what a profile shows ---


def test_time_is_shared_out_by_request_and_function(start: Start) -> None:
    server = serve(start, "--worker-reload-mercy", "1")
    with asleep(server):
        said, stacks = profile_of(server, 40, ("/heavy/1/x", ""), ("/light", ""))
    by_root = {
        root: sum(us for stack, us in stacks.items() if stack[0] == root) for root in {stack[0] for stack in stacks}
    }
    assert is_share(by_root["GET /heavy/*/x"], by_root["GET /light"], 0.75, said["samples"])
    assert is_share(time_of(stacks, "heavy_work"), time_of(stacks, "light_work"), 0.75, said["samples"])
    assert ("GET /light", "application", "light_work", "burn") in stacks
    assert "GET /sleep" not in by_root  # waiting costs no processor time
    assert said["top"][0]["function"] == "burn" and said["top"][0]["file"].endswith("app.py")
    [worker] = said["workers"]
    assert worker["worker"] == 0 and 0.8 < said["sampled_s"] <= worker["cpu_s"]


def test_a_long_call_in_c_counts_with_its_whole_time(start: Start) -> None:
    """The call takes the processor time of some thirty samples, but only one sample can be taken: after the call."""
    began_s = time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
    rounds = str(int(100_000 * 0.3 / (time.thread_time() - began_s)))
    server = serve(start)
    said, stacks = profile_of(server, 6, ("/hash", rounds), ("/light", ""))
    assert time_of(stacks, "long_call_of_c") > 0.85 * sum(stacks.values())  # 1.8 of 1.86 s
    assert said["samples"] < 100


def test_time_that_wsgid_itself_takes_does_not_count_for_the_application(start: Start) -> None:
    server = serve(start)
    _, stacks = profile_of(server, 15_000, ("/", ""))  # a busy kernel drops most samples
    assert time_of(stacks, WSGID) + time_of(stacks, "Dispatcher._serve") > 0  # compiled form, or pure form
    assert set(map(len, (stack for stack in stacks if WSGID in stack))) <= {2}


def test_other_greenlets_and_native_threads_are_told_apart(start: Start) -> None:
    server = serve(start)
    _, stacks = profile_of(server, 25, ("/greenlet", ""), ("/thread", ""))
    assert ("greenlet light_work", "light_work", "burn") in stacks
    assert stacks[("(native threads)",)] > 100_000


def test_the_wall_clock_shows_what_requests_wait_for(start: Start) -> None:
    server = serve(start)
    with asleep(server):
        said, stacks = profile(server, "--wall")
    assert set(stacks) == {("GET /sleep", "application", "sleep")}
    assert 0.8 < time_of(stacks, "sleep") / 1e6 / said["workers"][0]["seconds"] <= 1


def test_the_busiest_is_taken_unless_a_worker_is_named_or_all_are_wanted(start: Start) -> None:
    server = serve(start, workers=2)
    with asleep(server):
        found = [profile(server, "--wall", "--worker", str(slot))[1] for slot in (0, 1)]
        [slot] = [slot for slot in (0, 1) if found[slot]]
        said, _ = profile(server, "--wall")
        assert [worker["worker"] for worker in said["workers"]] == [slot]
        said, stacks = profile(server, "--wall", "--all")
        assert [worker["worker"] for worker in said["workers"]] == [0, 1] and len(stacks) == 1
    assert "there is no worker 7" in refusal(server, "--worker", "7")


def test_of_all_workers_those_that_can_are_profiled(start: Start) -> None:
    server = serve(start, workers=2)
    with under_way(server, "--worker", "0") as running:
        done = wsgidctl(server, "--seconds", "1", "--all", "--json")
        said, errors = done.communicate(timeout=PATIENCE_S)
        assert [worker["worker"] for worker in json.loads(said)["workers"]] == [1]
        assert errors.startswith("wsgidctl: the worker is being profiled already") and running.poll() is None


@pytest.mark.parametrize("name", ["out.svg", "out.json", "out.txt"])
def test_each_format_is_written_and_a_table_is_printed(start: Start, name: str) -> None:
    server = serve(start)
    with under_way(server, "--hz", "1000", "-o", name) as running:
        for _ in range(50):  # a busy kernel drops most samples
            get(server, "/light")
        server.send_signal(Signals.SIGTERM)
        said, errors = running.communicate(timeout=PATIENCE_S)
    assert not errors  # progress is only printed to a terminal
    first, early, _, head, *rows = said.splitlines()
    assert first.startswith("worker 0: ") and first.endswith(f"; written to {name}") and "function" in head
    assert "ended its profile early" in early and "burn (" in rows[0] and len(rows) <= 10
    text = (server.directory / name).read_text()
    assert "burn" in text
    if name == "out.svg":
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    if name == "out.json":
        assert json.loads(text)["profiles"][0]["type"] == "sampled"


# --- what a profile leaves unchanged ---


def test_nothing_is_installed_before_and_after(start: Start) -> None:
    server = serve(start)
    assert get(server, "/") == NOTHING
    profile(server)
    assert get(server, "/") == NOTHING
    profile(server, "--wall")
    assert get(server, "/") == NOTHING


def test_a_profile_ends_when_its_client_leaves(start: Start) -> None:
    server = serve(start)
    with under_way(server) as running:
        running.kill()
        eventually(lambda: get(server, "/") == NOTHING, "the profile has ended")
    assert profile(server)[0]["workers"][0]["whole"]


def test_a_worker_has_one_profile_at_a_time(start: Start) -> None:
    server = serve(start)
    with under_way(server) as running:
        assert "is being profiled already" in refusal(server)
        assert running.poll() is None and "CpuSource" in get(server, "/")[0]


@pytest.mark.parametrize("path", ["/take", "/timer"])
def test_an_application_that_uses_sigprof_is_not_profiled(start: Start, path: str) -> None:
    server = serve(start)
    before = get(server, path)
    assert "the application uses SIGPROF itself" in refusal(server)
    assert get(server, "/") == before != NOTHING
    assert get(server, "/give-back") == NOTHING
    profile(server)


def test_the_application_may_take_sigprof_at_any_time(start: Start) -> None:
    server = serve(start)
    with under_way(server) as running:
        get(server, "/take")
        said, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0 and "ended its profile early" in said
    handler, interval_s = get(server, "/")
    assert "applications_own" in handler and interval_s == 0.0


@pytest.mark.parametrize("signo", [Signals.SIGHUP, Signals.SIGTERM])
def test_a_worker_that_leaves_sends_its_profile_so_far(start: Start, signo: Signals) -> None:
    server = serve(start)
    with under_way(server, "--json", "-o", "out.folded") as running:
        for _ in range(100):  # 3 s of its processor time: a busy kernel drops most samples
            get(server, "/heavy")
        server.send_signal(signo)
        said, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, errors
    assert json.loads(said)["workers"][0]["whole"] is False
    assert "GET /heavy" in (server.directory / "out.folded").read_text()
    if signo is Signals.SIGTERM:
        assert server.wait() == 0
        server.assert_nothing_left()


# --- refusals and limits ---


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--seconds", "0.5"], "a profile takes 1 to 300 seconds, not 0.5"),
        (["--seconds", "301"], "a profile takes 1 to 300 seconds"),
        (["--seconds", "nan"], "a profile takes 1 to 300 seconds"),
        (["--hz", "0"], "a profile takes 1 to 1000 samples a second, not 0"),
        (["--hz", "1001"], "a profile takes 1 to 1000 samples a second"),
        (["-o", "out.png"], "out.png is of no known format"),
        (["-o", "nowhere/out.svg"], "nowhere/out.svg cannot be written"),
    ],
)
def test_an_impossible_profile_is_refused_at_once(start: Start, arguments: list[str], said: str) -> None:
    server = serve(start)
    assert said in refusal(server, *arguments)
    assert get(server, "/") == NOTHING


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"seconds": True},
        {"seconds": "9"},
        {"seconds": 9, "hz": 2.5},
        {"seconds": 9, "clock": "sun"},
        {"seconds": 9, "clock": []},
    ],
)
def test_nonsense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ProfileRefused):
        profiler.parse(arguments)


def test_deep_stacks_are_cut_visibly(start: Start) -> None:
    server = serve(start)
    _, stacks = profile_of(server, 20, ("/deep", ""))
    cut = [stack for stack in stacks if DEEPER in stack]
    assert cut and all(stack[:2] == ("GET /deep", DEEPER) and len(stack) == DEPTH_MAX + 2 for stack in cut)
    assert all(stack[-1] in ("burn", "deep_work") for stack in cut)


def test_stacks_and_labels_are_bounded() -> None:
    samples = Samples()
    for number in range(LABELS_MAX + 5):
        samples.see(f"root {number}", sys._getframe(), 1_000)
    for number in range(STACKS_MAX + 5):
        samples.add((number, "root 0"), 1_000)
    places = {stack: count for stack, count in samples._counts.items() if stack[-1] == OTHERS}
    assert list(places.values()) == [[5_000, 5]]
    assert len(samples._counts) <= STACKS_MAX + 1
    assert samples._counts[(id(MORE), "root 0")][1] == STACKS_MAX + 5 - (STACKS_MAX - LABELS_MAX - 1)


@pytest.mark.parametrize(
    "path, label",
    [
        ("/", "GET /"),
        ("", "GET /"),
        ("/users/123/orders", "GET /users/*/orders"),
        ("/api/v2/things", "GET /api/v2/things"),
        ("/a/b/c/d/e/f", "GET /a/b/c/d/*"),
        ("/caf\xe9", "GET /caf\\xe9"),
        ("/x\n;y", "GET /x\\n;y"),
    ],
)
def test_requests_have_the_label_of_a_route(path: str, label: str) -> None:
    assert request_label({"REQUEST_METHOD": "GET", "PATH_INFO": path}) == label


def test_labels_are_short_whatever_the_application_has_done_to_its_environ() -> None:
    assert len(request_label({"REQUEST_METHOD": None, "PATH_INFO": "/" + "x" * 10_000})) <= LABEL_MAX_CHARS
    assert request_label({}) == "None /"
