"""examples/compose.yaml and examples/kubernetes.yaml: their parts fit each other, and nginx and wsgid take them."""

import re
from pathlib import Path
from typing import Any

import yaml

from tools.image import LIMIT_BYTES, instructions
from tools.nginx import EXAMPLES, Nginx
from wsgid.config import merge

COMPOSE: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUBERNETES = {item["kind"]: item for item in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())}
SITE: str = COMPOSE["configs"]["nginx"]["content"].replace("$$", "$")


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found
    return int(found[1])


def test_wsgid_takes_the_arguments_of_the_service_and_its_times_fit() -> None:
    found = merge.read(SERVICES["wsgid"]["command"], {}).settings
    assert seconds(SERVICES["wsgid"]["stop_grace_period"]) > found.worker_reload_mercy
    [read_timeout] = re.findall(r"uwsgi_read_timeout (\w+);", SITE)
    assert seconds(read_timeout) > found.harakiri
    assert f"uwsgi_pass unix:{found.socket[0]};" in SITE


def test_nginx_takes_the_configuration_of_the_service() -> None:
    with Nginx(SITE) as nginx:
        assert nginx.error_log() == ""


def test_the_services_share_the_socket_and_the_files_are_there() -> None:
    for service in ("wsgid", "nginx"):
        assert "sockets:/run/wsgid" in SERVICES[service]["volumes"]
    for volume in SERVICES["prometheus"]["volumes"]:
        assert (EXAMPLES / volume.partition(":")[0]).is_file()
    assert (EXAMPLES / SERVICES["wsgid"]["build"]["context"] / SERVICES["wsgid"]["build"]["dockerfile"]).is_file()
    assert SERVICES["nginx"]["configs"][0]["source"] in COMPOSE["configs"]


def test_the_prometheus_of_the_services_scrapes_the_port_of_wsgid() -> None:
    scraped = yaml.safe_load((EXAMPLES / "monitoring" / "prometheus.yml").read_text())
    [target] = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    metrics = merge.read(SERVICES["wsgid"]["command"], {}).settings.metrics
    assert target == f"127.0.0.1{metrics}" and SERVICES["prometheus"]["network_mode"] == "service:wsgid"


def test_the_autoscaler_and_the_budget_are_those_of_the_deployment() -> None:
    deployment, scaler = KUBERNETES["Deployment"], KUBERNETES["HorizontalPodAutoscaler"]["spec"]
    pod = deployment["spec"]["template"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["scaleTargetRef"]["kind"] == deployment["kind"] and scaler["minReplicas"] >= 2
    container = scaler["metrics"][0]["containerResource"]["container"]
    [wsgid] = [item for item in pod["spec"]["containers"] if item["name"] == container]
    assert "cpu" in wsgid["resources"]["requests"] and "cpu" not in wsgid["resources"]["limits"]
    assert all("requests" in item["resources"] for item in pod["spec"]["containers"])
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]


def test_the_image_can_be_followed_without_docker() -> None:
    names = [instruction.name for instruction in instructions()]
    assert names.count("FROM") == 2 and names[-1] == "CMD" and LIMIT_BYTES == 90_000_000
    for instruction in instructions():
        for source in re.findall(r"/src/(examples/\S+)", instruction.text):
            assert (Path(EXAMPLES.parent) / source).is_file()
