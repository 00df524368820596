"""The examples for systemd, Docker and Kubernetes, tested as far as this is possible without these programs."""

import ctypes
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.server import open_to_all
from tools.nginx import EXAMPLES
from wsgid.config import merge
from wsgid.config.options import Settings

UNITS = sorted(path.name for path in EXAMPLES.glob("wsgid*.s*"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]
"""
PR_SET_MDWE = 65  # linux/prctl.h


def text(name: str) -> str:
    return (EXAMPLES / name).read_text()


def joined(name: str) -> str:
    """The text without comments. A statement over several lines is one line."""
    return re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text(name), flags=re.MULTILINE))


def unit(name: str) -> ConfigParser:
    parsed = ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(joined(name))
    return parsed


def documents() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(text("kubernetes.yaml"))}


def containers() -> dict[str, dict[str, Any]]:
    return {
        container["name"]: container
        for container in documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
    }


def docker(instruction: str) -> list[str]:
    [line] = re.findall(rf"^{instruction} (.*)$", joined("Dockerfile"), re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def settings(arguments: list[str], tmp_path: Path) -> Settings:
    """The settings that wsgid reads from these arguments. Only the directory is replaced."""
    return merge.read([str(tmp_path) if argument == "/srv/app" else argument for argument in arguments], {}).settings


def test_there_are_units() -> None:
    assert UNITS == ["wsgid-hardened.service", "wsgid.service", "wsgid.socket"]


# --- systemd ---


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_a_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; the other tests read the units")
    program = Path(sys.executable).with_name("wsgid")
    for other in UNITS:
        (tmp_path / other).write_text(text(other).replace("/srv/app/venv/bin/wsgid", str(program)))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    about_ours = [line for line in said.stderr.splitlines() if "wsgid" in line]
    assert said.returncode == 0 and not about_ours, said.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_wsgid_takes_the_arguments_of_a_unit_and_its_times_fit(name: str, tmp_path: Path) -> None:
    service = unit(name)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    found = settings(arguments, tmp_path)
    assert program.endswith("/wsgid") and found.socket == ("/run/wsgid/app.sock",)
    assert float(service["TimeoutStopSec"]) > found.worker_reload_mercy + found.shutdown_delay
    assert float(service["TimeoutStartSec"]) > found.boot_timeout
    assert service["KillMode"] == "mixed" and service["Type"] == "notify" and service["RuntimeDirectory"] == "wsgid"


@pytest.mark.parametrize("site", sorted(path.name for path in EXAMPLES.glob("*nginx.conf")))
@pytest.mark.parametrize("name", SERVICES)
def test_nginx_waits_longer_than_a_request_may_take(name: str, site: str, tmp_path: Path) -> None:
    """Otherwise nginx asks a second worker, and a slow request runs twice."""
    _, *arguments = shlex.split(unit(name)["Service"]["ExecStart"])
    [read_timeout_s] = re.findall(r"^ *uwsgi_read_timeout (\d+)s;$", text(site), re.MULTILINE)
    assert 0 < settings(arguments, tmp_path).harakiri < float(read_timeout_s)


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_nginx_in_containers_waits_longer_than_a_request_may_take(name: str) -> None:
    [harakiri_s] = re.findall(r'"--harakiri", "(\d+)"', text(name))
    [read_timeout_s] = re.findall(r"uwsgi_read_timeout (\d+)s;", text(name))
    assert 0 < int(harakiri_s) < int(read_timeout_s)


@pytest.mark.parametrize("name", UNITS)
def test_each_line_of_the_hardened_unit_has_a_reason(name: str) -> None:
    """Lines that are in all units are explained in one of them. The comment is above the lines, in the same
    paragraph."""
    for paragraph in re.split(r"\n\n|^\[.*\]\n", text(name), flags=re.MULTILINE):
        lines = [line for line in paragraph.splitlines() if line]
        if lines and not lines[0].startswith(("Description=", "WantedBy=")):
            assert lines[0].startswith("#"), lines[0]


def test_the_hardened_unit_is_the_other_and_more() -> None:
    plain, hardened = unit("wsgid.service")["Service"], unit("wsgid-hardened.service")["Service"]
    assert plain.items() <= hardened.items()
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"} == set(hardened["RestrictAddressFamilies"].split())


def test_wsgid_runs_without_memory_that_is_writable_and_executable(start: Start) -> None:
    """MemoryDenyWriteExecute=, by the kernel's own means (PR_SET_MDWE(2const), since Linux 6.3)."""
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        pytest.skip("this kernel has no PR_SET_MDWE")
    code = (
        f"import ctypes, os, sys; assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0; "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    server = start("--socket", "app.sock", "app:application", app=APP, prefix=[sys.executable, "-c", code])
    server.wait_ready(1)
    assert client.get(server.directory / "app.sock").body == b"hello"


# The calls that SystemCallFilter=~@privileged refuses (systemd-analyze syscall-filter), if a server could make them.
PRIVILEGED = (
    "chown",
    "fchown",
    "fchownat",
    "lchown",
    "setuid",
    "setreuid",
    "setresuid",
    "setfsuid",
    "setgroups",
    "capset",
    "chroot",
    "sethostname",
    "settimeofday",
    "clock_settime",
    "acct",
    "bpf",
    "reboot",
    "swapon",
)
BOUNDED = f"""
import os, pyseccomp, sys
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name in {PRIVILEGED}:
    rules.add_rule(pyseccomp.ERRNO(1), name)
rules.load()
os.execv(sys.argv[1], sys.argv[1:])
"""


@another_user.as_root
def test_wsgid_runs_within_the_bounds_of_the_hardened_unit(start: Start, tmp_path: Path) -> None:
    """User=, CapabilityBoundingSet=, NoNewPrivileges= and SystemCallFilter=, by the kernel's own means."""
    open_to_all(tmp_path)
    os.chown(tmp_path, 65534, 65534)
    bounds = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--no-new-privs",
    ]
    server = start(
        "--socket",
        "app.sock",
        "--chmod-socket",
        "660",
        "--metrics",
        "127.0.0.1:0",
        "app:application",
        app=APP,
        prefix=[*another_user.prefix(), *bounds, sys.executable, "-c", BOUNDED],
    ).wait_ready(1)
    assert client.get(server.directory / "app.sock").body == b"hello"
    server.send_signal(Signals.SIGHUP)
    [young] = server.wait_for(r"worker \d \(generation 1, pid (\d+)\) is ready")
    os.kill(int(young[1]), Signals.SIGKILL)  # by pid, because the old worker may still be leaving
    server.wait_ready(3)
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew, in this process")
    server.wait_for(r"worker \d \(generation 2, pid \d+\) is ready")
    assert client.get(server.directory / "app.sock").body == b"hello"
    assert server.stop() == 0
    assert "Traceback" not in server.log and "EPERM" not in server.log
    server.assert_nothing_left()


# --- containers ---


def test_wsgid_takes_the_arguments_of_the_image(tmp_path: Path) -> None:
    assert docker("ENTRYPOINT") == ["wsgid"]
    found = settings(docker("CMD"), tmp_path)
    port = found.metrics.removeprefix(":")
    assert re.findall(r"^EXPOSE (.*)$", joined("Dockerfile"), re.MULTILINE) == [port]
    assert f"127.0.0.1:{port}/healthz" in joined("Dockerfile")
    assert (EXAMPLES / "flask_app.py").exists() and "USER 10001" in joined("Dockerfile")
    assert "STOPSIGNAL SIGTERM" in joined("Dockerfile")


def test_the_health_check_of_the_image_is_a_program_that_runs(start: Start) -> None:
    [line] = re.findall(r"^HEALTHCHECK .*CMD (.*)$", joined("Dockerfile"), re.MULTILINE)
    _, option, code = json.loads(line)
    environ = {**os.environ, "no_proxy": "127.0.0.1"}

    def checked(port: int) -> int:
        check = [sys.executable, option, code.replace("9117", str(port))]
        return subprocess.run(check, env=environ, capture_output=True).returncode

    with socket.socket() as silent:  # it has the port, and does not listen
        silent.bind(("127.0.0.1", 0))
        assert checked(silent.getsockname()[1]) != 0
    server = start("--socket", "app.sock", "--metrics", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    [port] = [found.laddr.port for found in psutil.Process(server.pid).net_connections("tcp")]
    assert checked(port) == 0


def test_wsgid_takes_the_arguments_of_the_pod_and_its_times_fit(tmp_path: Path) -> None:
    pod = documents()["Deployment"]["spec"]["template"]["spec"]
    found = settings(containers()["wsgid"]["args"], tmp_path)
    assert pod["terminationGracePeriodSeconds"] > found.shutdown_delay + found.worker_reload_mercy
    waits_s = int(re.findall(r"sleep (\d+)", containers()["nginx"]["lifecycle"]["preStop"]["exec"]["command"][-1])[0])
    assert found.shutdown_delay > waits_s


def test_the_parts_of_the_pod_fit_together() -> None:
    found, wsgid, nginx = documents(), containers()["wsgid"], containers()["nginx"]
    pod = found["Deployment"]["spec"]["template"]
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for container in (wsgid, nginx) for mount in container["volumeMounts"]} == volumes
    assert found["Service"]["spec"]["selector"] == pod["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == nginx["ports"][0]["name"]
    assert wsgid["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert wsgid["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert wsgid["ports"] == [{"name": "metrics", "containerPort": 9117}] and ":9117" in wsgid["args"]
    assert "unix:/run/wsgid/app.sock" in found["ConfigMap"]["data"]["default.conf"]
    assert "/run/wsgid/app.sock" in wsgid["args"]
