"""Start the installed wsgid, ask it over HTTP and in the uwsgi protocol, look at it with wsgidctl, and stop it.

`make release` copies this file into an empty environment and runs it there with `python -P`. So this program uses
nothing but the standard library and the installed package.
"""

import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket

from wsgid.protocol.uwsgi import encode

PROGRAMS = Path(sys.executable).parent
PATIENCE_S = 60.0
APP = """
def application(environ, start_response):
    body = ("hello " + environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def server(directory: str) -> Iterator[int]:
    """Yield the port of a server in this directory. The server has to stop with 0."""
    (Path(directory) / "app.py").write_text(APP)
    command = [str(PROGRAMS / "wsgid"), "--socket", "app.sock", "--http", "127.0.0.1:0", "app:application"]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True) as process:
        late = threading.Timer(PATIENCE_S, process.kill)
        late.start()
        assert process.stderr
        port = 0
        for line in process.stderr:
            print(line, end="")
            if found := re.search(r"127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
            if "is ready" in line:
                break
        yield port
        process.send_signal(signal.SIGTERM)
        print(process.stderr.read())
        late.cancel()
    assert process.returncode == 0, process.returncode


def ask_http(port: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/over-http")
    answer = connection.getresponse().read()
    connection.close()
    return answer


def ask_uwsgi(path: str) -> bytes:
    variables = {b"REQUEST_METHOD": b"GET", b"PATH_INFO": b"/over-uwsgi", b"QUERY_STRING": b""}
    with socket(AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(path)
        connection.sendall(encode(variables.items()))
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    return answer


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="wsgid-smoke-") as directory, server(directory) as port:
        assert ask_http(port) == b"hello /over-http"
        answer = ask_uwsgi(f"{directory}/app.sock")
        assert b"200 OK" in answer and answer.endswith(b"hello /over-uwsgi"), answer
        control = f"{directory}/app.ctl"
        status = subprocess.run(
            [PROGRAMS / "wsgidctl", "--control", control, "status"], capture_output=True, text=True, check=True
        )
        assert re.search(r"\b1 of 1 workers? ready", status.stdout), status.stdout


if __name__ == "__main__":
    main()
