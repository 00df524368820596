"""The results as text: Markdown tables, the verdicts, and the machine and programs of the measurement."""

import datetime
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from bench.bars import Verdict
from bench.peers import PEERS
from bench.sample import Metric, Runs, Table, reasons, spread, values
from bench.shapes import SHAPES
from tools.nginx import ensure_nginx

RESULTS = Path(__file__).resolve().with_name("RESULTS.md")
PACKAGES = (
    "gevent",
    "greenlet",
    "uwsgi",
    "gunicorn",
    "granian",
    "flask",
    "django",
    "psycopg",
    "psycopg-pool",
    "sqlalchemy",
    "pymysql",
)


def of_shape(name: str, table: Table) -> str:
    """The table of a shape: medians, with the lowest and the highest round. Errors are the sum over all rounds."""
    metrics = [metric for metric in Metric if any(values(runs, metric) for runs in table.values())] or [Metric.ERRORS]
    rows = [_row(["", *(metric.heading for metric in metrics)]), _row(["---"] * (len(metrics) + 1))]
    rows += [_row([peer, *(_cell(runs, metric) for metric in metrics)]) for peer, runs in table.items()]
    return "\n".join([f"## {SHAPES[name].title} (`{name}`)", "", *rows, ""])


def _cell(runs: Runs, metric: Metric) -> str:
    numbers = values(runs, metric)
    if metric is Metric.ERRORS:
        failures = [f"{reasons(runs).count(reason)} of {len(runs)} runs: {reason}" for reason in {*reasons(runs)}]
        return "; ".join([metric.form.format(sum(numbers))] * bool(numbers) + failures)
    return spread(numbers, metric.form) if numbers else "–"


def of_bars(verdicts: list[Verdict]) -> str:
    rows = [_row(["shape", "bar", "measured", ""]), _row(["---"] * 4)]
    for verdict in verdicts:
        bar = verdict.bar
        alone = bar.metric.form.format(bar.at_most)
        limit = f"{bar.at_most:g} {bar.beside.value} {bar.against}" if bar.against else alone
        rows.append(
            _row(
                [
                    bar.shape,
                    f"{bar.ours}: {bar.metric.heading} at most {limit}",
                    verdict.measured,
                    "held" if verdict.held else "**MISSED**",
                ]
            )
        )
    return "\n".join(["## Bars", "", *rows, ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(found: dict[str, Table], verdicts: list[Verdict], how: str) -> None:
    """bench/RESULTS.md, for a benchmark of all shapes and all peers."""
    parts = [
        "# Results",
        "",
        f"`{how}`, as [docs/bench.md](../docs/bench.md) explains, on {datetime.date.today().isoformat()}.",
        "",
        *(f"* {line}" for line in _conditions()),
        "",
        of_bars(verdicts),
        *(of_shape(name, table) for name, table in found.items()),
    ]
    RESULTS.write_text("\n".join(parts))


def _conditions() -> list[str]:
    versions = [f"{package} {version(package)}" for package in PACKAGES]
    return [
        f"commit {_said(['git', '-C', str(RESULTS.parent), 'rev-parse', '--short', 'HEAD'])}",
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}",
        *(
            f"{name}: {_said([sys.executable, '-m', 'wsgid', '--version'], PEERS[name].environ)}"
            for name in ("wsgid", "wsgid-pure")
        ),
        f"CPython {platform.python_version()}, {', '.join(versions)}",
        f"{_said([ensure_nginx(), '-v'])}, {_said(['wrk', '-v'])}",
    ]


def _processor() -> str:
    found = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _said(command: list[str], environ: dict[str, str] | None = None) -> str:
    """The first line that a program prints with its version, on standard output or standard error."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environ or {})}
    )
    return done.stdout.partition("\n")[0].strip()
