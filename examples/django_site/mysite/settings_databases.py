"""The same site on PostgreSQL, with Redis for its cache and its sessions.  `make demo-databases` tries it.

    pip install 'django>=5.1' 'psycopg[binary,pool]' redis
    export DJANGO_SETTINGS_MODULE=mysite.settings_databases DJANGO_DB_HOST=/run/postgresql
    python manage.py migrate
    wsgid --http :8000 --workers 4 --harakiri 30 mysite.wsgi:application

Rules
* A worker has at most POOL_MAX connections to PostgreSQL and as many to Redis, however many requests it has in flight.
  The servers see at most workers x POOL_MAX, and twice that during a rolling reload.
* Who waits is told in time, from inside out: the query ends before the request does (--harakiri), and the request ends
  before nginx gives up (uwsgi_read_timeout).
"""

# Without these lines, Django would import both with the first request, and hold up the worker meanwhile.
import psycopg_pool  # noqa: F401
import redis  # noqa: F401

from mysite.settings import *  # noqa: F403
from mysite.settings import os

POOL_MAX = int(os.environ.get("DJANGO_POOL_MAX", "10"))
POOL_WAIT_S = 10  # seconds that a request waits for a connection, before it gets an error

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("DJANGO_DB_HOST", ""),  # a directory: its unix socket; empty: where libpq looks
        "NAME": os.environ.get("DJANGO_DB_NAME", "postgres"),
        "USER": os.environ.get("DJANGO_DB_USER", "postgres"),
        "PASSWORD": os.environ.get("DJANGO_DB_PASSWORD", ""),
        # A connection is tried before a request gets it. So after a restart of PostgreSQL, only those requests fail
        # whose query was just running.  The price is one round trip.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Arguments of psycopg_pool.ConnectionPool.  True instead would mean its defaults: four connections.
            "pool": {"min_size": 2, "max_size": POOL_MAX, "timeout": POOL_WAIT_S},
            "connect_timeout": 5,  # seconds
            # When wsgid ends a request, its query goes on in PostgreSQL. This ends the query. 0 for a long migration.
            "options": f"-c statement_timeout={os.environ.get('DJANGO_STATEMENT_TIMEOUT', '10s')}",
        },
    }
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ.get("DJANGO_REDIS", "redis://127.0.0.1:6379/0"),
        "OPTIONS": {
            "pool_class": "mysite.redis_pool.WorkerPool",
            "max_connections": POOL_MAX,
            "timeout": POOL_WAIT_S,
            "socket_timeout": 5,  # seconds that Redis has for an answer
        },
    }
}

# If sessions must survive a loss of Redis, use backends.cached_db, which writes them to PostgreSQL, too.
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
