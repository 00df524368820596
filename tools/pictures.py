"""The pictures of the documentation: `python -m tools.pictures` runs a real server under load, and draws the screen of
`wsgidctl top`, and takes pictures of the page of `wsgidctl dashboard` (page_pictures.py), into docs/pictures/.

Rules
* Nothing is invented: the picture is one frame of this server, at this moment.
* The drawing contains no address of another site: its font is the monospace font of the reader's machine.
"""

import io
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from tools import page_pictures
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands import top_sample, top_screen
from wsgid.ctl.commands.top_sample import Sample
from wsgid.protocol import uwsgi

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS, LINES = 96, 26
CLIENTS = 24
WARM_UP_S = 6.0
START_S = 30.0

APPLICATION = """
import random, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith(("/report", "/export")):
        time.sleep(random.uniform(2, 9))
    elif path.startswith("/search"):
        found = rank(path)
        time.sleep(random.uniform(0.05, 0.6))
    elif path == "/totals":
        totals()
    elif path == "/broken":
        start_response("503 Service Unavailable", [])
        return [b"no"]
    start_response("200 OK", [])
    return [b"hello"]

def rank(path):
    return sorted(range(8000), key=lambda place: weigh(path, place))

def weigh(path, place):
    return hash((path, place)) % 1000

def totals():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        sum(row * row for row in range(10_000))
"""
PATHS = (
    "/",
    "/articles/7",
    "/articles/12",
    "/basket",
    "/search",
    "/search/books",
    "/report/2026-11",
    "/export/orders.csv",
    "/broken",
)
WEIGHTS = (90, 20, 10, 5, 12, 12, 2, 2, 1)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="wsgid-") as name:
        directory = Path(name)
        (directory / "shop.py").write_text(APPLICATION)
        process = subprocess.Popen(
            [sys.executable, "-m", "wsgid", "--socket", "shop.sock", "--workers", "4", "shop:application"],
            cwd=directory,
            stderr=subprocess.DEVNULL,
        )
        ends = threading.Event()
        clients = [threading.Thread(target=_ask, args=(directory / "shop.sock", ends)) for _ in range(CLIENTS)]
        try:
            server = Server(directory / "shop.ctl")
            _wait(server)
            for client in clients:
                client.start()
            time.sleep(WARM_UP_S)
            _draw(_look(server))
            page_pictures.take(server, PICTURES, lambda: _send(directory / "shop.sock", "/totals").close())
        finally:
            ends.set()
            process.terminate()
            process.wait()
            for client in clients:
                if client.ident:
                    client.join()
    return 0


def _wait(server: Server) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            if server.ask("status")["ready"] == 4:
                return
        except CtlError:
            if time.monotonic() > until_s:
                raise
        time.sleep(0.1)


def _ask(address: Path, ends: threading.Event) -> None:
    """One client that behaves like nginx: a connection for each request, with pauses."""
    while not ends.is_set():
        [path] = random.choices(PATHS, WEIGHTS)
        try:
            with _send(address, path) as connection:
                while connection.recv(65536):
                    pass
        except OSError:  # the server stops
            return
        time.sleep(random.uniform(0, 0.02))


def _send(address: Path, path: str) -> socket.socket:
    """Send one request, as nginx does."""
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "443",
        "REMOTE_ADDR": f"198.51.100.{random.randint(1, 250)}",
        "REMOTE_PORT": "40000",
        "REQUEST_SCHEME": "https",
        "HTTP_HOST": "shop",
        "HTTP_X_REQUEST_START": f"t={time.time():.3f}",
    }
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(address))
    connection.sendall(uwsgi.encode(variables.items()))
    return connection


def _look(server: Server) -> Sample:
    before = top_sample.take(server, None)
    time.sleep(1)
    return top_sample.take(server, before)


def _draw(shown: Sample) -> None:
    # The directory belongs to this run. It means nothing to the reader.
    listeners = [
        {**listener, "address": "/run/" + Path(listener["address"]).name} for listener in shown.status["listeners"]
    ]
    shown.status["listeners"] = listeners
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(top_screen.draw(shown, LINES))
    fonts = re.compile(r"@font-face \{\{.*?\}\}\n", re.DOTALL)
    PICTURES.mkdir(exist_ok=True)
    picture = console.export_svg(title="wsgidctl top", code_format=fonts.sub("", CONSOLE_SVG_FORMAT))
    (PICTURES / "top.svg").write_text(picture)


if __name__ == "__main__":
    sys.exit(main())
