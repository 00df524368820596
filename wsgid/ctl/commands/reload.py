"""`wsgidctl reload`: load the application anew, and wait until the reload has succeeded or failed."""

import argparse
import json
import time
from typing import Any

from wsgid.counted import counted
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.tables import age, complain, show

HELP = "load the application anew, worker by worker; exit code 1 if that fails"
POLL_S = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument(
        "--wait", action="store_true", default=True, help="wait until the new generation serves (default)"
    )
    waits.add_argument("--no-wait", action="store_false", dest="wait", help="do not wait")


def run(server: Server, given: argparse.Namespace) -> int:
    began_s = time.monotonic()
    answer = server.ask("reload")
    generation: int = answer["generation"]
    if answer.get("warning"):
        complain(answer["warning"])
    if not given.wait:
        _say(given, {"generation": generation, "done": False}, f"generation {generation} is on its way")
        return 0
    while True:
        status = server.ask("status")
        took_s = time.monotonic() - began_s
        _raise_if_failed(status, generation)
        if _is_done(status, generation):
            break
        time.sleep(POLL_S)
    old = sum(worker["state"] == "draining" for worker in status["workers"])
    rest = f"; {counted(old, 'old worker')} may still have requests to finish" if old else ""
    _say(
        given,
        {"generation": status["generation"], "done": True, "took_s": round(took_s, 3), "draining": old},
        f"generation {status['generation']} serves with {counted(status['ready'], 'worker')} after {age(took_s)}{rest}",
    )
    return 0


def _is_done(status: dict[str, Any], generation: int) -> bool:
    ready = sum(worker["state"] == "ready" and worker["generation"] >= generation for worker in status["workers"])
    older = sum(
        worker["state"] in ("ready", "spawning", "stalled") and worker["generation"] < generation
        for worker in status["workers"]
    )
    return bool(status["generation"] >= generation and ready >= status["wanted"] and not older)


def _raise_if_failed(status: dict[str, Any], generation: int) -> None:
    failure = status["failure"]
    if failure and failure["generation"] >= generation:
        raise CtlError(
            f"generation {failure['generation']} could not boot, the running workers keep serving: {failure['reason']}"
        )
    if status["mode"] != "running":
        raise CtlError("the server stops; the reload is given up")


def _say(given: argparse.Namespace, facts: dict[str, Any], sentence: str) -> None:
    if given.json:
        print(json.dumps(facts))
    else:
        show(sentence)
