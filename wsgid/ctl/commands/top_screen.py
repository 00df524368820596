"""One frame of `wsgidctl top`, for a terminal of any size. The only module that needs Rich.

Rules
* All text goes through _text: a path is not read as markup, and text from outside cannot control the terminal.
* Lines that do not fit are left out and counted. Problems come first, then the busiest workers, then the oldest
  requests.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsgid.counted import counted
from wsgid.ctl.commands.status import is_shown, known
from wsgid.ctl.commands.top_sample import Sample, mean_phases
from wsgid.ctl.tables import age, escaped, percent, printable, size
from wsgid.ctl.troubles import is_held_up, stutters

WORKER_COLUMNS = ("worker", "state", "gen", "age", "req/s", "in flight", "lag", "stands", "cpu", "rss", "restarts")
REQUEST_COLUMNS = ("age", "worker", "method", "path", "peer")
_LEFT = ("state", "method", "path", "peer")
_TROUBLES_MAX = 4
_FIXED_LINES = 10  # four of the head, a line between the parts, the names of the columns, the last line
_SLOW_S = 1.0  # older requests are highlighted
_STATE_STYLES = {"ready": "green", "spawning": "cyan", "draining": "yellow"}


def draw(sample: Sample, lines: int) -> RenderableType:
    """Return a frame of at most `lines` lines."""
    status = sample.status
    wrong = sample.wrong[:_TROUBLES_MAX]
    workers = [worker for worker in status["workers"] if is_shown(worker)]
    room = max(lines - _FIXED_LINES - len(wrong), 2)
    shown = _busiest(workers, max(room - min(len(sample.slowest), room // 2), 1), status)
    requests = sample.slowest[: max(room - len(shown), 1)]
    parts: list[RenderableType] = [*_head(sample), *(_text(f"! {sentence}", "bold red") for sentence in wrong), Text()]
    parts.append(_table(WORKER_COLUMNS, [_worker(worker, sample) for worker in shown]))
    parts.append(
        _text(f"and {counted(len(workers) - len(shown), 'more worker')}" if len(workers) > len(shown) else "", "dim")
    )
    parts.append(_table(REQUEST_COLUMNS, list(map(_request, requests)), "path"))
    if not requests:
        parts.append(_text("no request in flight", "dim"))
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*parts)


def _head(sample: Sample) -> list[Text]:
    status, rates = sample.status, sample.rates
    taken = sum(worker["in_flight"] for worker in status["workers"])
    queues = "  ".join(
        f"{known(listener['queue'])}/{known(listener['backlog'])} at {listener['address']}"
        for listener in status["listeners"]
    )
    return [
        Text.assemble(
            _text(f"wsgid {status['version']}", "bold"),
            _text(f"  {status['application']}  "),
            _text(status["mode"], "green" if status["mode"] == "running" else "bold red"),
            f" {age(status['uptime_s'])}  generation {status['generation']}  pid {status['pid']}",
        ),
        Text.assemble(
            (f"{rates['requests']:.1f} req/s", "bold cyan"),
            f"  {rates['5xx']:.1f} 5xx/s  ",
            f"{status['ready']} of {counted(status['wanted'], 'worker')}  ",
            (f"{taken}/{status['ready'] * status['places']} in flight", "bold"),
            f"  timed out {status['totals']['timed_out']}  rejected {status['totals']['rejected']}",
        ),
        _text(f"waiting: {queues}"),
        _text(_means(rates)),
    ]


def _means(rates: dict[str, float]) -> str:
    phases = "  ".join(f"{phase} {mean_s * 1000:.1f} ms" for phase, mean_s in mean_phases(rates).items())
    return f"{rates['cpu_us'] / 1e6:.2f} processors  collector {percent(rates['collector_us'] / 1e6)}  {phases}"


def _text(text: Any, style: str = "") -> Text:
    return Text(escaped(str(text)), style)


def _busiest(workers: list[dict[str, Any]], most: int, status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the held-up workers and the busiest ones, in the order of their slots."""
    ranked = sorted(workers, key=lambda worker: (not is_held_up(worker, status), -worker["in_flight"], worker["slot"]))
    return sorted(ranked[:most], key=lambda worker: int(worker["slot"]))


def _worker(worker: dict[str, Any], sample: Sample) -> list[Text]:
    if not worker["pid"]:
        return [_text(worker["slot"]), _text(worker["state"], "red"), *[_text("-")] * 8, _restarts(worker)]
    held_up = is_held_up(worker, sample.status)
    lag = f"held {age(worker['heartbeat_age_s'])}" if held_up else f"{worker['lag_s'] * 1000:.0f} ms"
    rate, cpu = sample.worker_rates.get(worker["slot"]), sample.worker_cpu.get(worker["slot"])
    return [
        _text(worker["slot"]),
        _text(worker["state"], _STATE_STYLES.get(worker["state"], "bold red")),
        _text(worker["generation"]),
        _text(age(worker["age_s"])),
        _text("-" if rate is None else f"{rate:.1f}", "cyan"),
        _text(f"{worker['in_flight']}/{sample.status['places']}"),
        _text(lag, "bold red" if held_up else ""),
        _text(percent(worker["stood_still"]), "bold red" if stutters(worker) else ""),
        _text("-" if cpu is None else percent(cpu)),
        _text(size(worker["rss_bytes"])),
        _restarts(worker),
    ]


def _restarts(worker: dict[str, Any]) -> Text:
    return _text(sum(worker["restarts"].values()), "yellow" if "crash" in worker["restarts"] else "")


def _request(request: dict[str, Any]) -> list[Text]:
    return [
        _text(age(request["age_s"]), "bold yellow" if request["age_s"] >= _SLOW_S else ""),
        _text(request["worker"]),
        _text(printable(request["method"])),
        _text(printable(request["path"])),
        _text(printable(request["peer"])),
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Text]], wide: str = "") -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold reverse", expand=bool(wide))
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in _LEFT else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name == wide else None,
        )
    for row in rows:
        table.add_row(*row)
    return table
