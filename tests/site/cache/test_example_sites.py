"""The examples with a cache: all workers show the same."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually
from tools.nginx import EXAMPLES


def text_of(server: Server, path: str, **variables: str) -> str:
    answer = client.get(server.directory / "app.sock", path, SERVER_NAME="localhost", **variables)
    assert answer.status == 200, answer
    return answer.body.decode()


def test_flasks_workers_share_reports_counts_and_the_menu(start: Start, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "flask_cache.py", tmp_path)
    line = ("--socket", "app.sock", "--workers", "3", "--gevent", "2", "--cache", "pages=64m")
    server = start(*line, "flask_cache:application").wait_ready(3)
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: text_of(server, "/"), range(6)))) == 1
        visits = pool.map(lambda _: int(text_of(server, "/visits")), range(30))
        assert sorted(visits) == list(range(1, 31))
        dishes = [f"dish{number}" for number in range(10)]
        list(pool.map(lambda dish: text_of(server, f"/menu/{dish}", REQUEST_METHOD="POST"), dishes))
    for _ in range(10):
        assert set(re.findall(r"\w+", text_of(server, "/menu"))) == {"soup", *dishes}


def test_djangos_workers_share_sessions(start: Start, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "django_site", tmp_path, dirs_exist_ok=True)
    environ = {"DJANGO_SETTINGS_MODULE": "mysite.settings_cache", "DJANGO_DB": str(tmp_path / "db.sqlite3")}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=tmp_path, env={**os.environ, **environ}, check=True)
    line = ("--socket", "app.sock", "--workers", "2", "--cache", "site=64m", "--cache", "sessions=64m")
    server = start(*line, "mysite.wsgi:application", environ=environ).wait_ready(2)
    first = client.get(tmp_path / "app.sock", "/", SERVER_NAME="localhost")
    cookies = (value.partition(";")[0] for name, value in first.headers if name.lower() == "set-cookie")
    cookie = next(each for each in cookies if each.startswith("sessionid="))
    pids: set[str] = set()
    visits = 1

    def visited_both() -> bool:
        nonlocal visits
        visits += 1
        page = text_of(server, "/", HTTP_COOKIE=cookie)
        assert re.search(rf"\b{visits}\b", page), page
        pids.update(pid for pid in map(str, server.worker_pids()) if pid in page)
        return len(pids) == 2

    eventually(visited_both, "both workers have seen the session")
