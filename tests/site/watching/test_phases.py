"""Where the time of requests goes, and what workers use: in status, in /metrics and in top."""

import os
import time
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.site.watching.test_metrics import scrape
from tests.support import client
from tests.support.ctl import said
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
    import gc, time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/read":
            environ["wsgi.input"].read()
        elif path == "/collect":
            gc.collect()
        elif path == "/spin":
            until = time.thread_time() + 0.2
            while time.thread_time() < until:
                pass
        start_response("200 OK", [])
        return [bytes(8 << 20 if path == "/big" else 2)]
"""
HTTP = "127.0.0.1:0"


def serve(start: Start, *options: str) -> Server:
    addresses = ("--socket", "app.sock", "--metrics", "metrics.sock")
    return start(*addresses, *options, "app:application", app=APP).wait_ready(1)


def totals(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = said(server.directory, "status")["totals"]
    return found


def when_counted(server: Server, requests: int) -> dict[str, Any]:
    eventually(lambda: totals(server)["requests"] == requests, f"{requests} requests are counted")
    return totals(server)


def in_flight(server: Server) -> int:
    return sum(int(worker["in_flight"]) for worker in said(server.directory, "status")["workers"])


def test_a_short_request_is_its_application_alone(start: Start) -> None:
    server = serve(start)
    assert client.get(server.directory / "app.sock").status == 200
    found = when_counted(server, 1)
    assert [found[f"{phase}_us"] for phase in ("front", "waiting", "sending")] == [0, 0, 0]
    assert found["busy_us"] > found["reading_us"]  # the head may arrive a little later than the connection


def test_waits_for_the_client_are_reading_and_sending(start: Start) -> None:
    server = serve(start)
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/read", REQUEST_METHOD="POST", CONTENT_LENGTH="5"))
        eventually(lambda: in_flight(server) == 1, "the application waits for the body")
        slow.sendall(b"12345")
        client.read_all(slow)
    found = when_counted(server, 1)
    assert 0 < found["reading_us"] <= found["busy_us"] and found["sending_us"] == 0
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/big"))
        eventually(lambda: in_flight(server) == 1, "the response waits for its reader")
        assert len(client.read_all(slow)) > 8 << 20
    after = when_counted(server, 2)
    assert 0 < after["sending_us"] <= after["busy_us"] - found["busy_us"]
    scraped = scrape(server)
    for phase in ("reading", "sending"):
        assert scraped.sum("wsgid_request_phase_seconds_total", phase=phase) == after[f"{phase}_us"] / 1e6


def test_the_stamp_of_the_server_in_front_says_how_long_a_request_was_on_its_way(start: Start) -> None:
    server = serve(start, "--http", HTTP, "--forwarded-allow-ips", "127.0.0.1")
    before_s = time.time()
    client.get(server.directory / "app.sock", HTTP_X_REQUEST_START=f"t={before_s - 2:.3f}")
    found = when_counted(server, 1)
    assert found["fronted"] == 1
    assert 2e6 <= found["front_us"] + 1000 <= (time.time() - before_s + 2) * 1e6 + 2000
    client.get(server.directory / "app.sock", HTTP_X_REQUEST_START="yesterday")
    assert when_counted(server, 2)["fronted"] == 1
    head = f"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Start: {time.time() * 1000:.0f}\r\n\r\n"
    assert client.parse(client.exchange(server.tcp_addresses()[0], head.encode())).status == 200
    assert when_counted(server, 3)["fronted"] == 2
    assert scrape(server).sum("wsgid_requests_fronted_total") == 2
    assert scrape(server).sum("wsgid_request_phase_seconds_total", phase="front") >= 1.9


def test_over_http_the_stamp_of_a_stranger_does_not_count(start: Start) -> None:
    server = serve(start, "--http", HTTP, "--forwarded-allow-ips", "192.0.2.1")
    head = f"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Start: {time.time() - 9}\r\n\r\n"
    assert client.parse(client.exchange(server.tcp_addresses()[0], head.encode())).status == 200
    assert when_counted(server, 1)["fronted"] == 0


def test_a_request_over_http_that_finds_no_place_waits_in_the_worker(start: Start) -> None:
    server = serve(start, "--http", HTTP, "--gevent", "1")
    address = server.tcp_addresses()[0]
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with client.connect(address) as kept, client.connect(address) as holder:
        kept.sendall(get)
        assert kept.recv(1 << 16).startswith(b"HTTP/1.1 200")
        before = when_counted(server, 1)
        holder.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        eventually(lambda: in_flight(server) == 1, "the only place is taken")
        kept.sendall(get)
        began_s = time.monotonic()
        said(server.directory, "status")  # meanwhile the request waits
        waited_s = time.monotonic() - began_s
        holder.sendall(b"x")
        assert kept.recv(1 << 16).startswith(b"HTTP/1.1 200")
        after = when_counted(server, 3)
    assert after["waiting_us"] - before["waiting_us"] >= waited_s * 1e6 / 2
    assert scrape(server).sum("wsgid_request_phase_seconds_total", phase="waiting") == after["waiting_us"] / 1e6


def test_pauses_of_the_garbage_collector(start: Start) -> None:
    server = serve(start)
    before = totals(server)
    client.get(server.directory / "app.sock", "/collect")
    after = when_counted(server, 1)
    assert after["full_collections"] == before["full_collections"] + 1
    assert after["collections"] > before["collections"] and after["collector_us"] > before["collector_us"]
    [worker] = said(server.directory, "status")["workers"]
    scraped = scrape(server)
    assert scraped.sum("wsgid_collector_longest_pause_seconds") == worker["collector_longest_us"] / 1e6 > 0
    assert scraped.sum("wsgid_full_collections_total") == after["full_collections"]
    assert scraped.sum("wsgid_collector_pause_seconds_total") >= worker["collector_longest_us"] / 1e6


def test_processor_time_is_counted_and_outlives_the_worker(start: Start) -> None:
    server = serve(start)
    client.get(server.directory / "app.sock", "/spin")
    [worker] = said(server.directory, "status")["workers"]
    assert totals(server)["cpu_us"] >= worker["cpu_us"] >= 200_000
    used_s = scrape(server).sum("wsgid_cpu_seconds_total")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(2)
    [successor] = said(server.directory, "status")["workers"]
    assert successor["cpu_us"] < worker["cpu_us"] or successor["pid"] != worker["pid"]
    assert scrape(server).sum("wsgid_cpu_seconds_total") >= used_s >= 0.2


def test_top_has_the_same_numbers(start: Start) -> None:
    server = serve(start)
    sample = said(server.directory, "top", "--once", "--interval", "0.2")
    assert set(sample["mean_s_by_phase"]) == {"front", "waiting", "reading", "application", "sending"}
    assert sample["per_s"]["cpu_us"] >= 0 and list(sample["cpu_by_worker"]) == ["0"]
