"""What the subcommands that ask workers have in common: which workers, and what to say of those that do not answer."""

import argparse
from typing import Any

from wsgid.ctl.client import CtlError, Server

SERVING = ("ready", "stalled", "draining", "stuck", "lost")  # states in which a worker may have something to say


def add_worker_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", type=int, default=None, metavar="N", help="only this worker (default: all)")


def workers_of(status: dict[str, Any], only: int | None) -> list[dict[str, Any]]:
    """Those that serve, or the one that is asked for.

    Raises:
        CtlError: there is no such worker.
    """
    living = [one for one in status["workers"] if one["pid"]]
    if only is None:
        return [one for one in living if one["state"] in SERVING]
    chosen = [one for one in living if one["slot"] == only]
    if not chosen:
        there = ", ".join(str(one["slot"]) for one in living) or "none"
        raise CtlError(f"there is no worker {only}; there are: {there}")
    return chosen


def ask(
    server: Server, kind: str, only: int | None, **arguments: Any
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """What each worker says, and why others say nothing; by slot."""
    workers = workers_of(server.ask("status"), only)
    answers: dict[int, dict[str, Any]] = {}
    silent: dict[int, str] = {}
    for slot, said in server.ask_workers(kind, [one["slot"] for one in workers], **arguments).items():
        if isinstance(said, CtlError):
            silent[slot] = str(said)
        else:
            answers[slot] = said
    if silent:
        _name_the_stuck(server.ask("status"), silent)
    return answers, silent


def _name_the_stuck(status: dict[str, Any], silent: dict[int, str]) -> None:
    """An event loop that has not run says more than that no answer came."""
    for one in status["workers"]:
        if one["slot"] in silent and one["heartbeat_age_s"] > 1:
            silent[one["slot"]] = (
                f"worker {one['slot']} does not answer: its event loop has not run for {one['heartbeat_age_s']:.1f} s"
            )
