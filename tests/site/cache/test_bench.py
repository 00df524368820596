"""The benchmark of a page of fragments: each store gives the same page, and the table has a row for each."""

import re
import subprocess
import sys

import pytest

from tests.support import ROOT


@pytest.mark.alone
def test_the_bench_of_a_page_of_fragments() -> None:
    command = [sys.executable, "-m", "bench.shared_page", "--rounds", "1", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| .* \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \|$", done.stdout, re.MULTILINE)
    assert len(rows) == 4 and all(rate != "0" and float(server_us) > 0 for rate, server_us, _ in rows)
    assert [float(redis_us) > 1 for _, _, redis_us in rows] == [False, False, False, True]
