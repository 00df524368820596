"""`wsgidctl profile`: where a running worker spends its time, as a flame graph or for other tools."""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import flamegraph, profile_data
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.profile_data import StackCounts
from wsgid.ctl.tables import complain, show

HELP = "sample a running worker to see where it spends its time: a flame graph, and a table"
SECONDS = 10.0
HZ = 100
TOP = 10  # lines of the table
LONGEST_S = 300.0  # the longest profile; a worker refuses longer ones at once
MARGIN_S = 20.0  # seconds for the answer, in addition to the profile's own time
_TICK_S = 0.2

WRITERS: dict[str, Callable[[StackCounts, str, str], str]] = {
    "svg": lambda stacks, title, unit: flamegraph.svg(stacks, title, unit),
    "speedscope": lambda stacks, title, unit: profile_data.speedscope(stacks, title),
    "folded": lambda stacks, title, unit: profile_data.folded(stacks),
}
SUFFIXES = {".svg": "svg", ".json": "speedscope", ".folded": "folded", ".txt": "folded"}


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--worker", type=int, metavar="N", help="profile this worker (default: the busiest)")
    which.add_argument("--all", action="store_true", help="profile all workers, and add them up")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="N",
        help=f"duration in seconds, 1 to 300 (default: {SECONDS:g})",
    )
    parser.add_argument(
        "--hz",
        type=int,
        default=HZ,
        metavar="N",
        help=f"samples a second, 1 to 1000; the kernel's tick is the limit, often 250 (default: {HZ})",
    )
    parser.add_argument(
        "--wall", action="store_true", help="measure the time of requests with their waiting, instead of processor time"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the profile to FILE: .svg is a flame graph, "
        ".json is for speedscope, .folded or .txt has one line for each stack (default: only print the table)",
    )
    parser.add_argument("--format", choices=list(WRITERS), help="the format of FILE, whatever its name is")


def run(server: Server, given: argparse.Namespace) -> int:
    form = output_format(given.output, given.format)
    workers: Sequence[int | None] = _workers(server) if given.all else [given.worker]
    wish = {"seconds": given.seconds, "hz": given.hz, "clock": "wall" if given.wall else "cpu"}
    answers = _ask_all(server, workers, wish)
    stacks = profile_data.from_answers(answers)
    if given.output:
        unit = "of requests' time" if given.wall else "of CPU"
        _write(given.output, WRITERS[form](stacks, title(answers, stacks), unit))
    if given.json:
        print(json.dumps(summary(answers, stacks)))
    else:
        show(_told(answers, stacks, given.output))
    return 0


def output_format(output: Path | None, form: str | None) -> str:
    """Return the format, from the option or from the file's name. Errors are found here, before the profile begins.

    Args:
        output: the file; None for the table alone.
        form: the value of --format, if given.

    Raises:
        CtlError: there is no such format, or no such directory.
    """
    if output is None:
        return ""
    if not os.access(output if output.exists() else output.parent, os.W_OK) or output.is_dir():
        raise CtlError(f"{output} cannot be written: name a file in a directory that is there and yours")
    found = form or SUFFIXES.get(output.suffix)
    if not found:
        raise CtlError(f"{output} is of no known format: end its name in {', '.join(SUFFIXES)}, or give --format")
    return found


def _workers(server: Server) -> list[int]:
    return [worker["slot"] for worker in server.ask("status")["workers"] if worker["pid"]]


def _ask_all(server: Server, workers: Sequence[int | None], wish: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask all workers at the same time. An interrupt closes the connections, which ends the profiles.

    Raises:
        CtlError: no worker has answered. If only some have not answered, a warning is printed.
    """
    patience_s = MARGIN_S + max(0.0, min(LONGEST_S, wish["seconds"]))
    answers: list[dict[str, Any]] = []
    failures: list[CtlError] = []

    def ask(worker: int | None) -> None:
        try:
            answers.append(server.ask("profile", patience_s, worker=worker, **wish))
        except CtlError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    _show_progress(threads, wish["seconds"])
    if not answers:
        raise failures[0]
    for failure in failures:
        complain(str(failure))
    return sorted(answers, key=lambda answer: int(answer["worker"]))


def _show_progress(threads: list[threading.Thread], seconds: float) -> None:
    """Wait for the threads. On a terminal, show the progress."""
    shown = sys.stderr.isatty()
    started_s = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        if shown:
            passed_s = min(time.monotonic() - started_s, seconds)
            print(f"\rprofiling: {passed_s:.0f} of {seconds:g} s", end="", file=sys.stderr, flush=True)
        threads[-1].join(_TICK_S)
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CtlError(f"{path} cannot be written: {error.strerror}") from error


def title(answers: list[dict[str, Any]], stacks: StackCounts) -> str:
    who = f"worker {answers[0]['worker']}" if len(answers) == 1 else counted(len(answers), "worker")
    seconds = max(answer["seconds"] for answer in answers)
    cpu_s = sum(answer["cpu_s"] for answer in answers)
    what = f"{cpu_s:.1f} s of CPU" if answers[0]["clock"] == "cpu" else f"{stacks.total_us / 1e6:.1f} s of requests"
    return f"{who}: {what} in {seconds:.1f} s, {stacks.samples:,} sample{'' if stacks.samples == 1 else 's'}"


def summary(answers: list[dict[str, Any]], stacks: StackCounts) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "workers": [{key: answer[key] for key in ("worker", "seconds", "cpu_s", "whole")} for answer in answers],
        "clock": answers[0]["clock"],
        "samples": stacks.samples,
        "sampled_s": stacks.total_us / 1e6,
        "top": [
            {
                "function": used.frame.name,
                "file": used.frame.file,
                "line": used.frame.line,
                "self_s": used.self_us / 1e6,
                "total_s": used.total_us / 1e6,
            }
            for used in profile_data.usage(stacks)[:TOP]
        ],
    }


def _told(answers: list[dict[str, Any]], stacks: StackCounts, output: Path | None) -> str:
    lines = [f"{title(answers, stacks)}{f'; written to {output}' if output else ''}"]
    lines += [
        f"worker {answer['worker']} ended its profile early, after {answer['seconds']:.1f} s: it leaves, or the "
        "application has taken SIGPROF"
        for answer in answers
        if not answer["whole"]
    ]
    if stacks.weights_us:
        lines += ["", profile_data.table(profile_data.usage(stacks)[:TOP], stacks.total_us)]
    return "\n".join(lines)
