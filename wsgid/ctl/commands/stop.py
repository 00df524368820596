"""`wsgidctl stop`: stop the server, and wait until it has ended."""

import argparse
import json
import os
import select
import time

from wsgid.ctl.client import CtlError, NobodyThere, Server
from wsgid.ctl.tables import age, show

HELP = "stop the server when the requests in progress are finished, and wait for its end"
_LOOK_S = 0.2


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="stop at once; requests in progress are lost")
    parser.add_argument("--no-wait", action="store_true", help="do not wait")


def run(server: Server, given: argparse.Namespace) -> int:
    began_s = time.monotonic()
    pid = server.pid()
    process = _open(pid)
    server.ask("stop", now=given.now)
    if given.no_wait:
        _say(given, False, pid, 0.0, "the server stops")
        return 0
    if process is None:
        _wait_for_socket(server)
    else:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll()
    took_s = time.monotonic() - began_s
    _say(given, True, pid, took_s, f"the server has stopped after {age(took_s)}")
    return 0


def _open(pid: int) -> int | None:
    """Return a descriptor that shows the end of the process (pidfd_open(2)); None if the process is not visible
    here."""
    if not pid:
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_for_socket(server: Server) -> None:
    """Wait until the control socket is gone: the server removes it last."""
    while True:
        try:
            server.ask("status")
        except NobodyThere:
            return
        except CtlError:  # the server is about to end
            pass
        time.sleep(_LOOK_S)


def _say(given: argparse.Namespace, done: bool, pid: int, took_s: float, sentence: str) -> None:
    if given.json:
        print(json.dumps({"pid": pid, "done": done, "took_s": round(took_s, 3)}))
    else:
        show(sentence)
