"""The spare: when it is executed or forked, and that it ends when it is of no use any more."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.server import eventually
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.linux import process
from wsgid.linux.socket_pair import pair
from wsgid.supervisor.fleet import Deadlines, Fleet
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Net
from wsgid.supervisor.spare import Spare


class Launcher:
    """Starts processes that do nothing."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ends: list[Channel] = []  # what each process would have
        self.refusal: OSError | None = None

    def __call__(self) -> tuple[int, Inbox]:
        if self.refusal:
            raise self.refusal
        ours, theirs = pair()
        self.ends.append(Channel(theirs))
        self.processes.append(subprocess.Popen(["sleep", "100"]))
        return self.processes[-1].pid, Inbox(ours, messages.FROM_TEMPLATE)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    for end in made.ends:
        end.close()
    for started in made.processes:
        started.kill()
        started.wait()


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
    assert [started.pid for started in launcher.processes] == [spare.pid]
    assert len(spare.inboxes()) == 1


def test_the_spare_is_taken_once(spare: Spare, settled: Fleet) -> None:
    spare.want()
    spare.prepare(settled, 0.0)
    pid = spare.pid
    taken = spare.take()
    assert taken[0] == pid and (spare.pid, spare.inboxes()) == (0, [])
    again = spare.take()
    assert again[0] not in (pid, 0)  # a new process
    for _, inbox in (taken, again):
        inbox.close()


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
        old = spare.pid
        pid, inbox = spare.take()
        assert pid != old and not psutil.pid_exists(old)
        inbox.close()
    spare.want()
    spare.prepare(settled, 0.0)
    old = spare.pid
    pid, inbox = spare.take()
    assert pid == old
    inbox.close()


# --- a spare that a template has forked ---


@pytest.fixture
def template(spare: Spare, launcher: Launcher) -> Iterator[Channel]:
    """The end of the channel of a process that is to become a template. It was told to fork the next spare."""
    _, inbox = spare.take()
    spare.fork_from(inbox)
    ends = launcher.ends[-1]
    yield ends
    ends.close()
    inbox.close()


def forked(template: Channel) -> Channel:
    """Take the order, as a template does. Returns the channel of the spare."""
    received = template.receive()
    assert received is not None and received[0] == messages.ForkSpare()
    return Channel(received[1][0])


def says_hello(end: Channel) -> int:
    """Say Hello from a process that then sleeps. Returns its pid."""
    pid = os.fork()
    if pid == 0:
        end.send(messages.Hello())
        os.set_inheritable(end.fileno(), True)
        os.execv("/bin/sleep", ["sleep", "100"])
    end.close()
    return pid


def heard(spare: Spare) -> int:
    spare.read()
    return spare.pid


def test_a_forked_spare_is_used_when_its_pid_is_known(spare: Spare, template: Channel, settled: Fleet) -> None:
    pid = says_hello(forked(template))
    assert eventually(lambda: heard(spare), "the Hello has arrived") == pid
    spare.want()
    spare.prepare(settled, 0.0)  # nothing: there is a spare
    taken, inbox = spare.take()
    assert taken == pid
    process.end(pid)
    inbox.close()


def test_a_forked_spare_that_has_said_nothing_is_not_used(spare: Spare, launcher: Launcher, template: Channel) -> None:
    end = forked(template)
    assert spare.pid == 0 and len(spare.inboxes()) == 1
    pid, inbox = spare.take()
    assert pid == launcher.processes[-1].pid and len(launcher.processes) == 2
    assert end.receive() is None  # so it leaves
    end.close()
    inbox.close()


def test_if_the_fork_is_refused_a_spare_is_executed(
    spare: Spare, launcher: Launcher, template: Channel, settled: Fleet
) -> None:
    forked(template).close()
    spare.read()
    assert spare.inboxes() == []
    spare.want()
    spare.prepare(settled, 0.0)
    assert spare.pid == launcher.processes[-1].pid and len(launcher.processes) == 2


def test_a_forked_spare_that_says_anything_else_is_ended(spare: Spare, template: Channel) -> None:
    end = forked(template)
    end.send(messages.TemplateReady())
    spare.read()
    assert spare.inboxes() == [] and end.receive() is None
    end.close()


def test_the_spare_that_was_forked_ends_with_the_server(spare: Spare, template: Channel) -> None:
    pid = says_hello(forked(template))
    eventually(lambda: heard(spare), "the Hello has arrived")
    spare.give_up()
    assert not psutil.pid_exists(pid)
