"""A Flask site whose page makes one query to MariaDB with SQLAlchemy's pool and PyMySQL. The query takes the given
milliseconds.

The paths are those of bench/front.py with the milliseconds behind them: /uwsgi/5.
"""

import os

from flask import Flask
from sqlalchemy import URL, create_engine, text

from bench.apps import HELLO
from bench.pools import POOL_MAX, POOL_WAIT_S

application = Flask(__name__)
engine = create_engine(
    URL.create("mysql+pymysql", "root", query={"unix_socket": os.environ["BENCH_MARIADB"]}),
    pool_size=POOL_MAX,
    max_overflow=0,
    pool_timeout=POOL_WAIT_S,
    connect_args={"ssl_disabled": True},
)
QUERY = text("SELECT SLEEP(:query_s)")


@application.get("/<location>/<int:query_ms>")
def page(location: str, query_ms: int) -> bytes:
    with engine.connect() as connection:
        connection.execute(QUERY, {"query_s": query_ms / 1000}).one()
    return HELLO
