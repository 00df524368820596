"""--uwsgi-module: what sites use of `uwsgi` and `uwsgidecorators` works; without it the log names who wants them."""

import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

APP = """
    import json, os, time
    import uwsgi
    import uwsgidecorators
    from uwsgidecorators import cron, harakiri, lock, postfork, rbtimer, thread, timer

    def note(text):
        with open("notes", "a") as notes:
            notes.write(f"{text}\\n")

    note(f"import {uwsgi.worker_id()} {uwsgi.masterpid() == os.getppid()}")

    @postfork
    def connect():
        note(f"postfork {uwsgi.worker_id()}")

    @postfork(2)
    def only_in_the_second():
        note(f"second {uwsgi.worker_id()}")

    @postfork
    def broken():
        raise LookupError("no broker")

    def older():
        note(f"hook {uwsgi.worker_id()}")

    uwsgi.post_fork_hook = older
    uwsgi.atexit = lambda: note(f"atexit {uwsgi.worker_id()}")

    @timer(1)
    def tick(signum):
        note(f"tick {signum} {uwsgi.worker_id()}")

    @rbtimer(1, target="workers")
    def each(signum):
        note(f"each {uwsgi.worker_id()}")

    @cron(0, 4, -1, -1, -1)
    def nightly(signum):
        note("nightly")

    @thread
    def in_a_thread():
        note("thread")

    @lock
    def careful():
        note(f"in {time.monotonic()}")
        time.sleep(0.2)
        note(f"out {time.monotonic()}")

    @harakiri(1)
    def hurried(seconds):
        time.sleep(seconds)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        answer = "done"
        if path == "/facts":
            answer = json.dumps({
                "opt": {key: str(value) for key, value in uwsgi.opt.items()},
                "version": [uwsgi.version.decode(), uwsgi.version_info[:2]],
                "numproc": uwsgi.numproc,
                "other": [uwsgi.mule_id(), uwsgi.i_am_the_spooler(), uwsgi.signal_registered(3)],
                "id": uwsgi.worker_id() == environ["wsgid.worker"] + 1,
                "has": [hasattr(uwsgi, name) for name in ("lock", "websocket_recv", "spool")],
            })
        elif path == "/logvar":
            uwsgi.set_logvar("who", "me")
            answer = uwsgi.get_logvar("who").decode()
        elif path == "/harakiri":
            uwsgi.set_user_harakiri(1)
            time.sleep(60)
        elif path == "/hurried":
            hurried(60)
        elif path == "/relaxed":
            hurried(0)
            time.sleep(1.2)  # longer than the decorator grants: its limit is over
        elif path == "/locked":
            careful()
        elif path == "/leak":
            uwsgi.lock(1)
            answer = str(uwsgi.is_locked(1))
        elif path == "/title":
            uwsgi.setprocname("shop")
            uwsgi.log("a line of the application")
            in_a_thread()
        elif path == "/reload":
            uwsgi.reload()
        elif path == "/missing":
            try:
                uwsgi.websocket_handshake()
            except AttributeError as error:
                answer = str(error)
            try:
                uwsgidecorators.spool
            except AttributeError as error:
                answer += f" | {error}"
        start_response("200 OK", [])
        return [answer.encode()]
"""


def notes(server: Server, word: str) -> list[str]:
    path = server.directory / "notes"
    return [line for line in path.read_text().splitlines() if line.split()[0] == word] if path.exists() else []


def serve(start: Start, *options: str) -> Server:
    return start("--socket", "app.sock", "--workers", "2", "--uwsgi-module", *options, "app:application", app=APP)


def test_what_sites_use_of_uwsgi_works(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--harakiri", "30", "--access-log", "access.log", "--log-format", "%(method) %(who) %(none)")
    server.wait_ready(2)
    address = tmp_path / "app.sock"
    assert notes(server, "import") == ["import 0 True"]
    assert sorted(notes(server, "postfork")) == ["postfork 1", "postfork 2"] and notes(server, "second") == ["second 2"]
    assert sorted(notes(server, "hook")) == ["hook 1", "hook 2"]
    server.wait_for(r"the hook app.broken \(postfork\) has failed", 2)

    facts = json.loads(client.get(address, "/facts").body)
    assert facts["opt"]["workers"] == facts["opt"]["processes"] == "b'2'" and facts["opt"]["master"] == "True"
    assert facts["opt"]["harakiri"] == "b'30'" and facts["opt"]["module"] == "b'app:application'"
    assert facts["version"] == ["2.0.31", [2, 0]] and facts["numproc"] == 2 and facts["id"]
    assert facts["has"] == [True, False, False] and facts["other"] == [0, False, False]

    assert client.get(address, "/logvar").body == b"me"
    eventually(lambda: "GET me -\n" in (tmp_path / "access.log").read_text(), "the line has the variable")
    assert client.get(address, "/harakiri").status == 504
    assert client.get(address, "/hurried").status == 504 and client.get(address, "/relaxed").status == 200
    client.get(address, "/title")
    server.wait_for("INFO: a line of the application")
    eventually(lambda: notes(server, "thread"), "the thread has run")
    missing = client.get(address, "/missing").body.decode()
    assert (
        "no websocket_handshake: use flask-sock" in missing
        and "uwsgidecorators module of wsgid has no spool" in missing
    )

    eventually(lambda: len(notes(server, "tick")) >= 2, "the timer has called twice")
    assert len({line.split()[2] for line in notes(server, "tick")}) == 1  # one worker calls it
    eventually(lambda: {"each 1", "each 2"} <= set(notes(server, "each")), "both workers call the other timer")
    client.get(address, "/reload")
    server.wait_generation(1, 2)
    assert server.stop() == 0
    assert sorted(notes(server, "atexit")) == ["atexit 1"] * 2 + ["atexit 2"] * 2
    server.assert_nothing_left()


def test_a_lock_has_one_greenlet_of_all_workers_and_ends_with_its_request(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    server.wait_ready(2)
    address = tmp_path / "app.sock"
    asking = [client.connect(address) for _ in range(6)]
    for connected in asking:
        connected.sendall(client.packet("/locked"))
    for connected in asking:
        assert client.parse(client.read_all(connected)).body == b"done"
        connected.close()
    begins, ends = (sorted(float(line.split()[1]) for line in notes(server, word)) for word in ("in", "out"))
    spans = list(zip(begins, ends, strict=True))
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    for _ in range(2):
        assert client.get(address, "/leak").body == b"True"
        server.wait_for(r"uwsgi.lock\(1\): its request has ended without uwsgi.unlock")
    assert server.stop() == 0


CACHING = """
    import json, uwsgi

    def application(environ, start_response):
        path, name = environ["PATH_INFO"], environ["QUERY_STRING"] or None
        more = (0, name) if name else ()
        found = {
            "/set": lambda: [uwsgi.cache_set("a", b"1", *more), uwsgi.cache_set("a", b"2", *more)],
            "/get": lambda: [str(uwsgi.cache_get("a", name)), uwsgi.cache_exists("a", name)],
            "/update": lambda: [uwsgi.cache_update("a", b"3", 60)],
            "/count": lambda: [uwsgi.cache_inc("n", 2), uwsgi.cache_dec("n"), str(uwsgi.cache_get("n"))],
            "/clear": lambda: [uwsgi.cache_del("a"), uwsgi.cache_del("a"), uwsgi.cache_clear()],
        }[path]()
        start_response("200 OK", [])
        return [json.dumps(found).encode()]
"""


def test_uwsgi_s_cache_is_the_first_cache_of_the_server(start: Start, tmp_path: Path) -> None:
    options = ["--uwsgi-module", "--cache", "first=4m", "--cache", "second=4m", "--workers", "2"]
    server = start("--socket", "app.sock", *options, "app:application", app=CACHING).wait_ready(2)

    def ask(path: str, name: str = "") -> object:
        return json.loads(client.get(tmp_path / "app.sock", path, QUERY_STRING=name).body)

    assert ask("/set") == [True, None]
    assert ask("/get") == ask("/get", "first") == ["b'1'", True] and ask("/get", "second") == ["None", None]
    assert ask("/update") == [True] and ask("/get") == ["b'3'", True]
    assert ask("/count") == [True, True, str((1).to_bytes(8, "little"))]
    assert ask("/clear") == [True, None, True] and ask("/get") == ["None", None]
    assert server.stop() == 0
    server.assert_nothing_left()


GUARDED = """
    try:
        from uwsgidecorators import postfork
    except ImportError:
        postfork = lambda function: function
    try:
        import uwsgi
    except ImportError:
        pass

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]
"""


def test_an_import_of_uwsgi_is_named_once_and_at_check(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--workers", "2", "app:application", app=GUARDED).wait_ready(2)
    [said] = server.wait_for(
        r"(\S+) imports (uwsgi\w*), which is not here, so code for uWSGI is left out: use wsgid.hooks"
    )
    assert said[1].endswith("/app.py:3")
    assert server.stop() == 0
    assert server.log.count("which is not here") == 1
    checked = subprocess.run(
        [sys.executable, "-m", "wsgid", "--socket", "app.sock", "--check", "app:application"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and "app.py:3 imports uwsgi" in checked.stderr


def test_an_import_that_fails_is_named_too_and_libraries_are_not(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "library.py").write_text("try:\n    import uwsgi\nexcept ImportError:\n    pass\n")
    app = GUARDED.replace("try:\n        import uwsgi\n    except ImportError:\n        pass", "import library")
    app = textwrap.dedent(app).replace("from uwsgidecorators import postfork", "raise ImportError")
    server = start("--socket", "app.sock", "--pythonpath", "site-packages", "app:application", app=app).wait_ready(1)
    assert server.stop() == 0 and "which is not here" not in server.log
    failing = start("--socket", "app.sock", "app:application", app="import uwsgi\n" + textwrap.dedent(GUARDED))
    assert failing.wait() == 3
    failing.wait_for("app.py:1 imports uwsgi, which is not here")
    failing.wait_for("No module named 'uwsgi'")
