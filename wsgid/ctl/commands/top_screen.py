"""One picture of `wsgidctl top`, for a terminal of any size. The only module that needs Rich.

Rules
* Every text goes through _text: a path is no markup, and nothing from outside is a command to the terminal.
* What does not fit is left out, and counted: troubles first, then the busiest workers, then the oldest requests.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsgid.ctl.commands.status import is_shown, known
from wsgid.ctl.commands.top_sample import Sample
from wsgid.ctl.tables import age, count, escaped, printable, size
from wsgid.ctl.troubles import is_held_up

WORKER_COLUMNS = ("worker", "state", "gen", "age", "req/s", "in flight", "lag", "rss", "restarts")
REQUEST_COLUMNS = ("age", "worker", "method", "path", "peer")
_LEFT = ("state", "method", "path", "peer")
_TROUBLES_MAX = 4
_FIXED_LINES = 9  # the head's three, a line between the parts, the names of the columns, the last line
_SLOW_S = 1.0  # requests older than this stand out
_STATE_STYLES = {"ready": "green", "spawning": "cyan", "draining": "yellow"}


def draw(sample: Sample, lines: int) -> RenderableType:
    """A frame of at most so many lines."""
    status = sample.status
    wrong = sample.wrong[:_TROUBLES_MAX]
    workers = [one for one in status["workers"] if is_shown(one)]
    room = max(lines - _FIXED_LINES - len(wrong), 2)
    shown = _busiest(workers, max(room - min(len(sample.slowest), room // 2), 1), status)
    requests = sample.slowest[: max(room - len(shown), 1)]
    parts: list[RenderableType] = [*_head(sample), *(_text(f"! {one}", "bold red") for one in wrong), Text()]
    parts.append(_table(WORKER_COLUMNS, [_worker(one, sample) for one in shown]))
    parts.append(
        _text(f"and {count(len(workers) - len(shown), 'more worker')}" if len(workers) > len(shown) else "", "dim")
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
    taken = sum(one["in_flight"] for one in status["workers"])
    queues = "  ".join(
        f"{known(one['queue'])}/{known(one['backlog'])} at {one['address']}" for one in status["listeners"]
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
            f"{status['ready']} of {count(status['wanted'], 'worker')}  ",
            (f"{taken}/{status['ready'] * status['places']} in flight", "bold"),
            f"  timed out {status['totals']['timed_out']}  rejected {status['totals']['rejected']}",
        ),
        _text(f"waiting: {queues}"),
    ]


def _text(text: Any, style: str = "") -> Text:
    return Text(escaped(str(text)), style)


def _busiest(workers: list[dict[str, Any]], most: int, status: dict[str, Any]) -> list[dict[str, Any]]:
    """The held up and the busiest, in the order of their slots."""
    ranked = sorted(workers, key=lambda one: (not is_held_up(one, status), -one["in_flight"], one["slot"]))
    return sorted(ranked[:most], key=lambda one: int(one["slot"]))


def _worker(one: dict[str, Any], sample: Sample) -> list[Text]:
    if not one["pid"]:
        return [_text(one["slot"]), _text(one["state"], "red"), *[_text("-")] * 6, _restarts(one)]
    held_up = is_held_up(one, sample.status)
    lag = f"held {age(one['heartbeat_age_s'])}" if held_up else f"{one['lag_s'] * 1000:.0f} ms"
    rate = sample.worker_rates.get(one["slot"])
    return [
        _text(one["slot"]),
        _text(one["state"], _STATE_STYLES.get(one["state"], "bold red")),
        _text(one["generation"]),
        _text(age(one["age_s"])),
        _text("-" if rate is None else f"{rate:.1f}", "cyan"),
        _text(f"{one['in_flight']}/{sample.status['places']}"),
        _text(lag, "bold red" if held_up else ""),
        _text(size(one["rss_bytes"])),
        _restarts(one),
    ]


def _restarts(one: dict[str, Any]) -> Text:
    return _text(sum(one["restarts"].values()), "yellow" if "crash" in one["restarts"] else "")


def _request(one: dict[str, Any]) -> list[Text]:
    return [
        _text(age(one["age_s"]), "bold yellow" if one["age_s"] >= _SLOW_S else ""),
        _text(one["worker"]),
        _text(printable(one["method"])),
        _text(printable(one["path"])),
        _text(printable(one["peer"])),
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Text]], wide: str = "") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold reverse", expand=bool(wide))
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
