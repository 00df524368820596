"""Private database servers for the tests: PostgreSQL, MariaDB, Redis and memcached, from Debian's packages.

    with Postgres() as server:
        psycopg.connect(host=server.directory, user="postgres")

Each server runs in a temporary directory of its own, and listens on a unix socket there. The directory is removed at
the end. A missing server is installed (tools/apt.py). Some of these servers refuse to run as root: root starts them as
the user of the package.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from tools import apt, child

START_DEADLINE_S = 60.0
POLL_S = 0.02
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class DatabaseError(Exception):
    """A server is missing or does not run. The message contains the server's own words."""


class Database:
    """One server, from `with` to the end of its block."""

    program: ClassVar[str]
    package: ClassVar[str]
    user: ClassVar[str]  # the user that runs the server if we are root
    end_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"wsgid-{self.package}-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def socket_path(self) -> Path:
        return self.directory / "server.sock"

    def stop(self) -> None:
        if self.process is not None:
            child.end(self.process, self.end_signal)
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def restart(self) -> None:
        """Stop the server, and start it again with the same data."""
        assert self.process is not None
        child.end(self.process, self.end_signal)
        self._launch()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within this, the server is stopped: it receives data and does not answer."""
        self._signal_all(signal.SIGSTOP)
        try:
            while not all(map(_is_stopped, self._processes())):  # each thread stops only when it notices the signal
                time.sleep(POLL_S)
                self._signal_all(signal.SIGSTOP)  # a child may be new
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, signo: signal.Signals) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signo)

    def _processes(self) -> list[psutil.Process]:
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    # --- what differs ---

    def prepare(self) -> None:
        """Make the files that the server needs."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_up(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(os.fspath(self.socket_path)) == 0

    # --- starting ---

    @classmethod
    def find(cls) -> str | None:
        return shutil.which(cls.program, path=_PATH)

    @classmethod
    def ensure(cls) -> str:
        """The path of the program. If the program is missing, its package is installed for root."""
        if cls.find() is None:
            try:
                apt.install(cls.package, cls.package)
            except apt.MissingPackage as missing:
                raise DatabaseError(str(missing)) from None
        path = cls.find()
        if path is None:
            raise DatabaseError(f"{cls.package} was installed, but there is no {cls.program}")
        return path

    def _start(self) -> None:
        self.ensure()
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.user)
        self.prepare()
        self._launch()

    def _launch(self) -> None:
        with (self.directory / "log").open("ab") as log:
            # A process group of its own: Ctrl-C reaches only the program that has started us. That program ends us in
            # order.
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                **self._surroundings(),
            )
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise DatabaseError(f"{self.program} does not start:\n{(self.directory / 'log').read_text()}")
            time.sleep(POLL_S)

    def _surroundings(self) -> dict[str, Any]:
        """Arguments for subprocess: the directory and the user of the server. Its temporary files are in its directory,
        too."""
        where = {"cwd": self.directory, "env": {**os.environ, "TMPDIR": os.fspath(self.directory)}}
        if os.geteuid() != 0:
            return where
        account = pwd.getpwnam(self.user)
        return {**where, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._surroundings())
        if done.returncode != 0:
            raise DatabaseError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")


def _is_stopped(process: psutil.Process) -> bool:
    """Whether all threads of a process are stopped, or have ended (proc(5), the state in `stat`)."""
    for task in Path(f"/proc/{process.pid}/task").glob("*/stat"):
        with suppress(OSError):
            if task.read_text().rpartition(")")[2].split()[0] not in ("T", "Z", "X"):
                return False
    return True


class Postgres(Database):
    """The user postgres needs no password. The socket has the name that libpq looks for in `directory`."""

    program = "postgres"
    package = "postgresql"
    user = "postgres"
    end_signal = signal.SIGINT  # PostgreSQL's "fast shutdown"; SIGTERM waits for the clients

    @property
    def socket_path(self) -> Path:
        return self.directory / ".s.PGSQL.5432"

    @classmethod
    def find(cls) -> str | None:
        """Debian installs the programs outside of PATH, in one directory for each version."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        return os.fspath(found[-1]) if found else None

    def _beside(self, program: str) -> str:
        return os.fspath(Path(self.ensure()).with_name(program))

    def prepare(self) -> None:
        self._run(
            self._beside("initdb"),
            "--pgdata=data",
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
        )

    def command(self) -> list[str]:
        return [
            self.ensure(),
            "-D",
            "data",
            "-k",
            os.fspath(self.directory),
            "-p",
            "5432",
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=150",
        ]

    def is_up(self) -> bool:
        ready = [self._beside("pg_isready"), "--quiet", f"--host={self.directory}"]
        return subprocess.run(ready, capture_output=True).returncode == 0


class MariaDb(Database):
    """The user root needs no password."""

    program = "mariadbd"
    package = "mariadb-server"
    user = "mysql"

    def prepare(self) -> None:
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.directory}/data",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )

    def command(self) -> list[str]:
        return [
            self.ensure(),
            "--no-defaults",
            f"--datadir={self.directory}/data",
            f"--socket={self.socket_path}",
            f"--pid-file={self.directory}/pid",
            "--skip-networking",
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ]


class Redis(Database):
    program = "redis-server"
    package = "redis-server"
    user = "redis"

    def command(self) -> list[str]:
        return [
            self.ensure(),
            "--port",
            "0",
            "--unixsocket",
            os.fspath(self.socket_path),
            "--save",
            "",
            "--appendonly",
            "no",
        ]


class Memcached(Database):
    program = "memcached"
    package = "memcached"
    user = "memcache"

    def command(self) -> list[str]:
        return [self.ensure(), "-s", os.fspath(self.socket_path)]


ALL: tuple[type[Database], ...] = (Postgres, MariaDb, Redis, Memcached)


if __name__ == "__main__":
    try:
        for kind in ALL:
            kind.ensure()
    except DatabaseError as missing:
        sys.exit(str(missing))
