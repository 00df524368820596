"""--workers-min: workers come with the load. test_scaling.py simulates the rule, also when they go."""

import json
from contextlib import ExitStack
from pathlib import Path
from signal import Signals

from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually

# A request of /wait ends once the file "go" is there.
APP = """
    import os, time
    def application(environ, start_response):
        while environ["PATH_INFO"] == "/wait" and not os.path.exists("go"):
            time.sleep(0.01)
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


def test_workers_come_when_requests_wait(start: Start, tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nsocket = app.sock\nmodule = app\nprocesses = 4\ncheaper = 1\ngevent = 1\ncheaper-algo = spare\n"
        "stats = stats.sock\n"
    )
    server = start("u.ini", app=APP)
    server.wait_for("listens on .* with 1 to 4 workers")
    server.wait_ready(1)
    assert len(server.worker_pids()) == 1
    with ExitStack() as connections:
        waiting = [connections.enter_context(client.connect(tmp_path / "app.sock")) for _ in range(6)]
        for connected in waiting:
            connected.sendall(client.packet("/wait"))
        server.wait_for(r"\d workers from now on: \d+ requests? in flight, \d+ connections? in the backlog")
        server.wait_ready(4)
        eventually(lambda: len(server.worker_pids()) == 4, "there are four workers")
        eventually(lambda: server.in_flight() == 4, "each worker has a request")
        (tmp_path / "go").touch()
        bodies = [client.parse(client.read_all(connected)).body for connected in waiting]
    assert len(bodies) == 6 and len(set(bodies)) == 4
    server.send_signal(Signals.SIGTTOU)
    server.wait_for("SIGTTOU: 3 workers from now on")
    server.wait_for(r"worker \d .* exited with code 0")
    statistics = json.loads(client.exchange(tmp_path / "stats.sock"))
    assert sum(worker["status"] != "cheap" for worker in statistics["workers"]) == 3
    assert server.stop() == 0
    server.assert_nothing_left()


def test_the_workers_at_the_start_and_after_an_upgrade(start: Start, tmp_path: Path) -> None:
    server = start(
        "--socket", "app.sock", "-p", "4", "--workers-min", "1", "--cheaper-initial", "2", "app:application", app=APP
    ).wait_ready(2)
    server.send_signal(Signals.SIGUSR2)
    server.wait_generation(1, 2)
    server.wait_for(r"worker \d \(generation 0, .* exited with code 0", 2)
    assert client.get(tmp_path / "app.sock").status == 200
    assert len(server.worker_pids()) == 2
    assert server.stop() == 0
    server.assert_nothing_left()
