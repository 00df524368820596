"""The shapes of load: the request, the application, the number of workers, and the peers that can do it."""

from dataclasses import dataclass, field

from bench import apps
from bench.load import Measure, load, one_at_a_time
from bench.memory import idle_worker, in_flight, quiet, site
from bench.profiled import profiled
from bench.server import Request, Route
from bench.starting import started
from bench.waiting import waiting

SERVERS = ("wsgid", "uwsgi-sync", "uwsgi-gevent", "gunicorn-uwsgi", "gunicorn-http", "granian")
ALL = (*SERVERS, "wsgid-pure", "floor")
LOGGING = ("wsgid", "wsgid-access-log", "wsgid-access-log-combined")
OVER_HTTP = ("wsgid-http", "gunicorn-http", "granian", "uwsgi-http", "bjoern", "fastwsgi", "pywsgi")
KEEPING = ("wsgid-http", "gunicorn-http", "granian", "bjoern", "fastwsgi", "pywsgi")
SENDING = ("wsgid-http", "wsgid-static", "nginx", "gunicorn-http")
STARTING = ("wsgid", "uwsgi-sync", "uwsgi-gevent", "gunicorn-http", "granian")
SITES = ("wsgid", "uwsgi-gevent", "gunicorn-http", "granian")
WEIGHED = ("wsgid", "uwsgi-gevent")
WITH_DATABASE = ("wsgid", "uwsgi-gevent", "gunicorn-http", "gunicorn-gthread")
ONE_AT_A_TIME = {"uwsgi-sync": "a worker has one request at a time"}
TOO_LARGE = {"uwsgi-gevent": "at 15 KiB a request, the memory for a million is not there"}
THREAD_EACH = {"granian": "it would need 15,000 threads"}
ONE_CONNECTION = {"uwsgi-http": "a worker has one connection, until it ends"}


@dataclass(frozen=True, slots=True)
class Shape:
    """One table of the results.

    Args:
        name: the name on the command line.
        title: the heading of the table.
        application: the application that is served.
        workers: the number of processes of each server.
        peers: the servers that are measured.
        measure: how a sample is made.
        request: the request of the load.
        route: how the load gets to the server.
        waiting: the number of requests that a worker must be able to have in flight together.
        cannot: peers that cannot serve this shape, and why.
        database: the database of bench/databases.py whose connections are counted.
        group: the name on the command line for this shape and related shapes.
    """

    name: str
    title: str
    application: str
    workers: int
    measure: Measure
    request: Request = Request(apps.HELLO)
    peers: tuple[str, ...] = SERVERS
    route: Route = Route.NGINX
    waiting: int = 1
    cannot: dict[str, str] = field(default_factory=dict)
    database: str = ""
    group: str = ""


def _with_query(name: str, site: str, application: str, database: str, query_ms: int) -> Shape:
    return Shape(
        f"{name}-{query_ms}ms",
        f"{site}, a query of {query_ms} ms, 500 connections, 2 workers",
        application,
        2,
        load(500),
        Request(apps.HELLO, page=f"/{query_ms}"),
        peers=WITH_DATABASE,
        waiting=500,
        database=database,
        group="databases",
    )


DJANGO = ("django", "Django with psycopg's pool", "bench.django_app:application", "postgres")
FLASK = ("flask", "Flask with SQLAlchemy's pool and PyMySQL", "bench.flask_database_app:application", "mariadb")

SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("hello", "Hello, 1 worker", "bench.apps:hello", 1, load(), peers=ALL),
        Shape("access-log", "Hello with an access log, 1 worker", "bench.apps:hello", 1, load(), peers=LOGGING),
        Shape("hello-4", "Hello, 4 workers", "bench.apps:hello", 4, load()),
        Shape(
            "http-kept",
            "Hello over HTTP, nginx keeps its connections, 1 worker",
            "bench.apps:hello",
            1,
            load(),
            peers=OVER_HTTP,
            route=Route.NGINX_KEPT,
            cannot=ONE_CONNECTION,
        ),
        Shape(
            "http-straight",
            "Hello over HTTP without nginx, 64 connections, 1 worker",
            "bench.apps:hello",
            1,
            load(64),
            peers=OVER_HTTP,
            route=Route.STRAIGHT,
        ),
        Shape("flask", "Flask's hello, 1 worker", "bench.flask_app:application", 1, load()),
        Shape(
            "profile", "Hello, 1 worker, and while it is profiled", "bench.apps:hello", 1, profiled(), peers=("wsgid",)
        ),
        Shape(
            "profile-flask",
            "Flask's hello, 1 worker, and while it is profiled",
            "bench.flask_app:application",
            1,
            profiled(),
            peers=("wsgid",),
        ),
        Shape(
            "wait",
            "10 ms of waiting, 500 connections, 2 workers",
            "bench.apps:wait",
            2,
            load(500),
            waiting=500,
            cannot=ONE_AT_A_TIME,
        ),
        Shape("body", "A body of 100 KB, 1 worker", "bench.apps:body", 1, load(), Request(apps.BODY)),
        Shape(
            "stream",
            "A stream of 100 blocks of 1 KB, 1 worker",
            "bench.apps:stream",
            1,
            load(),
            Request(apps.BLOCK * apps.BLOCKS),
        ),
        Shape("post", "A POST of 64 KB, 1 worker", "bench.apps:upload", 1, load(), Request(b"65536", 64 * apps.KB)),
        Shape(
            "upload",
            "An upload of 1 MB, 4 connections, 1 worker",
            "bench.apps:upload",
            1,
            load(4),
            Request(b"1048576", apps.MB),
        ),
        Shape(
            "file",
            "A file of 50 MB over HTTP without nginx, 1 connection, 1 worker",
            "bench.apps:file",
            1,
            load(1),
            Request(bytes(apps.FILE_BYTES), page="/file"),
            peers=SENDING,
            route=Route.STRAIGHT,
        ),
        Shape("work", "5 ms of work, 16 connections, 4 workers", "bench.apps:work", 4, load(16)),
        *(_with_query(*site, query_ms) for site in (DJANGO, FLASK) for query_ms in (5, 50)),
        Shape(
            "django-unpooled",
            "Django with CONN_MAX_AGE=None and no pool, a query of 5 ms, 600 requests one at a time, 1 worker",
            "bench.django_app:application",
            1,
            one_at_a_time(600),
            Request(apps.HELLO, page="/5/unpooled"),
            peers=WITH_DATABASE,
            waiting=500,
            database="postgres",
            group="databases",
        ),
        *(
            Shape(
                name,
                f"{count:,} requests wait; p50 and p99 are those of one more",
                "bench.apps:crowd",
                workers,
                waiting(count),
                peers=WEIGHED,
                waiting=15_000,
                cannot=cannot,
                group="crowd",
            )
            for name, count, workers, cannot in (
                ("crowd-10k", 10_000, 1, {}),
                ("crowd-100k", 100_000, 8, {}),
                ("crowd-1m", 1_000_000, 72, TOO_LARGE),
            )
        ),
        Shape(
            "in-flight",
            "Memory: 5,000 requests in flight in one worker",
            "bench.apps:hold",
            1,
            in_flight(5000),
            peers=WEIGHED,
            waiting=5000,
        ),
        Shape(
            "quiet",
            "Memory: 5,000 quiet HTTP connections to one worker",
            "bench.apps:hello",
            1,
            quiet(5000),
            peers=KEEPING,
            route=Route.STRAIGHT,
            waiting=15_000,
            cannot=THREAD_EACH,
        ),
        Shape(
            "site",
            "Memory: the site of examples/django_site, 4 workers, fresh and after 900 requests",
            "bench.site_app:application",
            4,
            site(900),
            peers=SITES,
        ),
        Shape("start", "Start: Hello, 1 worker", "bench.apps:hello", 1, started(), peers=STARTING),
        Shape(
            "idle",
            "Memory: an idle worker with Flask beside three siblings, fresh and after 2,000 requests to all",
            "bench.flask_app:application",
            4,
            idle_worker(2000),
            peers=WEIGHED,
        ),
    )
}


def named(name: str) -> list[str]:
    """The shapes that a name on the command line means: one shape, or all shapes of a group; none if the name is
    unknown."""
    return [shape.name for shape in SHAPES.values() if name in (shape.name, shape.group)]
