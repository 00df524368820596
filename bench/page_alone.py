"""python -m bench.page_alone [--seconds N] [SHAPE ...]: what a page with a query costs without any server.

    | shape | greenlets used again | a greenlet for each request |

The page is called in greenlets, with as many processes and clients as in the shape. What is left is Django or Flask,
the driver, its pool, and gevent: a server without any cost of its own would cost as much. wsgid uses greenlets again.
The other servers with gevent make a new greenlet for each request, so everything that Django keeps for a thread is made
again, too.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from wsgiref.util import setup_testing_defaults

import gevent

from bench.bars import WITH_QUERY
from bench.databases import Databases
from bench.shapes import SHAPES, Shape

CLIENTS = 500  # the clients of the shape, in all processes together
WARM_UP_S = 1.0
MODES = ("again", "fresh")
Application = Callable[[dict[str, Any], Callable[..., None]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page_alone")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(WITH_QUERY))
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement (default 4)")
    given = parser.parse_args()
    print("| shape | greenlets used again | a greenlet for each request |\n| --- | --- | --- |")
    with Databases() as databases:
        for shape in (SHAPES[name] for name in given.shapes or WITH_QUERY):
            databases.get(shape.database)
            cells = [f"{cost_us(shape, mode, given.seconds):.1f} µs" for mode in MODES]
            print(f"| {shape.name} | {' | '.join(cells)} |", flush=True)


def cost_us(shape: Shape, mode: str, duration_s: float) -> float:
    """Processor time of a request: the mean over the processes."""
    clients = CLIENTS // shape.workers
    arguments = (mode, shape.application, shape.request.page, str(clients), str(duration_s))
    command = [sys.executable, "-m", "bench.page_alone", *arguments]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(shape.workers)]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{shape.name}: the page fails also without a server")
    return sum(map(float, said)) / len(said)


def process(mode: str, name: str, page: str, clients: int, duration_s: float) -> None:
    """One of the processes. It prints the cost of a request in microseconds."""
    module, _, attribute = name.partition(":")
    application: Application = getattr(import_module(module), attribute)
    done = [0]

    def request() -> None:
        ask(application, f"/uwsgi{page}")
        done[0] += 1

    def client() -> None:
        while True:
            if mode == "fresh":
                gevent.spawn(request).get()
            else:
                request()

    for _ in range(clients):
        gevent.spawn(client)
    time.sleep(WARM_UP_S)
    before_s, before = time.process_time(), done[0]
    time.sleep(duration_s)
    print((time.process_time() - before_s) / (done[0] - before) * 1e6, flush=True)
    os._exit(0)  # otherwise the clients would go on


def ask(application: Application, path: str) -> None:
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": "", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    response = application(environ, lambda status, _headers, _exc_info=None: statuses.append(status))
    b"".join(response)
    if hasattr(response, "close"):
        response.close()
    if statuses != ["200 OK"]:
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in MODES:
        process(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    else:
        main()
