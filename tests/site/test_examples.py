"""The examples and their tools, as far as they work without a server."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from flask import Flask

from tests.support.processes import still_runs
from tests.support.server import eventually
from tools.nginx import EXAMPLES, Nginx, NginxError, example

ROOT = EXAMPLES.parent
CONFIGURATIONS = sorted(path.name for path in EXAMPLES.glob("*nginx.conf"))
SITE = "server {\n    listen 80;\n    location / { return 200 hello; }\n}\n"


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_of(nginx: Nginx) -> list[psutil.Process]:
    assert nginx.process is not None
    master = psutil.Process(nginx.process.pid)
    return [master, *master.children(recursive=True)]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    before = psutil.Process().children(recursive=True)
    yield
    assert list(tmp_path.glob("wsgid-nginx-*")) == []
    eventually(lambda: set(psutil.Process().children(recursive=True)) <= set(before), "all processes are gone")


def test_there_are_configurations_to_copy() -> None:
    assert CONFIGURATIONS == ["django_nginx.conf", "flask_nginx.conf"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nginx_takes_a_configuration_as_it_is(name: str) -> None:
    with Nginx(example(name)) as nginx:
        assert nginx.error_log() == ""


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nginx_asks_the_given_socket_and_no_other(name: str, tmp_path: Path) -> None:
    address = tmp_path / "nobody.sock"
    with Nginx(example(name, f"unix:{address}")) as nginx:
        with pytest.raises(HTTPError) as error:
            urlopen(nginx.url)
        error.value.close()
        assert error.value.code == 502
        assert f"connect() to unix:{address} failed" in nginx.error_log()
        # nginx writes the line after the response
        eventually(lambda: '"GET / HTTP/1.1" 502' in nginx.access_log(), "the line of the request")


def test_django_static_files_come_from_nginx(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("body {}")
    with Nginx(example("django_nginx.conf", static_root=tmp_path)) as nginx:
        with urlopen(f"{nginx.url}/static/style.css") as response:
            assert response.read() == b"body {}"
            assert response.headers["Content-Type"] == "text/css"


def test_several_addresses_and_further_directives() -> None:
    site = example("flask_nginx.conf", "unix:/tmp/a.sock", "127.0.0.1:3031")
    assert "    server unix:/tmp/a.sock;\n    server 127.0.0.1:3031;\n" in site
    with Nginx(
        site,
        main="worker_processes 2;",
        events="worker_connections 64;",
        http="uwsgi_read_timeout 3s;",
        server="uwsgi_request_buffering off;",
    ) as nginx:
        assert is_listening(nginx.port)


def test_stop_ends_the_process_group_and_frees_the_port() -> None:
    nginx = Nginx(SITE)
    nginx.start()
    with urlopen(nginx.url) as response:
        assert response.read() == b"hello"
    processes = processes_of(nginx)
    assert len(processes) == 2  # nginx's master and its worker
    nginx.stop()
    assert not any(still_runs(process) for process in processes)
    assert not is_listening(nginx.port)
    nginx.stop()


def test_workers_end_even_if_their_master_was_killed() -> None:
    with Nginx(SITE) as nginx:
        # Connections wait in the kernel before there is a worker. After this answer there is a worker.
        urlopen(nginx.url).close()
        master, worker = processes_of(nginx)
        master.kill()
    eventually(lambda: not still_runs(worker), "the new parent has reaped the worker")
    assert not is_listening(nginx.port)


def test_an_exception_in_the_block_leaves_nothing() -> None:
    with pytest.raises(ZeroDivisionError), Nginx(SITE) as nginx:
        raise ZeroDivisionError
    assert not is_listening(nginx.port)


def test_a_refused_configuration_is_told_in_the_words_of_nginx() -> None:
    with pytest.raises(NginxError, match='unknown directive "no_such_directive"'):
        Nginx(SITE, server="no_such_directive on;").start()


def test_a_port_in_use_is_told_in_the_words_of_nginx() -> None:
    with Nginx(SITE) as first:
        second = Nginx(SITE.replace("80;", f"80;\n    listen {first.host}:{first.port};"))
        with pytest.raises(NginxError, match="Address already in use"):
            second.start()


@pytest.mark.parametrize("site", [SITE.replace("80", "8080"), SITE + SITE])
def test_a_site_that_listens_elsewhere_is_refused(site: str) -> None:
    with pytest.raises(NginxError, match="instead of one"):
        Nginx(site)


def test_a_missing_nginx_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.nginx.find_nginx", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NginxError, match=r"^nginx is missing: install it .*sudo apt-get install nginx\)$"):
        Nginx(SITE).start()


def test_flask_application_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    application: Flask = import_module("flask_app").application
    client = application.test_client()
    assert f"Worker {os.getpid()} served this" in client.get("/").text
    assert client.put("/upload", data=b"x" * 100_000).get_json()["size"] == 100_000
    assert client.get("/stream?n=2&s=0").text == "line 0\nline 1\n"
    assert "Hello, Zo\u00eb!" in client.post("/form", data={"name": "Zo\u00eb"}).text
    with client.get("/download") as response:
        assert response.data == (EXAMPLES / "flask_app.py").read_bytes()


@pytest.mark.parametrize("command", [["check", "--fail-level", "WARNING"], ["makemigrations", "--check", "--dry-run"]])
def test_django_finds_no_fault_with_its_site(command: list[str], tmp_path: Path) -> None:
    environment = dict(os.environ, DJANGO_DB=str(tmp_path / "db.sqlite3"), PYTHONDONTWRITEBYTECODE="1")
    subprocess.run([sys.executable, "manage.py", *command], cwd=EXAMPLES / "django_site", env=environment, check=True)


def test_the_makefile_has_every_target_that_the_readme_names() -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
