"""A Django site whose page makes one query to PostgreSQL with psycopg 3. The query takes the given milliseconds.

The paths are those of bench/front.py with the milliseconds behind them: /uwsgi/5. With /unpooled behind the
milliseconds there is no pool: Django keeps one connection for each thread or greenlet (CONN_MAX_AGE=None).
"""

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from bench.apps import HELLO
from bench.pools import POOL_MAX, POOL_WAIT_S

SERVER = {"ENGINE": "django.db.backends.postgresql", "HOST": os.environ["BENCH_POSTGRES"], "USER": "postgres"}
POOL = {"min_size": 2, "max_size": POOL_MAX, "timeout": POOL_WAIT_S}

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {**SERVER, "NAME": "postgres", "OPTIONS": {"pool": POOL}},
        "unpooled": {**SERVER, "NAME": "postgres", "CONN_MAX_AGE": None},
    },
)
django.setup()


def page(request: HttpRequest, location: str, query_ms: int, alias: str = "default") -> HttpResponse:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [query_ms / 1000])
        cursor.fetchone()
    return HttpResponse(HELLO, content_type="text/plain")


urlpatterns = [
    path("<str:location>/<int:query_ms>", page),
    path("<str:location>/<int:query_ms>/unpooled", page, {"alias": "unpooled"}),
]
application = get_wsgi_application()
