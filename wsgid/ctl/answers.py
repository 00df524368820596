"""Shared by subcommands that ask workers: the choice of workers, and an explanation for those that do not answer."""

import argparse
from typing import Any

from wsgid.ctl.client import CtlError, Server

SERVING = ("ready", "stalled", "draining", "stuck", "lost")  # states in which a worker may be able to answer
_STANDSTILL_S = 1.0  # a busy event loop has four heartbeats in a second


def add_worker_argument(parser: argparse.ArgumentParser) -> None:
    """Add --worker to a subcommand."""
    parser.add_argument("--worker", type=int, default=None, metavar="N", help="only this worker (default: all)")


def workers_of(status: dict[str, Any], only: int | None) -> list[dict[str, Any]]:
    """Return the workers that serve, or the one that is asked for.

    Args:
        status: the answer to `status`.
        only: the number of a worker; None for all.

    Raises:
        CtlError: there is no such worker.
    """
    living = [worker for worker in status["workers"] if worker["pid"]]
    if only is None:
        return [worker for worker in living if worker["state"] in SERVING]
    chosen = [worker for worker in living if worker["slot"] == only]
    if not chosen:
        there = ", ".join(str(worker["slot"]) for worker in living) or "none"
        raise CtlError(f"there is no worker {only}; there are: {there}")
    return chosen


def stands_still(worker: dict[str, Any]) -> bool:
    """Return whether this worker's event loop does not run, as its heartbeat tells.

    Args:
        worker: its entry in the answer to `status`.
    """
    return bool(worker["heartbeat_age_s"] > _STANDSTILL_S)


def ask(
    server: Server, kind: str, only: int | None, **arguments: Any
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Return the answer of each worker by its slot, and for the other workers an explanation."""
    workers = workers_of(server.ask("status"), only)
    answers: dict[int, dict[str, Any]] = {}
    silent: dict[int, str] = {}
    for slot, said in server.ask_workers(kind, [worker["slot"] for worker in workers], **arguments).items():
        if isinstance(said, CtlError):
            silent[slot] = str(said)
        else:
            answers[slot] = said
    if silent:
        _name_the_stuck(server.ask("status"), silent)
    return answers, silent


def _name_the_stuck(status: dict[str, Any], silent: dict[int, str]) -> None:
    """Replace the explanation for workers whose event loop has not run: that says more than a missing answer."""
    for worker in status["workers"]:
        if worker["slot"] in silent and stands_still(worker):
            silent[worker["slot"]] = (
                f"worker {worker['slot']} does not answer: "
                f"its event loop has not run for {worker['heartbeat_age_s']:.1f} s"
            )
