"""The main job: real Flask and Django sites behind a real nginx, as visitors see them."""

import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.conftest import Start
from tests.support.server import Server, eventually
from tools.nginx import EXAMPLES, Nginx, example

pytestmark = pytest.mark.hot

MEGABYTE = 1 << 20
ROOMY = "large_client_header_buffers 4 32k; uwsgi_buffer_size 64k; uwsgi_buffers 4 64k; uwsgi_busy_buffers_size 128k;"


@pytest.fixture(scope="module")
def flask_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    directory = tmp_path_factory.mktemp("flask")
    server = Server(
        directory,
        "--socket",
        str(directory / "app.sock"),
        "--chdir",
        str(EXAMPLES),
        "--workers",
        "2",
        "flask_app:application",
    )
    yield from serving(server, example("flask_nginx.conf", f"unix:{directory}/app.sock"))


def serving(server: Server, site: str) -> Iterator[Nginx]:
    """nginx in front of a server. The server must leave nothing behind, and its log must contain no exception."""
    try:
        server.wait_ready(2)
        with Nginx(site, server=ROOMY) as nginx:
            yield nginx
        assert server.stop() == 0
        server.assert_nothing_left()
        assert "Traceback" not in server.log
    finally:
        server.end()


@pytest.fixture(scope="module")
def django_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The example with a new database, an administrator (admin, secret) and its static files."""
    directory = tmp_path_factory.mktemp("django")
    site = EXAMPLES / "django_site"
    environ = {
        "DJANGO_DB": str(directory / "db.sqlite3"),
        "DJANGO_STATIC_ROOT": str(directory / "static"),
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in (
        ["migrate"],
        ["collectstatic", "--noinput"],
        ["createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.com"],
    ):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=site,
            env={**os.environ, **environ},
            check=True,
            capture_output=True,
        )
    server = Server(
        directory,
        "--socket",
        str(directory / "app.sock"),
        "--chdir",
        str(site),
        "--workers",
        "2",
        "mysite.wsgi:application",
        environ=environ,
    )
    yield from serving(
        server, example("django_nginx.conf", f"unix:{directory}/app.sock", static_root=directory / "static")
    )


Site = Callable[..., tuple[Server, Nginx]]


@pytest.fixture
def site(start: Start) -> Iterator[Site]:
    """Serve an application's source behind nginx: site(app, *options, tcp=False, nginx=directives)."""
    with ExitStack() as stack:

        def build(app: str, *options: str, tcp: bool = False, nginx: str = "") -> tuple[Server, Nginx]:
            address = "127.0.0.1:0" if tcp else "app.sock"
            server = start("--socket", address, *options, "app:application", app=app).wait_ready(1)
            (said,) = server.wait_for(r"listens on (\S+) with")
            upstream = said[1] if tcp else f"unix:{said[1]}"
            return server, stack.enter_context(Nginx(example("flask_nginx.conf", upstream), server=nginx))

        yield build


# --- Flask ---


def test_flask_answers(flask_site: Nginx) -> None:
    answer = requests.get(flask_site.url)
    assert answer.status_code == 200 and "Hello from wsgid" in answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_flask_knows_its_own_address(flask_site: Nginx) -> None:
    assert f"<code>curl -T some-file {flask_site.url}/upload</code>" in requests.get(flask_site.url).text


def test_flask_says_404_and_405(flask_site: Nginx) -> None:
    assert requests.get(f"{flask_site.url}/nowhere").status_code == 404
    assert requests.delete(flask_site.url).status_code == 405


def test_a_form(flask_site: Nginx) -> None:
    assert "Hello, Žofie!" in requests.post(f"{flask_site.url}/form", data={"name": "Žofie"}).text


def upload(url: str, size_bytes: int, chunked: bool = False) -> None:
    data = os.urandom(size_bytes)
    body = (data[at : at + 65536] for at in range(0, size_bytes, 65536)) if chunked else data
    answer = requests.put(url, data=body).json()
    assert answer == {"size": size_bytes, "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_20_megabytes_arrives_whole(flask_site: Nginx, chunked: bool) -> None:
    upload(f"{flask_site.url}/upload", 20 * MEGABYTE, chunked)


def test_a_file_is_sent_whole_by_head_and_in_parts(flask_site: Nginx) -> None:
    source = (EXAMPLES / "flask_app.py").read_bytes()
    whole = requests.get(f"{flask_site.url}/download", headers={"Accept-Encoding": "identity"})
    assert whole.content == source and whole.headers["Content-Length"] == str(len(source))
    head = requests.head(f"{flask_site.url}/download")
    assert head.content == b"" and head.headers["Content-Length"] == str(len(source))
    part = requests.get(f"{flask_site.url}/download", headers={"Range": "bytes=10-109"})
    assert (part.status_code, part.content) == (206, source[10:110])
    again = requests.get(f"{flask_site.url}/download", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_stream_ends_whole(flask_site: Nginx) -> None:
    answer = requests.get(f"{flask_site.url}/stream?n=3&s=0.01")
    assert answer.text == "line 0\nline 1\nline 2\n" and answer.headers["Transfer-Encoding"] == "chunked"


def test_hundred_visitors_who_wait_are_served_at_the_same_time(site: Site) -> None:
    """None is answered before all have come."""
    _, nginx = site("""
        from flask import Flask
        from gevent.event import Event
        application = Flask(__name__)
        come, all_have_come = [], Event()
        @application.get("/")
        def wait():
            come.append(1)
            if len(come) == 100:
                all_have_come.set()
            all_have_come.wait()
            return "fine"
    """)
    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(lambda _: requests.get(nginx.url).text, range(100))) == ["fine"] * 100


# --- Django ---


def token(page: requests.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def logged_in(django_site: Nginx) -> requests.Session:
    session = requests.Session()
    login = f"{django_site.url}/admin/login/"
    form = {
        "username": "admin",
        "password": "secret",
        "csrfmiddlewaretoken": token(session.get(login)),
        "next": "/admin/",
    }
    page = session.post(login, data=form, headers={"Origin": django_site.url, "Referer": login})
    assert page.status_code == 200 and page.url == f"{django_site.url}/admin/"
    return session


def test_the_admin_with_login_csrf_and_static_files(django_site: Nginx) -> None:
    session = logged_in(django_site)
    form = session.get(f"{django_site.url}/admin/notes/note/add/")
    saved = session.post(
        form.url,
        headers={"Referer": form.url},
        data={"csrfmiddlewaretoken": token(form), "title": "Tschüß", "text": "from the admin", "_save": "Save"},
    )
    assert saved.status_code == 200 and "was added successfully" in saved.text
    assert "Tschüß" in requests.get(django_site.url).text
    assert requests.get(f"{django_site.url}/static/admin/css/base.css").status_code == 200


def test_a_form_without_its_csrf_token_is_refused(django_site: Nginx) -> None:
    assert requests.post(f"{django_site.url}/admin/login/", data={"username": "admin"}).status_code == 403


def test_a_session_lasts_over_requests_and_workers(django_site: Nginx) -> None:
    session = requests.Session()
    pages = [session.get(django_site.url).text for _ in range(10)]
    assert "10" in pages[-1] and session.cookies.get("sessionid")


def test_a_page_for_users_only(django_site: Nginx) -> None:
    stranger = requests.get(f"{django_site.url}/private/", allow_redirects=False)
    assert stranger.status_code == 302 and stranger.headers["Location"] == "/admin/login/?next=/private/"
    assert logged_in(django_site).get(f"{django_site.url}/private/").text == "Only for you, admin.\n"


def test_a_form_with_a_file_of_20_megabytes(django_site: Nginx) -> None:
    session, data = requests.Session(), os.urandom(20 * MEGABYTE)
    form = session.get(f"{django_site.url}/upload/")
    answer = session.post(
        form.url,
        data={"csrfmiddlewaretoken": token(form)},
        files={"file": ("ü.bin", data)},
        headers={"Referer": form.url},
    ).json()
    assert answer == {"name": "ü.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_django_streams(django_site: Nginx) -> None:
    assert requests.get(f"{django_site.url}/stream/").text == "".join(f"line {number}\n" for number in range(5))


def test_django_answers_304_and_head_without_a_body(django_site: Nginx) -> None:
    first = requests.get(f"{django_site.url}/latest/")
    again = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = requests.head(first.url)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Length"] == first.headers["Content-Length"]


def test_django_sends_a_file(django_site: Nginx) -> None:
    source = (EXAMPLES / "django_site" / "notes" / "views.py").read_bytes()
    assert requests.get(f"{django_site.url}/download/").content == source


def test_a_path_beyond_ascii(django_site: Nginx) -> None:
    assert (
        requests.get(f"{django_site.url}/grüße/Jürgen Łukasz/").text
        == "Grüße, Jürgen Łukasz! This is /grüße/Jürgen Łukasz/\n"
    )


def test_16_kilobytes_of_headers(django_site: Nginx) -> None:
    headers = {f"X-Long-{number}": "v" * 2000 for number in range(8)}
    answer = requests.get(f"{django_site.url}/headers/", headers=headers).json()
    assert answer["size"] > 16000
    assert {name: answer["headers"][name] for name in headers} == headers


# --- what a server guarantees to any application ---


def test_the_validator_of_the_standard_library_finds_nothing(site: Site) -> None:
    server, nginx = site("""
        from wsgiref.validate import validator

        @validator
        def application(environ, start_response):
            length = int(environ["CONTENT_LENGTH"] or 0)
            body = environ["wsgi.input"].read(length)
            answer = f"{environ['REQUEST_METHOD']} {len(body)}".encode()
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer]
    """)
    assert requests.get(f"{nginx.url}/a%20b?c=d").text == "GET 0"
    assert requests.post(nginx.url, data=b"x" * 100_000).text == "POST 100000"
    assert requests.head(nginx.url).headers["Content-Length"] == "6"
    assert "Assertion" not in server.log and "Traceback" not in server.log


IGNORES_THE_BODY = """
    def application(environ, start_response):
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"no"]
"""


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_an_ignored_request_body_never_costs_the_response(site: Site, tcp: bool, buffering: str) -> None:
    server, nginx = site(IGNORES_THE_BODY, tcp=tcp, nginx=f"uwsgi_request_buffering {buffering};")
    data = b"x" * (10 * MEGABYTE)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: requests.post(nginx.url, data=data).text, range(40)))
    assert answers == ["no"] * 40
    assert "Traceback" not in server.log


def test_a_block_reaches_the_visitor_before_the_next_one_is_made(site: Site) -> None:
    _, nginx = site("""
        from gevent.event import Event
        go = Event()
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-Accel-Buffering", "no")])
            if environ["PATH_INFO"] == "/go":
                go.set()
                return [b"gone"]
            def blocks():
                yield b"first"
                go.wait()
                yield b"second"
            return blocks()
    """)
    with requests.get(nginx.url, stream=True) as answer:
        blocks = answer.iter_content(5)
        assert next(blocks) == b"first"
        assert requests.get(f"{nginx.url}/go").text == "gone"
        assert b"".join(blocks) == b"second"


def test_nginx_sends_what_the_application_allows(site: Site, tmp_path: Path) -> None:
    (tmp_path / "internal").mkdir()
    (tmp_path / "internal" / "report").write_bytes(b"the report")
    _, nginx = site(
        """
        def application(environ, start_response):
            headers = [("X-Accel-Redirect", "/internal/report"), ("Content-Type", "application/x-report")]
            start_response("200 OK", headers)
            return [b"never seen"]
    """,
        nginx=f"location /internal/ {{ internal; alias {tmp_path}/internal/; }}",
    )
    answer = requests.get(f"{nginx.url}/report")
    assert answer.content == b"the report" and answer.headers["Content-Type"] == "application/x-report"
    assert requests.get(f"{nginx.url}/internal/report").status_code == 404


@pytest.mark.parametrize(("tcp", "length"), [(False, "100"), (True, "100"), (True, None)])
def test_a_torn_body_is_never_taken_for_a_whole_one(site: Site, tcp: bool, length: str | None) -> None:
    server, nginx = site(
        f"""
        def application(environ, start_response):
            length = {length!r}
            start_response("200 OK", [("Content-Length", length)] if length else [])
            yield b"the beginning"
            raise RuntimeError("in the middle")
    """,
        tcp=tcp,
    )
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        requests.get(nginx.url)
    server.wait_for("GET /: the application failed")
    server.wait_for("RuntimeError: in the middle")


@pytest.mark.parametrize(
    "fault",
    [
        "raise KeyError('x')",
        "raise SystemExit(1)",
        "return [b'no start']",
        "return None",
        "start_response('200 OK', []); return 'a str'",
        r"start_response('200 OK', [('A', 'b\r\nC: d')]); return []",
    ],
)
def test_a_fault_before_the_head_is_a_500_and_the_worker_lives(site: Site, fault: str) -> None:
    server, nginx = site(f"""
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/fault":
                {fault}
            start_response("200 OK", [])
            return [b"fine"]
    """)
    answer = requests.get(f"{nginx.url}/fault")
    assert answer.status_code == 500 and answer.text == "500 Internal Server Error\n"
    server.wait_for("worker 0 ERROR: GET /fault: the application failed")
    assert requests.get(nginx.url).text == "fine"


@pytest.mark.parametrize(
    ("path", "options"), [("/sleep", ["--harakiri", "1", "--hub-timeout", "60"]), ("/spin", ["--hub-timeout", "1"])]
)
def test_an_overdue_request_is_a_504_and_its_neighbours_are_answered(site: Site, path: str, options: list[str]) -> None:
    server, nginx = site(
        """
        import time
        from gevent.event import Event
        ended = Event()
        def spin():
            while True:
                pass
        def application(environ, start_response):
            path = environ["PATH_INFO"]
            try:
                if path == "/sleep":
                    time.sleep(600)
                elif path == "/spin":
                    spin()
            finally:
                if path != "/":
                    ended.set()
            environ["wsgid.harakiri"](60)  # the neighbours are no culprits, however slow the machine is
            ended.wait()  # they are in flight when the culprit is ended
            start_response("200 OK", [])
            return [b"fine"]
    """,
        *options,
    )
    with ThreadPoolExecutor(33) as pool:
        innocents = [pool.submit(requests.get, nginx.url) for _ in range(32)]
        culprit = pool.submit(requests.get, f"{nginx.url}{path}")
        assert [future.result().text for future in innocents] == ["fine"] * 32
        assert culprit.result().status_code == 504
    server.wait_for(rf"GET {path}, \d+\.\d s old; the stack:")
    assert "exited" not in server.log and "killed" not in server.log


def test_visitors_who_leave_cost_a_counter_and_no_traceback(site: Site) -> None:
    server, nginx = site("""
        closed = 0
        class Endless:
            def __iter__(self):
                return self
            def __next__(self):
                return b"x" * 65536
            def close(self):
                global closed
                closed += 1
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(closed).encode()] if environ["PATH_INFO"] == "/closed" else Endless()
    """)
    for _ in range(10):
        with socket.create_connection((nginx.host, nginx.port)) as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert visitor.recv(100)
    eventually(lambda: requests.get(f"{nginx.url}/closed").text == "10", "all ten iterables are closed")
    assert "Traceback" not in server.log


def test_a_location_without_uwsgi_params_is_served_and_the_log_says_how_to_mend_it(
    start: Start, tmp_path: Path
) -> None:
    server = start(
        "--socket",
        "app.sock",
        "--workers",
        "3",
        "app:application",
        app="""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['SERVER_NAME']}".encode()]
    """,
    ).wait_ready(3)
    bare = f"server {{\n    listen 80;\n    location / {{ uwsgi_pass unix:{tmp_path}/app.sock; }}\n}}\n"
    with Nginx(bare) as nginx:
        for _ in range(20):
            assert requests.get(nginx.url).text == "GET / 127.0.0.1"
    said = server.wait_for("requests arrive without .*REQUEST_METHOD.*: add `include uwsgi_params;` to nginx's")
    assert len(said) == 1


def test_an_application_mounted_below_a_prefix(start: Start, tmp_path: Path) -> None:
    start(
        "--socket",
        "app.sock",
        "app:application",
        app="""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]
    """,
    ).wait_ready(1)
    mounted = f"""server {{
    listen 80;
    location /shop {{ include uwsgi_params; uwsgi_param SCRIPT_NAME /shop; uwsgi_modifier1 30;
                      uwsgi_pass unix:{tmp_path}/app.sock; }}
}}
"""
    with Nginx(mounted) as nginx:
        assert requests.get(f"{nginx.url}/shop/cart").text == "/shop|/cart"
        assert requests.get(f"{nginx.url}/shopping").text == "/shop|/shopping"
