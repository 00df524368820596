"""python -m bench.one_process SERVER MODULE:CALLABLE PORT: a server that is a library, without a command of its own.

All of them are one process and keep connections open.  bjoern and fastwsgi are C, and serve one request at a time;
gevent's pywsgi serves each connection in a greenlet.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

BACKLOG = 4096
HOST = "127.0.0.1"


def bjoern(load: Callable[[], Any], port: int) -> None:
    import bjoern as server

    server.run(load(), HOST, port, listen_backlog=BACKLOG)


def fastwsgi(load: Callable[[], Any], port: int) -> None:
    import fastwsgi as library

    library.server.backlog = BACKLOG
    library.run(load(), HOST, port, loglevel=library.LL_DISABLED)


def pywsgi(load: Callable[[], Any], port: int) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer((HOST, port), load(), backlog=BACKLOG, log=None).serve_forever()


SERVERS: dict[str, Callable[[Callable[[], Any], int], None]] = {
    serve.__name__: serve for serve in (bjoern, fastwsgi, pywsgi)
}


def main(name: str, application: str, port: str) -> None:
    module, _, attribute = application.partition(":")
    SERVERS[name](lambda: getattr(importlib.import_module(module), attribute), int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
