"""A log file that cannot be written: the server goes on serving."""

import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from faults import crowd
from faults.apps import APP
from faults.report import Result, Scenario
from faults.rows import all_met
from faults.site import site
from tests.support.client import Address, packet

LOUD = ("/broken", "/print", "/logging", "/", "/read")


def disk_full_log(count: int = 100) -> list[Result]:
    """A log file that cannot be written, from the start or after some time."""
    results = _serve_without_log("/dev/full", count)
    with tempfile.TemporaryDirectory(prefix="wsgid-disk-") as name:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", name], capture_output=True).returncode:
            return [*results, Result("a disk that fills up", "not tried: no permission to mount one", True)]
        try:
            return results + _fill_up(Path(name), count)
        finally:
            subprocess.run(["umount", name], check=True)


def _visit_all(address: Address, count: int) -> dict[str, Counter[str]]:
    return {path: crowd.run((crowd.ask(address, packet(path)) for _ in range(count // len(LOUD))), 4) for path in LOUD}


def _serve_without_log(logto: str, count: int) -> list[Result]:
    with site(APP, "--logto", logto) as silent:
        met = _visit_all(silent.address, count)
        pids = silent.server.worker_pids()
        again = crowd.run([crowd.ask(silent.address, packet())], 1)
        same = pids == silent.server.worker_pids()
    return [
        *_loud_rows(met, f"--logto {logto}"),
        all_met(f"--logto {logto}: served afterwards", again, 1),
        Result(f"--logto {logto}: the same worker", "yes" if same else "no", same),
    ]


def _loud_rows(met: dict[str, Counter[str]], log: str) -> list[Result]:
    return [
        all_met(f"{log}: {path} answered", counts, counts.total(), "500" if path == "/broken" else "200")
        for path, counts in met.items()
    ]


def _fill_up(disk: Path, count: int) -> list[Result]:
    """The disk of the log becomes full while the server runs, and later has room again."""
    with site(APP, "--logto", str(disk / "log")) as loud:
        filler = disk / "filler"
        try:
            filler.write_bytes(bytes(1 << 20))
        except OSError:
            pass
        met = _visit_all(loud.address, count)
        filler.unlink()
        before = (disk / "log").stat().st_size
        crowd.run([crowd.ask(loud.address, packet("/broken"))], 1)
        said = (disk / "log").read_bytes()[before:].decode(errors="replace")
    return [
        *_loud_rows(met, "a full disk"),
        Result("logs again when there is room", f"{len(said)} bytes", "broken on purpose" in said),
    ]


SCENARIOS: tuple[Scenario, ...] = (disk_full_log,)
