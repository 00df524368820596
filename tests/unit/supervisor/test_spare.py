"""The spare: when it is started, and that it ends when it is of no use any more."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from wsgid.ipc import channel, messages
from wsgid.supervisor.fleet import Deadlines, Fleet
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Net
from wsgid.supervisor.spare import Spare


class Launcher:
    """Starts processes that do nothing."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.refusal: OSError | None = None

    def __call__(self) -> tuple[int, Inbox]:
        if self.refusal:
            raise self.refusal
        ours, theirs = channel.pair()
        channel.close_all([theirs])
        self.processes.append(subprocess.Popen(["sleep", "100"]))
        return self.processes[-1].pid, Inbox(ours, messages.FROM_TEMPLATE)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


@pytest.fixture
def spare(launcher: Launcher) -> Iterator[Spare]:
    made = Spare(launcher, Net())
    yield made
    made.give_up()


@pytest.fixture
def settled() -> Fleet:
    """A fleet that needs no worker and has its template."""
    fleet = Fleet(0, Deadlines(boot_s=60, mercy_s=60, hub_s=30))
    fleet.plan(0.0)
    fleet.templates.ready(0, 0.0)
    assert fleet.is_settled(0.0)
    return fleet


def test_the_spare_is_started_once_when_it_is_wanted_and_all_is_quiet(
    spare: Spare, launcher: Launcher, settled: Fleet
) -> None:
    spare.prepare(settled, 0.0)
    assert spare.pid == 0
    spare.want()
    spare.prepare(Fleet(1, settled.deadlines), 0.0)  # there is no worker yet
    assert spare.pid == 0
    spare.prepare(settled, 0.0)
    spare.prepare(settled, 0.0)
    assert [process.pid for process in launcher.processes] == [spare.pid]
    assert len(spare.inboxes()) == 1


def test_the_spare_is_taken_once(spare: Spare, settled: Fleet) -> None:
    spare.want()
    spare.prepare(settled, 0.0)
    pid = spare.pid
    taken = spare.take()
    assert taken is not None and taken[0] == pid
    assert (spare.pid, spare.take(), spare.inboxes()) == (0, None, [])
    taken[1].close()


def test_a_spare_that_died_is_not_replaced_before_the_next_template_is_ready(spare: Spare, settled: Fleet) -> None:
    spare.want()
    spare.prepare(settled, 0.0)
    spare.reaped()
    spare.prepare(settled, 0.0)
    assert spare.pid == 0
    spare.want()
    spare.prepare(settled, 0.0)
    assert spare.pid


def test_a_spare_that_the_kernel_refuses_is_tried_again_later(spare: Spare, launcher: Launcher, settled: Fleet) -> None:
    launcher.refusal = OSError(11, "Resource temporarily unavailable")
    spare.want()
    spare.prepare(settled, 0.0)
    launcher.refusal = None
    spare.prepare(settled, 0.0)
    assert spare.pid == 0
    spare.prepare(settled, 60.0)
    assert spare.pid


def test_the_spare_ends_with_the_server(spare: Spare, launcher: Launcher, settled: Fleet) -> None:
    spare.want()
    spare.prepare(settled, 0.0)
    pid = spare.pid
    spare.give_up()
    assert not psutil.pid_exists(pid) and spare.pid == 0


def test_a_server_that_stops_starts_no_spare(spare: Spare, launcher: Launcher, settled: Fleet) -> None:
    spare.want()
    spare.give_up()
    spare.prepare(settled, 0.0)
    assert spare.pid == 0 and not launcher.processes


def test_the_spare_is_not_used_after_an_installation(
    spare: Spare, launcher: Launcher, settled: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "one.pth").write_text("/one\n")
    monkeypatch.syspath_prepend(str(packages))
    changes: list[Callable[[], object]] = [
        (packages / "package").mkdir,
        lambda: (packages / "one.pth").write_text("/another\n"),
        (packages / "one.pth").unlink,
    ]
    for change in changes:
        os.utime(packages, ns=(0, 0))  # the change must not fall into the same tick of the file system's clock
        spare.want()
        spare.prepare(settled, 0.0)
        change()
        assert spare.take() is None and not psutil.pid_exists(launcher.processes[-1].pid)
    spare.want()
    spare.prepare(settled, 0.0)
    held = spare.take()
    assert held is not None
    held[1].close()
