"""python -m bench.alone REQUESTS [http|FORMAT]: one worker's dispatcher, with its client in another process.

    valgrind --tool=callgrind --toggle-collect=ev_invoke_pending python -m bench.alone 4000

This is for profilers. There is no nginx, no master and no timer, only what a request costs the worker. callgrind counts
instructions, so other programs on the machine do not change the count. docs/hot-path.md has the table. With a FORMAT
(of --log-format), the access log is on and goes to a file.
"""

from gevent import monkey

monkey.patch_all()

import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from gevent.event import Event

from bench import apps
from tests.support import client
from wsgid import compiled
from wsgid.config.options import Settings
from wsgid.ipc.messages import Spawn
from wsgid.ipc.scoreboard import LINE_BYTES, Word
from wsgid.serving import access_log
from wsgid.serving.dispatcher import Dispatcher
from wsgid.sockets.listen_spec import ListenSocket, ListenSpec, WireProtocol

TOGETHER = 24  # connections that wait while the first of them is served


def ask(path: Path, count: int) -> None:
    """The client: it makes this many requests, and some of them always wait."""
    packet = client.packet()
    for start in range(0, count, TOGETHER):
        asked = []
        for _ in range(min(TOGETHER, count - start)):
            connected = socket.socket(socket.AF_UNIX)
            connected.connect(str(path))
            connected.sendall(packet)
            asked.append(connected)
        for connected in asked:
            client.read_all(connected)
            connected.close()


def ask_http(path: Path, count: int) -> None:
    """The client that keeps its connections, and sends one request after the other on each of them."""
    kept = [socket.socket(socket.AF_UNIX) for _ in range(TOGETHER)]
    for connected in kept:
        connected.connect(str(path))
    for start in range(0, count, TOGETHER):
        asked = kept[: count - start]
        for connected in asked:
            connected.sendall(b"GET /http HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for connected in asked:
            while not connected.recv(65536).endswith(apps.HELLO):
                pass


def main(count: int, mode: str = "") -> None:
    http, log_format = mode == "http", mode.replace("http", "")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "app.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        client_pid = monkey.get_original("os", "fork")()
        if client_pid == 0:
            (ask_http if http else ask)(path, count)
            os._exit(0)
        line = memoryview(bytearray(LINE_BYTES)).cast("Q")
        emptied = Event()
        settings = Settings(
            application="-",
            http_keepalive_requests=count,
            access_log="access.log" if log_format else "",
            log_format=log_format,
        )
        log_fd = os.open(Path(directory) / "access.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        log = access_log.open_for(settings, 0, {str(Path("access.log").absolute()): log_fd})
        listeners = [ListenSocket(listener.detach(), ListenSpec(WireProtocol.HTTP if http else WireProtocol.UWSGI))]
        order = Spawn(slot=0, generation=0, wary=False, seat=0)
        dispatcher = Dispatcher(settings, apps.hello, listeners, line, print, emptied.set, order, log)
        started_s = time.process_time()
        dispatcher.open()
        while line[Word.REQUESTS] < count:
            time.sleep(0.02)
        if log:
            log.close()
        spent_s = time.process_time() - started_s
        os.close(log_fd)
        dispatcher.close()
        while not emptied.is_set():
            dispatcher.look_after_parked(time.monotonic())  # as a worker does in its rounds
            time.sleep(0.02)
        monkey.get_original("os", "waitpid")(client_pid, 0)
    print(f"{compiled.described()}: {spent_s / count * 1e6:.1f} us of processor time a request")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
