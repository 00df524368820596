"""Questions to the application of app.py."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support import client
from tests.support.server import Server, eventually

AT_ONCE = 4


def ask(server: Server, call: str, **arguments: str) -> Any:
    return asked(server, call, **arguments)[1]


def asked(server: Server, call: str, **arguments: str) -> tuple[int, Any]:
    """The pid of the worker that has answered, and its answer."""
    query = "&".join(f"{name}={value}" for name, value in arguments.items())
    answer = client.get(server.directory / "app.sock", f"/{call}", QUERY_STRING=query)
    assert answer.status == 200, server.log
    pid, result = json.loads(answer.body)
    return pid, result


def ask_each(server: Server, call: str, **arguments: str) -> dict[int, Any]:
    """The answers of all workers, by pid. Several questions at once, so that no worker takes them all."""
    found: dict[int, Any] = {}

    def answered_by_all() -> bool:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found.update(pool.map(lambda _: asked(server, call, **arguments), range(AT_ONCE)))
        return set(server.worker_pids()) <= found.keys()

    eventually(answered_by_all, f"all workers answer {call}")
    return {pid: answer for pid, answer in found.items() if pid in server.worker_pids()}


def memory_directory(server: Server) -> Path:
    (found,) = Path("/dev/shm").glob(f"wsgid-*-{server.pid}-*")
    return found
