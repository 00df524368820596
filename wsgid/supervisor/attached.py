"""The commands of --attach-daemon and its variants: started beside the workers, started again, ended last.

Rules
* No command is a reason that a site stops or does not start: what goes wrong is logged, and tried again.
* A command is started once a worker is Ready. If it ends, it is started again, after growing pauses (backoff.py).
* A reload that has succeeded starts the commands of --attach-daemon again, because they may run the application's code,
  as Celery does. A smart daemon goes on: its pidfile names it, and it is never started twice.
* Each command is a session of its own with --uid and --gid, so that a signal reaches all its processes. It ends after
  the last worker, whose requests may need it.
* A smart daemon that stays in the foreground (--smart-attach-daemon2) gets its pidfile from the master.
* A pidfile that the application can write must not make a master that is root end any process: see _pid_in.
* Another smart daemon has left its parent. The master gets it back as a child (PR_SET_CHILD_SUBREAPER), unless it was
  started by an earlier server.
"""

import errno
import os
import pwd
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import WsgidError
from wsgid.linux import process, safefiles
from wsgid.records import dataclass, field
from wsgid.supervisor.backoff import backoff_s, failures_after
from wsgid.supervisor.once import Once

END_S = 10.0  # between SIGTERM and SIGKILL
_LOOK_S = 1.0  # how often the pidfile of a smart daemon is read
_TICK_S = 0.05
_PID_MAX_BYTES = 32


class PidfileRefused(WsgidError):
    """A pidfile may not name this process."""


@dataclass(slots=True)
class AttachedDaemon:
    """A command, and its process.

    Args:
        command: for the shell.
        pidfile: of a smart daemon; empty for another.
        stays: whether a smart daemon stays in the foreground, so that the master writes the pidfile.
        stop_signal: ends it.
        reload_signal: is sent after a reload, in place of a new start; 0 for a new start.
        directory: in which it runs; empty for the master's.
        uid, gid: of the command; -1 for those of the application.
        pid: of the process; 0 if it does not run.
        starts: how often it was started.
    """

    command: str
    pidfile: str = ""
    stays: bool = False
    stop_signal: int = signal.SIGTERM
    reload_signal: int = 0
    directory: str = ""
    uid: int = -1
    gid: int = -1
    pid: int = 0
    starts: int = 0
    failures: int = 0
    started_s: float = 0.0
    not_before_s: float = -inf
    kill_at_s: float = inf  # set when it was told to end
    launcher_pid: int = 0  # of a smart daemon: the process that goes to the background


@dataclass(slots=True)
class AttachedDaemons:
    """All commands of the settings.

    Args:
        settings: of the server.
        directory: in which the commands run.
        held: pids of an image before SIGUSR2, by command.
    """

    settings: Settings
    directory: Path
    held: Mapping[str, int] = field(default_factory=dict)
    daemons: list[AttachedDaemon] = field(init=False)
    _generation: int = -1
    _once: Once = field(default_factory=Once)

    def __post_init__(self) -> None:
        self.daemons = [AttachedDaemon(command) for command in self.settings.attach_daemon]
        self.daemons += [AttachedDaemon(command, pidfile) for pidfile, command in self.settings.smart_attach_daemon]
        self.daemons += [
            AttachedDaemon(command, pidfile, stays=True) for pidfile, command in self.settings.smart_attach_daemon2
        ]
        self.daemons += [_of_keys(dict(pairs)) for pairs in self.settings.attach_daemon2]
        left = dict(self.held)
        now_s = time.monotonic()
        for daemon in self.daemons:
            daemon.pid, daemon.started_s = left.pop(daemon.command, 0), now_s
        for command, pid in left.items():  # no option names it any more
            log.info("daemon %r (pid %d) is told to end: no option names it now", command, pid)
            _signal(pid, signal.SIGTERM)

    def pids(self) -> tuple[tuple[str, int], ...]:
        """Return the commands that run, with their pids."""
        return tuple((daemon.command, daemon.pid) for daemon in self.daemons if daemon.pid)

    # --- the turn of the master ---

    def turn(self, now_s: float, serves: bool, generation: int) -> None:
        """Start what has to run, and end what is overdue.

        Args:
            now_s: the time.
            serves: whether a worker is Ready.
            generation: of the application that serves.
        """
        if not (self.daemons and serves):
            return
        if self._generation not in (-1, generation):
            self._renew(now_s)
        self._generation = generation
        for daemon in self.daemons:
            if now_s >= daemon.kill_at_s:
                _signal(daemon.pid, signal.SIGKILL)
            if daemon.pidfile:
                self._look_after_smart(daemon, now_s)
            elif not daemon.pid and now_s >= daemon.not_before_s:
                daemon.pid = self._start(daemon, now_s)

    def next_turn_s(self, now_s: float) -> float:
        """Return the next time at which `turn` has something to do."""
        times = [time_s for daemon in self.daemons for time_s in (daemon.kill_at_s, daemon.not_before_s)]
        return min((time_s for time_s in times if time_s > now_s), default=inf)

    def reaped(self, pid: int, status: int, now_s: float) -> bool:
        """Record the end of a process. Returns whether it was one of these daemons."""
        for daemon in self.daemons:
            if pid == daemon.launcher_pid:
                daemon.launcher_pid = 0
                if status:
                    self._note_end(daemon, pid, status, now_s)
                else:  # it may take a moment until the daemon has written its pidfile
                    daemon.not_before_s = now_s + _LOOK_S
                return True
            if pid == daemon.pid:
                daemon.pid = 0
                self._note_end(daemon, pid, status, now_s)
                return True
        return False

    def _note_end(self, daemon: AttachedDaemon, pid: int, status: int, now_s: float) -> None:
        asked = daemon.kill_at_s < inf
        daemon.kill_at_s = inf
        lived_s = now_s - daemon.started_s
        daemon.failures = 0 if asked else failures_after(daemon.failures, lived_s)
        pause_s = 0.0 if asked else max(backoff_s(daemon.failures), 1.0 if not lived_s >= 1.0 else 0.0)
        daemon.not_before_s = now_s + pause_s
        (log.info if asked else log.warning)(
            "daemon %r (pid %d) %s%s",
            daemon.command,
            pid,
            process.status_in_words(status),
            "" if asked else f"; it is started again{f' in {pause_s:g} s' if pause_s else ''}",
        )

    def _renew(self, now_s: float) -> None:
        for daemon in self.daemons:
            if daemon.pid and daemon.reload_signal:
                _signal(daemon.pid, daemon.reload_signal)
            elif daemon.pid and not daemon.pidfile and daemon.kill_at_s == inf:
                log.info("daemon %r (pid %d) ends, to run the new code", daemon.command, daemon.pid)
                _signal(daemon.pid, daemon.stop_signal)
                daemon.kill_at_s = now_s + END_S

    def _look_after_smart(self, daemon: AttachedDaemon, now_s: float) -> None:
        if daemon.pid and _lives(daemon.pid):
            return
        try:
            daemon.pid = _pid_in(daemon.pidfile)
        except PidfileRefused as error:  # another start could be one too many
            daemon.pid, daemon.not_before_s = 0, now_s + _LOOK_S
            if self._once.is_new(str(error)):
                log.error("daemon %r: %s", daemon.command, error)
            return
        if daemon.pid:
            log.info("daemon %r runs, with the pid %d of %s", daemon.command, daemon.pid, daemon.pidfile)
            daemon.started_s = now_s
        elif now_s >= daemon.not_before_s and daemon.stays:
            daemon.pid = self._start(daemon, now_s)
            _write_pidfile(daemon)
        elif now_s >= daemon.not_before_s and not daemon.launcher_pid:
            daemon.launcher_pid = self._start(daemon, now_s)
            daemon.not_before_s = max(daemon.not_before_s, now_s + _LOOK_S)

    def _start(self, daemon: AttachedDaemon, now_s: float) -> int:
        """Start the command. Returns its pid; 0 if the kernel refuses."""
        import subprocess  # only where there are such commands

        daemon.started_s = now_s
        daemon.starts += 1
        user = _User.of(self.settings, daemon)
        try:
            started = subprocess.Popen(
                ["/bin/sh", "-c", daemon.command],
                stdin=subprocess.DEVNULL,
                cwd=daemon.directory or self.directory,
                env={**os.environ, **dict(self.settings.env)},
                start_new_session=True,
                user=user.uid,
                group=user.gid,
                extra_groups=user.groups,
            )
        except (OSError, subprocess.SubprocessError) as error:
            daemon.failures += 1
            daemon.not_before_s = now_s + max(backoff_s(daemon.failures), 1.0)
            log.error("daemon %r cannot be started: %s; the site serves without it", daemon.command, error)
            return 0
        started.returncode = 0  # the master itself reaps it
        pid: int = started.pid
        log.info("daemon %r is started, pid %d", daemon.command, pid)
        return pid

    # --- the end of the server ---

    def end(self, is_hurried: Callable[[], bool]) -> None:
        """End all daemons: after the last worker, and before the master.

        Args:
            is_hurried: whether to kill at once; asked again and again.
        """
        signals = {
            pid: daemon.stop_signal for daemon in self.daemons for pid in (daemon.pid, daemon.launcher_pid) if pid
        }
        pids = list(signals)
        for pid, signo in signals.items():
            _signal(pid, signo)
        until_s = time.monotonic() + END_S
        while any(map(_lives, pids)) and time.monotonic() < until_s and not is_hurried():
            time.sleep(_TICK_S)
            _reap()
        for pid in filter(_lives, pids):
            log.warning("the daemon with pid %d has not ended within %g s: it is killed", pid, END_S)
            _signal(pid, signal.SIGKILL)
        _reap()
        for daemon in self.daemons:
            if daemon.stays and daemon.pid and not _lives(daemon.pid):
                with suppress(OSError):
                    os.unlink(daemon.pidfile)


def _of_keys(keys: Mapping[str, str]) -> AttachedDaemon:
    pidfile = keys.get("pidfile", "")
    return AttachedDaemon(
        keys["command"],
        pidfile,
        stays=bool(pidfile) and "daemonize" in keys,
        stop_signal=int(keys.get("stopsignal", signal.SIGTERM)),
        reload_signal=int(keys.get("reloadsignal", 0)),
        directory=keys.get("chdir", ""),
        uid=int(keys.get("uid", -1)),
        gid=int(keys.get("gid", -1)),
    )


def _write_pidfile(daemon: AttachedDaemon) -> None:
    if daemon.pid:
        try:
            safefiles.replace(daemon.pidfile, b"%d\n" % daemon.pid, 0o644)
        except OSError as error:
            log.error("the pidfile %s of daemon %r cannot be written: %s", daemon.pidfile, daemon.command, error)


@dataclass(frozen=True, slots=True)
class _User:
    """The user of a command; None leaves the master's."""

    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] | None = None

    @classmethod
    def of(cls, settings: Settings, daemon: AttachedDaemon) -> "_User":
        if os.geteuid() != 0:
            return cls()
        uid = daemon.uid if daemon.uid >= 0 else settings.uid
        gid: int | None = daemon.gid if daemon.gid >= 0 else settings.gid
        gid = None if gid is None or gid < 0 else gid
        if uid < 0:
            return cls(None, gid, None if gid is None else [])
        try:
            account = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, gid, [])
        gid = account.pw_gid if gid is None else gid
        return cls(uid, gid, os.getgrouplist(account.pw_name, gid))


def _signal(pid: int, signo: int) -> None:
    """Signal a session of ours, or a smart daemon, which has a session of its own."""
    for send, target in ((os.killpg, pid), (os.kill, pid)):
        try:
            send(target, signo)
            return
        except OSError:
            continue


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return True
    except PermissionError:
        return True
    except OSError:
        return False


def _pid_in(pidfile: str) -> int:
    """Return the pid of a live process that a pidfile names; 0 if there is none.

    Raises:
        PidfileRefused: the file is a link, or names a process of another user than the file's owner, who is not root.
            The master ends this process in the end, so an application could otherwise have root kill any process.
    """
    try:
        with open(os.open(pidfile, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            pid = int(file.read(_PID_MAX_BYTES).split()[0])
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise PidfileRefused(f"the pidfile {pidfile} is a link, and is not used: name the file itself") from None
        return 0
    if pid <= 1 or not _lives(pid):
        return 0
    uid = process.real_uid(pid)
    if owner not in (0, uid) and uid >= 0:
        raise PidfileRefused(
            f"the pidfile {pidfile} of user {owner} names process {pid} of user {uid}, and is not used: remove it"
        )
    return pid


def _reap() -> None:
    try:
        for _ in process.reap():
            pass
    except OSError:
        return
