"""The verdicts of the benchmark: a bar is judged by ratios within one round, and is held or missed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import bars, report
from bench.__main__ import compile_sources
from bench.databases import CountedPostgres
from bench.sample import Failed, Metric, Runs, Sample, Table, ratios, spread
from bench.shapes import SHAPES, named


def run(cpu_us: float, errors: float = 0) -> Sample:
    return {Metric.CPU_US: cpu_us, Metric.ERRORS: errors}


def verdicts(ours: Runs, theirs: Runs) -> list[bars.Verdict]:
    return list(bars.judge({"post": {"wsgid": ours, "uwsgi-gevent": theirs}}))


def test_ratios_are_of_the_same_round() -> None:
    assert list(ratios([run(1), run(4)], [run(2), run(4)], Metric.CPU_US)) == [0.5, 1.0]
    assert list(ratios([run(1), Failed("gone")], [run(2), run(4)], Metric.CPU_US)) == [0.5]


def test_a_bar_is_held_by_the_median_of_its_ratios() -> None:
    [verdict] = verdicts([run(40), run(90), run(54)], [run(100)] * 3)
    assert verdict.held and verdict.measured == "0.54 (0.40–0.90)"
    [verdict] = verdicts([run(40), run(56), run(90)], [run(100)] * 3)
    assert not verdict.held


@pytest.mark.parametrize("bad", [run(10, errors=1), Failed("it ended")])
def test_an_error_of_ours_misses_every_bar_of_the_shape(bad: Sample | Failed) -> None:
    [verdict] = verdicts([run(10), run(10), bad], [run(100)] * 3)
    assert not verdict.held


def test_a_bar_of_a_difference_is_held_by_the_median_of_its_differences() -> None:
    plain: Runs = [run(20), run(30), run(25)]
    table: Table = {"wsgid": plain, "wsgid-access-log": [run(21), run(31.5), run(29)]}
    [verdict] = bars.judge({"access-log": table})
    assert verdict.held and verdict.measured == "1.5 (1.0–4.0)"
    assert "at most 2 more than wsgid | 1.5" in report.of_bars([verdict])
    [verdict] = bars.judge({"access-log": {**table, "wsgid-access-log": [run(22.5), run(32.5), run(25)]}})
    assert not verdict.held


def test_a_bar_against_a_peer_that_was_left_out_is_not_judged() -> None:
    assert list(bars.judge({"post": {"wsgid": [run(10)]}})) == []


def test_every_bar_is_about_a_shape_that_its_peers_take_part_in() -> None:
    for bar in bars.BARS:
        peers = SHAPES[bar.shape].peers
        assert bar.ours in peers and (not bar.against or bar.against in peers)


def test_the_table_has_medians_and_says_what_failed() -> None:
    table: Table = {"wsgid": [run(3), run(1), run(2)], "uwsgi-sync": [Failed("it ended"), run(5, errors=2)]}
    lines = report.of_shape("hello", table).splitlines()
    assert lines[-2] == "| wsgid | 2.0 (1.0–3.0) | 0 |"
    assert lines[-1] == "| uwsgi-sync | 5.0 | 2; 1 of 2 runs: it ended |"


def test_a_spread_of_one_value_is_that_value() -> None:
    assert spread([1.0, 1.0], "{:.0f}") == "1" and spread([1.0, 3.0], "{:.0f}") == "2 (1–3)"


@pytest.mark.parametrize("protocol", [[], ["http"]])
def test_the_dispatcher_runs_alone_for_a_profiler(protocol: list[str]) -> None:
    command = [sys.executable, "-m", "bench.alone", "50", *protocol]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("us of processor time a request\n")


def test_a_group_means_all_its_shapes_and_a_name_means_one() -> None:
    assert named("hello") == ["hello"] and named("nothing") == []
    assert named("databases") == ["django-5ms", "django-50ms", "flask-5ms", "flask-50ms", "django-unpooled"]
    assert not {shape.group for shape in SHAPES.values()} & set(SHAPES)


def test_connections_are_counted_from_the_log_of_postgresql(tmp_path: Path) -> None:
    begun = "2026-11-22 10:00:00.000 UTC [7] LOG:  connection authorized: user=postgres database=postgres\n"
    ended = "2026-11-22 10:00:00.000 UTC [7] LOG:  disconnection: session time: 0:00:00.1 user=postgres database=x\n"
    received = "2026-11-22 10:00:00.000 UTC [7] LOG:  connection received: host=[local]\n"
    database = CountedPostgres()
    database.directory, log = tmp_path, tmp_path / "log"
    log.write_text(received + begun + ended)
    assert database.connected() == 0
    database.begin_count()
    log.write_text(log.read_text() + received + begun + begun + ended + begun + begun + ended + ended)
    assert database.counts() == (3, 4)
    assert database.connected() == 1


def test_wsgid_is_measured_with_its_bytecode_as_its_peers_are(tmp_path: Path) -> None:
    for name in ("wsgid", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text("x = 1\n")
    compile_sources(tmp_path)
    assert len(list(tmp_path.rglob("*.pyc"))) == 2
