"""`make demo-databases`: the two examples with databases, and the database servers, until Ctrl-C.

examples/django_site runs on PostgreSQL and Redis, examples/flask_databases.py on MariaDB. Each example has a wsgid of
its own. The database servers are private (tools/databases.py). All files except the virtual environment are in
temporary directories, which are removed at the end.
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
        title: a description.
        application: MODULE:CALLABLE.
        directory: the directory of the module.
        environ: the addresses of the database servers.
        prepare: the command that makes the tables, without the Python that runs it.
        attempt: the curl command that tries the example; the address is added at the end.
        port: the port of its wsgid on the loopback.
    """

    title: str
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
    """Start one server after the other, until a signal asks to end."""
    postgres, mariadb, redis = Postgres(), MariaDb(), Redis()
    say("starting PostgreSQL, MariaDB and Redis")
    with ThreadPoolExecutor() as pool:
        list(pool.map(running.enter_context, (postgres, mariadb, redis)))
    sites = list(examples(postgres, mariadb, redis))
    servers = []
    for site in sites:
        if stop.made:
            return
        say(f"making the tables: {site.title}")
        prepare(site)
        options = ("--http", f"{HOST}:{site.port}", "--harakiri", str(HARAKIRI_S))
        serving = wsgid(site.application, *options, directory=site.directory, environ=site.environ)
        servers.append(running.enter_context(serving))
    serve({site.url: site.title for site in sites}, servers, [f"{site.attempt} {site.url}/" for site in sites], stop)


def say(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


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
    """Make the tables. The command has a process group of its own, because Ctrl-C has to reach only this program."""
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
