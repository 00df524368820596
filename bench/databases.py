"""The databases that a shape's application asks. They are private, and count the connections that are made to them.

Rules
* A database starts with the first shape that needs it, and ends with the benchmark.
* The counts come from the database itself and are exact. Samples would miss short connections.
* The counts belong to one server, from its start to the end of its measurement. No other client is connected when a
  count begins.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import ClassVar, Protocol, Self

import pymysql

from bench.sample import Metric, Sample
from bench.server import ServerError
from tools.databases import MariaDb, Postgres

POLL_S = 0.05
DEADLINE_S = 20.0


class Counted(Protocol):
    """A database that counts its connections."""

    variable: ClassVar[str]  # the environment variable that tells the application the address

    @property
    def address(self) -> str: ...

    def connected(self) -> int:
        """How many connections there are now."""
        ...

    def begin_count(self) -> None: ...

    def counts(self) -> tuple[int, int]:
        """Since `begin_count`: the most connections at the same time, and the number of connections that were
        opened."""
        ...


class CountedPostgres(Postgres):
    """PostgreSQL writes a log line for each connection that begins, and for each connection that ends."""

    variable: ClassVar[str] = "BENCH_POSTGRES"
    EVENT = re.compile(r"LOG:  (?:(connection authorized)|disconnection: ).*user=postgres")

    @property
    def address(self) -> str:
        return os.fspath(self.directory)

    def command(self) -> list[str]:
        return [*super().command(), "-c", "log_connections=on", "-c", "log_disconnections=on"]

    def connected(self) -> int:
        return sum(self._changes(0))

    def begin_count(self) -> None:
        self._from_bytes = (self.directory / "log").stat().st_size

    def counts(self) -> tuple[int, int]:
        now = most = opened = 0
        for change in self._changes(self._from_bytes):
            now += change
            most = max(most, now)
            opened += change > 0
        return most, opened

    def _changes(self, from_bytes: int) -> Iterator[int]:
        """1 for each connection that has begun, -1 for each connection that has ended, in their order."""
        with (self.directory / "log").open("rb") as log:
            log.seek(from_bytes)
            for event in self.EVENT.finditer(log.read().decode(errors="replace")):
                yield 1 if event[1] else -1


class CountedMariaDb(MariaDb):
    """MariaDB's status variables have both counts. The connection that reads them is counted, too."""

    variable: ClassVar[str] = "BENCH_MARIADB"

    @property
    def address(self) -> str:
        return os.fspath(self.socket_path)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._asker = pymysql.connect(unix_socket=self.address, user="root", ssl_disabled=True, autocommit=True)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._asker.close()
        super().__exit__(*exception)

    def connected(self) -> int:
        return self._status("Threads_connected") - 1

    def begin_count(self) -> None:
        with self._asker.cursor() as cursor:
            cursor.execute("FLUSH STATUS")  # sets Max_used_connections to the present number of connections
        self._opened_before = self._status("Connections")

    def counts(self) -> tuple[int, int]:
        return self._status("Max_used_connections") - 1, self._status("Connections") - self._opened_before

    def _status(self, name: str) -> int:
        with self._asker.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE %s", (name,))
            [(_name, value)] = cursor.fetchall()
        return int(value)


KINDS: dict[str, Callable[[], AbstractContextManager[Counted]]] = {
    "postgres": CountedPostgres,
    "mariadb": CountedMariaDb,
}


class Databases:
    """The databases that were needed so far, from `with` to the end of its block."""

    def __enter__(self) -> Self:
        self._running: dict[str, Counted] = {}
        self._stack = ExitStack()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def get(self, kind: str) -> Counted:
        if kind not in self._running:
            database = self._stack.enter_context(KINDS[kind]())
            os.environ[database.variable] = database.address  # the servers inherit the variable
            self._running[kind] = database
        return self._running[kind]

    @contextmanager
    def counting(self, kind: str) -> Iterator[Callable[[], Sample]]:
        """The counts of a server that runs within the block; no counts if `kind` is empty."""
        if not kind:
            yield dict
            return
        database = self.get(kind)
        wait_until_alone(database)
        database.begin_count()

        def sample() -> Sample:
            most, opened = database.counts()
            return {Metric.CONNECTIONS: most, Metric.OPENED: opened}

        yield sample


def wait_until_alone(database: Counted) -> None:
    """Wait until the database has noticed that the previous server has ended."""
    deadline_s = time.monotonic() + DEADLINE_S
    while database.connected():
        if time.monotonic() > deadline_s:
            raise ServerError(f"the database still has connections of the previous server, after {DEADLINE_S:.0f} s")
        time.sleep(POLL_S)
