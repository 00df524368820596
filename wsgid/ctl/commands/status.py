"""`wsgidctl status`: everything at a glance, what is wrong first."""

import argparse
import json
from typing import Any

from wsgid.ctl.client import Server
from wsgid.ctl.tables import age, count, show, size, table
from wsgid.ctl.troubles import troubles

HELP = "show how the server and its workers are"

COLUMNS = ("worker", "state", "pid", "gen", "age", "requests", "in flight", "lag", "heartbeat", "rss", "restarts")
LEFT = ("state", "restarts", "listener")


def arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


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
        f"{status['ready']} of {count(status['wanted'], 'worker')} ready"
    )
    show(_templates(status))
    show("")
    show(table(COLUMNS, [row(one, status) for one in status["workers"] if is_shown(one)], LEFT))
    show("")
    show(
        table(
            ("listener", "queue", "backlog"),
            [(one["address"], known(one["queue"]), known(one["backlog"])) for one in status["listeners"]],
            LEFT,
        )
    )
    show("")
    totals = status["totals"]
    show(
        f"since the start: {count(totals['requests'], 'request')}, {totals['5xx']} with a 5xx, "
        f"{totals['timed_out']} timed out, {totals['rejected']} rejected, {totals['disconnected']} left by their "
        f"clients, {totals['torn']} cut"
    )
    return 0


def row(one: dict[str, Any], status: dict[str, Any]) -> tuple[Any, ...]:
    """The cells of COLUMNS for a worker."""
    restarts = ", ".join(f"{number} {cause}" for cause, number in one["restarts"].items()) or "-"
    if not one["pid"]:
        return one["slot"], one["state"], "-", "-", "-", "-", "-", "-", "-", "-", restarts
    return (
        one["slot"],
        one["state"],
        one["pid"],
        one["generation"],
        age(one["age_s"]),
        one["requests"],
        f"{one['in_flight']}/{status['places']}",
        f"{one['lag_s'] * 1000:.0f} ms",
        age(one["heartbeat_age_s"]),
        size(one["rss_bytes"]),
        restarts,
    )


def is_shown(one: dict[str, Any]) -> bool:
    """Empty slots only matter if their last worker has died young."""
    return bool(one["state"] != "vacant" or one["rests_s"])


def known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _templates(status: dict[str, Any]) -> str:
    said = [
        f"template {one['generation']} (pid {one['pid']}) {_STATES.get(one['state'], one['state'])}"
        for one in status["templates"]
    ]
    return ", ".join(said) or "no template"


_STATES = {"booting": "imports the application", "ready": "is ready", "dismissed": "leaves"}
