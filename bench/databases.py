"""The databases that a shape's application asks: private ones, which know how many connections they were asked for.

Rules
* A database starts with the first shape that needs it, and ends with the benchmark.
* The counts are the database's own and exact: no sampling, which would miss what is short.
* They are of one server, from its start to the end of its measurement: nobody else is connected when a count begins.
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

    variable: ClassVar[str]  # of the environment: where the application finds it

    @property
    def address(self) -> str: ...

    def connected(self) -> int:
        """How many connections there are now."""
        ...

    def begin_count(self) -> None: ...

    def counts(self) -> tuple[int, int]:
        """Since `begin_count`: the most connections at the same time, and all that were opened."""
        ...


class CountedPostgres(Postgres):
    """It writes a line for each connection that begins and for each that ends."""

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
        """1 for each connection that has begun, -1 for each that has ended, in their order."""
        with (self.directory / "log").open("rb") as log:
            log.seek(from_bytes)
            for event in self.EVENT.finditer(log.read().decode(errors="replace")):
                yield 1 if event[1] else -1


class CountedMariaDb(MariaDb):
    """Its status variables have both counts; the one who asks is connected, too."""

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
            cursor.execute("FLUSH STATUS")  # sets Max_used_connections to what there are now
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
    """Those that were needed so far, from `with` to the end of its block."""

    def __enter__(self) -> Self:
        self._running: dict[str, Counted] = {}
        self._stack = ExitStack()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def get(self, kind: str) -> Counted:
        if kind not in self._running:
            database = self._stack.enter_context(KINDS[kind]())
            os.environ[database.variable] = database.address  # the servers inherit it
            self._running[kind] = database
        return self._running[kind]

    @contextmanager
    def counting(self, kind: str) -> Iterator[Callable[[], Sample]]:
        """The counts of a server that runs within the block; none if `kind` is empty."""
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
    """The server before has ended; the database may notice a moment later."""
    deadline_s = time.monotonic() + DEADLINE_S
    while database.connected():
        if time.monotonic() > deadline_s:
            raise ServerError(f"the database has connections of the server before, after {DEADLINE_S:.0f} s")
        time.sleep(POLL_S)
