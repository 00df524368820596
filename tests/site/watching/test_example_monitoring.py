"""examples/monitoring: a real Prometheus scrapes a loaded server, and each panel and each alert finds its series."""

import json
import re
import signal
import subprocess
import textwrap
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Start
from tests.support import DOCS, ROOT, client
from tests.support.server import PATIENCE_S, Server, eventually
from tools import child
from tools.nginx import free_port

MONITORING = ROOT / "examples" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
ALERTS = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
QUERIES = {
    f"{panel['title']}, {target['legendFormat']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}

# The request /out opens a connection that stays open, as one to a database would.
APP = """
    import socket, time, wsgid

    KEPT = []
    wait = wsgid.offload(time.sleep)

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/out":
            KEPT.append(socket.create_connection(("127.0.0.1", int(environ["QUERY_STRING"]))))
        if environ["PATH_INFO"] == "/offload":
            wait(0.01)
        start_response("200 OK", [])
        return [b"ok"]
"""


class Prometheus:
    """A Prometheus with the configuration of the example, which scrapes this target all the time."""

    def __init__(self, directory: Path, target: str) -> None:
        text = (MONITORING / "prometheus.yml").read_text()
        assert text.count("127.0.0.1:9117") == 1 and text.count("scrape_interval: 15s") == 1
        often = "scrape_interval: 250ms\n  evaluation_interval: 250ms"
        text = text.replace("127.0.0.1:9117", target).replace("scrape_interval: 15s", often)
        (directory / "prometheus.yml").write_text(text)
        (directory / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
        self.url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        self.log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            cwd=directory,
            stdout=self.log,
            stderr=self.log,
            process_group=0,
        )

    def ask(self, path: str, **query: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}

    def end(self) -> None:

        child.end(self.process, signal.SIGTERM)
        self.log.close()


@pytest.fixture
def site(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Server, int]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    port = free_port("127.0.0.1")
    options = ("--socket", "app.sock", "--http", "127.0.0.1:0", "--workers", "2", "--metrics", f"127.0.0.1:{port}")
    return start(*options, "app:application", app=APP).wait_ready(2), port


@pytest.fixture
def prometheus(site: tuple[Server, int], tmp_path: Path) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path, f"127.0.0.1:{site[1]}")
    yield running
    running.end()


def test_each_panel_finds_data_of_a_loaded_server(site: tuple[Server, int], prometheus: Prometheus) -> None:
    server, _ = site
    socket_path = server.directory / "app.sock"
    [(_, port)] = server.tcp_addresses()
    assert client.get(socket_path, "/out", QUERY_STRING=str(port)).status == 200
    without = dict(QUERIES)
    deadline_s = time.monotonic() + PATIENCE_S
    while without and time.monotonic() < deadline_s:
        for path in ("/", "/offload"):
            client.get(socket_path, path)
        for name, expression in list(without.items()):
            expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
            if values := prometheus.ask("query", query=expression).get("result"):
                assert all(value["value"][1] != "NaN" for value in values) or "histogram" in expression, name
                del without[name]
    assert without == {}


def test_prometheus_takes_the_alerts_and_none_fires_for_a_server_that_is_well(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]]:
        groups = prometheus.ask("rules").get("groups", [])
        rules = [rule for group in groups for rule in group["rules"]]
        up = prometheus.ask("query", query="wsgid_workers_ready == 2").get("result")
        return rules if up and all(rule["health"] == "ok" for rule in rules) else []

    rules = eventually(evaluated, "all rules are evaluated")
    assert [rule["name"] for rule in rules] == [alert["alert"] for alert in ALERTS]
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_each_alert_fires_for_its_fault(tmp_path: Path) -> None:
    cases = (Path(__file__).with_name("alerts_test.yml")).read_text()
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    (tmp_path / "test.yml").write_text(cases)
    for alert in ALERTS:
        assert f'alertname="{alert["alert"]}"' in cases
        assert alert["labels"]["severity"] in ("page", "ticket") and alert["annotations"]["remedy"]
    for command in (["test", "rules", "test.yml"], ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]):
        said = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def test_prometheus_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    scrape, relabel = re.findall(r"(?m)((?:^ {4}.*\n)+)", (DOCS / "statistics.md").read_text())
    config = textwrap.dedent(scrape) + textwrap.dedent(relabel).replace("\n", "\n    ").join(("    ", "\n"))
    assert "relabel_configs" in config and "wsgid" in config
    (tmp_path / "prometheus.yml").write_text(config)
    said = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr + config


def test_the_dashboard_has_a_description_where_a_title_is_not_enough_and_panels_do_not_overlap() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & places, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
