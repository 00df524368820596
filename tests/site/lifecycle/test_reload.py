"""Reload, recycling and upgrade: workers, code and master are replaced while the server serves."""

import os
import re
import time
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil

from tests.conftest import Start
from tests.support import client
from tests.support.load import Kind, Load, Plan
from tests.support.server import Server, eventually

APP = """
    import os, time
    VERSION = "one"
    hoard = []
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            time.sleep(0.2)
        if path == "/grow":
            hoard.append(b"x" * (120 << 20))
        body = b"x" * 100_000 if path == "/large" else VERSION.encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
"""
VERSIONS = r"one|number \d+"
KINDS = (Kind("/", VERSIONS), Kind("/sleep", VERSIONS), Kind("/large", "x*", 100_000), Kind("/", VERSIONS))


def serve(start: Start, *options: str, workers: int = 2, app: str = APP) -> Server:
    return start("--socket", "app.sock", "--workers", str(workers), *options, "app:application", app=app).wait_ready(
        workers
    )


def write_at_once(path: Path, text: str) -> None:
    """Replace a file. No process sees it empty, as it is for a moment while it is written in place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def write_version(server: Server, version: str) -> None:
    """Replace the application's source, as an editor does."""
    path = server.directory / "app.py"
    write_at_once(path, re.sub(r'VERSION = ".*"', f'VERSION = "{version}"', path.read_text()))


def version(server: Server) -> str:
    return client.get(server.directory / "app.sock").body.decode()


def load_on(server: Server) -> Load:
    return Load(Plan(server.directory / "app.sock", KINDS, 12))


def test_reloads_under_load_lose_nothing(start: Start) -> None:
    server = serve(start)
    with load_on(server) as load:
        for generation in range(1, 4):
            # Python knows new code by its size and by the second of its change, so each version has another size.
            number = 10**generation
            write_version(server, f"number {number}")
            server.send_signal(Signals.SIGHUP)
            server.wait_generation(generation, 2)
            server.wait_for(rf"worker \d+ \(generation {generation - 1}, pid \d+\) exited with code 0", 2)
            assert version(server) == f"number {number}"
    assert load.wrong == [] and load.right > 100
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_touched_file_reloads(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--touch-reload", "stamp", "--touch-reload", "link")
    write_version(server, "appeared")
    (tmp_path / "stamp").touch()  # the file did not exist
    server.wait_generation(1, 2)
    eventually(lambda: version(server) == "appeared", "the new code serves")
    os.utime(tmp_path / "stamp", (1, 1))
    server.wait_generation(2, 2)
    (tmp_path / "link").symlink_to("stamp")
    server.wait_generation(3, 2)
    (tmp_path / "other").write_text("")
    (tmp_path / "link.new").symlink_to("other")
    (tmp_path / "link.new").rename(tmp_path / "link")  # a link is switched, as deployments do
    server.wait_generation(4, 2)


def test_a_changed_module_reloads_in_development(start: Start, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("NAME = 'old'")
    server = serve(start, "--py-autoreload", app=dedent(APP).replace('"one"', "__import__('helper').NAME"))
    assert version(server) == "old"
    write_at_once(tmp_path / "helper.py", "NAME = 'brand new'")
    server.wait_for("helper.py has changed: reloading the application")
    server.wait_generation(1, 2)
    eventually(lambda: version(server) == "brand new", "the new code serves")
    write_at_once(tmp_path / "helper.py", "NAME = ")
    server.wait_for("cannot be imported: SyntaxError.*; the running workers keep serving")
    assert version(server) == "brand new"
    write_at_once(tmp_path / "helper.py", "NAME = 'mended again'")
    eventually(lambda: version(server) == "mended again", "the mended code serves")


def test_the_master_executes_itself_anew_without_losing_a_request(start: Start) -> None:
    server = serve(start, "--max-vars", "500")
    before = server.worker_pids()
    with load_on(server) as load:
        for _ in range(2):
            server.lines.clear()
            server.send_signal(Signals.SIGUSR2)
            server.wait_for("wsgid starts anew, in this process")
            server.wait_for("listens on")
            server.wait_for(r"worker \d+ .* is ready", 2)
            server.wait_for(r"worker \d+ .* exited with code 0", 2)
    assert load.wrong == [] and load.right > 50
    assert not set(before) & set(server.worker_pids()) and len(server.worker_pids()) == 2
    assert psutil.Process(server.pid).cmdline()[0].startswith("wsgid: master")
    assert server.stop() == 0
    server.assert_nothing_left()


def test_an_upgrade_takes_changed_options(start: Start, tmp_path: Path) -> None:
    options = tmp_path / "wsgid.args"
    options.write_text("--workers\n1\n--socket\napp.sock\n")
    server = start("@wsgid.args", "app:application", app=APP).wait_ready(1)
    with load_on(server) as load:
        options.write_text("--workers\n2\n--socket\napp.sock\n--socket\nsecond.sock\n")
        server.send_signal(Signals.SIGUSR2)
        server.wait_for(r"listens on \S+app.sock, \S+second.sock with 2 workers")
        server.wait_for(r"worker \d+ \(generation 1, pid \d+\) is ready", 2)
        server.wait_for(r"worker \d+ .* exited with code 0")
    assert load.wrong == []
    assert client.get(tmp_path / "second.sock").body == b"one"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_an_upgrade_that_cannot_start_changes_nothing(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    before = server.worker_pids()
    # The next start finds this package instead of the installed wsgid.
    (tmp_path / "wsgid.py").write_text("raise SystemExit('broken installation')")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid cannot be started anew: its rehearsal exited with code 1; this server keeps serving")
    assert server.worker_pids() == before and version(server) == "one"


def test_a_worker_that_has_served_enough_is_replaced_before_it_leaves(start: Start) -> None:
    server = serve(start, "--max-requests", "50", "--max-requests-delta", "10")
    with load_on(server) as load:
        server.wait_for(r"worker \d+ asks to be replaced: it has served \d+ requests \(--max-requests\)", 3)
        server.wait_for(r"worker \d+ .* exited with code 0", 3)
    assert load.wrong == []
    assert len(server.worker_pids()) >= 2


def test_a_worker_that_has_lived_long_enough_is_replaced(start: Start) -> None:
    server = serve(start, "--max-worker-lifetime", "0.5", workers=1)
    server.wait_for(r"worker 0 asks to be replaced: it has lived long enough")
    server.wait_for(r"worker 0 .* exited with code 0")


def test_a_worker_that_has_grown_drains_or_is_killed(start: Start) -> None:
    server = serve(start, "--reload-on-rss", "100", workers=1)
    assert client.get(server.directory / "app.sock", "/grow").status == 200
    server.wait_for(r"worker 0 asks to be replaced: it has grown to 100 MB")
    server.wait_for(r"worker 0 .* exited with code 0")
    server.stop()
    server = serve(start, "--evil-reload-on-rss", "100", workers=1)
    with client.connect(server.directory / "app.sock") as growing:  # perhaps it is killed before it answers
        growing.sendall(client.packet("/grow"))
        server.wait_for(r"worker 0 .* has reached --evil-reload-on-rss 100: killed")
    server.wait_ready(2)


def test_a_delayed_stop_goes_on_serving_until_then(start: Start) -> None:
    server = serve(start, "--shutdown-delay", "1")
    server.send_signal(Signals.SIGTERM)
    server.wait_for("SIGTERM: wsgid stops in 1 s")
    served_s = time.monotonic()
    while (server.directory / "app.sock").exists():
        try:
            assert version(server) == "one"
            served_s = time.monotonic()
        except (FileNotFoundError, ConnectionRefusedError):
            break
    assert served_s and server.wait() == 0
    server.assert_nothing_left()


def test_a_log_file_is_reopened_after_its_rotation(start: Start, tmp_path: Path) -> None:
    app = dedent(APP).replace("    path =", "    print('served by', os.getpid(), flush=True)\n    path =")
    server = start("--socket", "app.sock", "--workers", "2", "--logto", "wsgid.log", "app:application", app=app)
    log = tmp_path / "wsgid.log"
    eventually(lambda: log.exists() and log.read_text().count("is ready") == 2, "both workers are ready")
    version(server)
    eventually(lambda: "served by" in log.read_text(), "the line is there")
    log.rename(tmp_path / "wsgid.log.1")
    server.send_signal(Signals.SIGUSR1)
    eventually(lambda: log.exists() and "the log is reopened" in log.read_text(), "the log is reopened")

    def both_workers_write_there() -> bool:
        version(server)
        return len(set(re.findall(r"served by (\d+)", log.read_text()))) == 2

    eventually(both_workers_write_there, "both workers write to the new file")
    assert server.stop() == 0
