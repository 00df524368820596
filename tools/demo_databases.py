"""`make demo-databases`: the two examples with databases, and the databases, until Ctrl-C.

examples/django_site runs on PostgreSQL and Redis, examples/flask_databases.py on MariaDB, each under a wsgid of its
own.  The databases are private ones (tools/databases.py).  Everything but the virtual environment is in temporary
directories, and is gone afterwards.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from tools.databases import DatabaseError, MariaDb, Postgres, Redis
from tools.demo import HOST, DemoError, StopRequest, serve, wsgid
from tools.nginx import EXAMPLES, free_port

DJANGO_SITE = EXAMPLES / "django_site"
HARAKIRI_S = 30


@dataclass(frozen=True, slots=True)
class DemoSite:
    """One of the examples.

    Args:
        what: in words.
        application: MODULE:CALLABLE.
        directory: where its module is.
        environ: where its servers are.
        prepare: the command that makes its tables, without the Python that runs it.
        attempt: how curl tries it; the address comes behind.
        port: of the loopback, for its wsgid.
    """

    what: str
    application: str
    directory: Path
    environ: Mapping[str, str]
    prepare: tuple[str, ...]
    attempt: str
    port: int = field(default_factory=lambda: free_port(HOST))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def main() -> int:
    stop = StopRequest()
    try:
        with ExitStack() as running:
            run(running, stop)
    except (DemoError, DatabaseError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\nThe demo is over.", flush=True)
    return 0


def run(running: ExitStack, stop: StopRequest) -> None:
    """Start one thing after the other, until a signal has asked to end."""
    postgres, mariadb, redis = Postgres(), MariaDb(), Redis()
    say("starting PostgreSQL, MariaDB and Redis")
    with ThreadPoolExecutor() as pool:
        list(pool.map(running.enter_context, (postgres, mariadb, redis)))
    say("making the tables")
    sites = list(examples(postgres, mariadb, redis))
    servers = []
    for site in sites:
        if stop.made:
            return
        prepare(site)
        options = ("--http", f"{HOST}:{site.port}", "--harakiri", str(HARAKIRI_S))
        serving = wsgid(site.application, *options, directory=site.directory, environ=site.environ)
        servers.append(running.enter_context(serving))
    serve({site.url: site.what for site in sites}, servers, [f"{site.attempt} {site.url}/" for site in sites], stop)


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def examples(postgres: Postgres, mariadb: MariaDb, redis: Redis) -> Iterator[DemoSite]:
    yield DemoSite(
        "Django on PostgreSQL, with sessions in Redis",
        "mysite.wsgi:application",
        DJANGO_SITE,
        {
            "DJANGO_SETTINGS_MODULE": "mysite.settings_databases",
            "DJANGO_DB_HOST": os.fspath(postgres.directory),
            "DJANGO_REDIS": f"unix://{redis.socket_path}",
        },
        ("manage.py", "migrate", "--verbosity", "0"),
        "curl -i",
    )
    with pymysql.connect(unix_socket=os.fspath(mariadb.socket_path), user="root", ssl_disabled=True) as connection:
        connection.cursor().execute("CREATE DATABASE notes")
    yield DemoSite(
        "Flask on MariaDB",
        "flask_databases:application",
        EXAMPLES,
        {"DATABASE_URL": f"mysql+pymysql://root@localhost/notes?unix_socket={mariadb.socket_path}"},
        ("-m", "flask", "--app", "flask_databases", "create-tables"),
        "curl -L -d title=Hello",
    )


def prepare(site: DemoSite) -> None:
    """In a process group of its own: Ctrl-C comes to us alone."""
    done = subprocess.run(
        [sys.executable, *site.prepare],
        cwd=site.directory,
        env={**os.environ, **site.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    if done.returncode != 0:
        raise DemoError(f"`{' '.join(site.prepare)}` failed:\n{done.stdout.strip()}")


if __name__ == "__main__":
    sys.exit(main())
