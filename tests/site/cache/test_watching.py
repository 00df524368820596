"""What an operator sees of the caches: uWSGI's statistics, metrics, wsgidctl."""

import json
import os
from pathlib import Path
from signal import Signals
from typing import Any

from tests.conftest import Start
from tests.site.cache.questions import ask, asked
from tests.support import client
from tests.support.ctl import said, wsgidctl
from tests.support.server import Server


def scraped(server: Server) -> dict[str, float]:
    """The lines of /metrics about the cache `values`."""
    body = client.exchange(server.directory / "metrics.sock", b"GET /metrics HTTP/1.0\r\n\r\n").decode()
    lines = (line.rpartition(" ") for line in body.splitlines() if '="values"}' in line)
    return {name.partition("{")[0]: float(value) for name, _, value in lines}


def stats(server: Server) -> dict[str, Any]:
    with client.connect(server.directory / "stats.sock") as connected:
        return json.loads(client.read_all(connected))  # type: ignore[no-any-return]


def test_hits_and_misses_are_counted_also_of_workers_that_have_died(serve: Start, tmp_path: Path) -> None:
    server = serve("--cache", "values=4m", "--metrics", "metrics.sock", "--stats", "stats.sock").wait_ready(2)
    ask(server, "put", key="a", value="1")
    for _ in range(3):
        ask(server, "get", key="a")
    pid, _ = asked(server, "get", key="missing")
    os.kill(pid, Signals.SIGKILL)
    server.wait_ready(3)
    ask(server, "make", key="m")
    ask(server, "delete", key="a")
    found = scraped(server)
    assert found["wsgid_cache_hits_total"] == found["uwsgi_cache_hits"] == 3
    assert found["wsgid_cache_misses_total"] == found["uwsgi_cache_misses"] == 4  # `missing`, and three looks of `make`
    assert found["wsgid_cache_sets_total"] == 3  # `imported`, `a` and `m`
    assert (found["wsgid_cache_makes_total"], found["wsgid_cache_deletes_total"]) == (1, 1)
    assert found["wsgid_cache_size_bytes"] == 4 << 20
    assert found["wsgid_cache_items"] == found["uwsgi_cache_items"] == 2
    assert 0 < found["wsgid_cache_used_bytes"] < 1 << 20
    (cache,) = stats(server)["caches"]
    assert (cache["name"], cache["hits"], cache["miss"], cache["items"]) == ("values", 3, 4, 2)
    assert all(isinstance(value, int) for name, value in cache.items() if name not in ("name", "hash"))
    (shown,) = said(tmp_path, "cache")["caches"]
    assert (shown["name"], shown["hits"], shown["misses"], shown["items"]) == ("values", 3, 4, 2)
    table = wsgidctl(tmp_path, "cache").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["cache", "values"]
    assert "43 %" in table


def test_a_server_without_a_cache_says_nothing_of_it(serve: Start, start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--stats", "stats.sock", "app:application", app=PLAIN).wait_ready(1)
    assert "caches" not in stats(server)
    assert wsgidctl(tmp_path, "cache").stdout == "there is no --cache\n"


PLAIN = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return []
"""
