"""`wsgidctl status`: an overview of the server; problems come first."""

import argparse
import json
from typing import Any

from wsgid.counted import counted
from wsgid.ctl.client import Server
from wsgid.ctl.tables import age, percent, show, size, table
from wsgid.ctl.troubles import troubles

HELP = "show the state of the server and its workers; problems come first"

COLUMNS = (
    "worker",
    "state",
    "pid",
    "gen",
    "age",
    "requests",
    "in flight",
    "idle",
    "lag",
    "stands",
    "heartbeat",
    "rss",
    "restarts",
)
LEFT = ("state", "restarts", "listener", "daemon")


def arguments(parser: argparse.ArgumentParser) -> None:
    """This subcommand has no arguments of its own."""


def run(server: Server, given: argparse.Namespace) -> int:
    status = server.ask("status")
    wrong = troubles(status)
    if given.json:
        print(json.dumps({**status, "troubles": wrong}))
        return 0
    for sentence in wrong:
        show(f"! {sentence}")
    show(
        f"wsgid {status['version']} serves {status['application']}: {status['mode']} for {age(status['uptime_s'])}, "
        f"pid {status['pid']}, generation {status['generation']}, "
        f"{status['ready']} of {counted(status['wanted'], 'worker')} ready"
    )
    show(f"Python {status['python']} of {status['prefix']}")
    show(_templates(status))
    show("")
    show(table(COLUMNS, [row(worker, status) for worker in status["workers"] if is_shown(worker)], LEFT))
    show("")
    show(
        table(
            ("listener", "queue", "backlog"),
            [
                (listener["address"], known(listener["queue"]), known(listener["backlog"]))
                for listener in status["listeners"]
            ],
            LEFT,
        )
    )
    show("")
    if status.get("daemons"):
        show(table(("daemon", "pid", "starts"), [_daemon(daemon) for daemon in status["daemons"]], LEFT))
        show("")
    upgraded = sum(worker.get("upgraded", 0) for worker in status["workers"])
    if upgraded:
        show(f"{counted(upgraded, 'upgraded connection')} (WebSockets and the like)")
    totals = status["totals"]
    show(
        f"since the start: {counted(totals['requests'], 'request')}, {totals['5xx']} with a 5xx, "
        f"{totals['timed_out']} timed out, {totals['rejected']} rejected, {totals['disconnected']} left by their "
        f"clients, {totals['torn']} cut"
    )
    return 0


def row(worker: dict[str, Any], status: dict[str, Any]) -> tuple[Any, ...]:
    """Return the cells of COLUMNS for a worker."""
    restarts = ", ".join(f"{number} {cause}" for cause, number in worker["restarts"].items()) or "-"
    if not worker["pid"]:
        return worker["slot"], worker["state"], *["-"] * (len(COLUMNS) - 3), restarts
    return (
        worker["slot"],
        worker["state"],
        worker["pid"],
        worker["generation"],
        age(worker["age_s"]),
        worker["requests"],
        f"{worker['in_flight']}/{status['places']}",
        worker["idle_greenlets"],
        f"{worker['lag_s'] * 1000:.0f} ms",
        percent(worker["stood_still"]),
        age(worker["heartbeat_age_s"]),
        size(worker["rss_bytes"]),
        restarts,
    )


def is_shown(worker: dict[str, Any]) -> bool:
    """Whether a slot is shown. An empty slot matters only if its last worker has died young."""
    return bool(worker["state"] != "vacant" or worker["rests_s"])


def _daemon(daemon: dict[str, Any]) -> tuple[Any, ...]:
    return daemon["command"], daemon["pid"] or "-", daemon["starts"]


def known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _templates(status: dict[str, Any]) -> str:
    said = [
        f"template {template['generation']} (pid {template['pid']}) {_STATES.get(template['state'], template['state'])}"
        for template in status["templates"]
    ]
    return ", ".join(said) or "no template"


_STATES = {"booting": "imports the application", "ready": "is ready", "dismissed": "leaves"}
