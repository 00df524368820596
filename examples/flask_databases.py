"""A small Flask site on MariaDB, with SQLAlchemy's pool and PyMySQL.  `make demo-databases` tries it.

    pip install flask 'sqlalchemy>=2' pymysql
    export DATABASE_URL='mysql+pymysql://USER@localhost/DATABASE?unix_socket=/run/mysqld/mysqld.sock'
    flask --app flask_databases create-tables
    wsgid --http :8000 --workers 4 --harakiri 30 flask_databases:application

PyMySQL is written in Python: while a query runs, the worker serves other requests.  mysqlclient is written in C, and
would hold the worker.
"""

import os
from datetime import datetime

from flask import Flask, redirect, render_template_string, request, session
from sqlalchemy import String, create_engine, func, make_url, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from werkzeug.wrappers import Response

URL = make_url(
    os.environ.get("DATABASE_URL", "mysql+pymysql://root@localhost/test?unix_socket=/run/mysqld/mysqld.sock")
)
POOL_MAX = int(os.environ.get("POOL_MAX", "10"))

engine = create_engine(
    URL,
    # A worker has at most this many connections. MariaDB has workers x POOL_MAX, and twice that in a reload.
    pool_size=POOL_MAX,
    max_overflow=0,
    pool_timeout=10,  # seconds; a request that waits longer for a connection gets an error
    # The pool tries a connection before a request gets it. So after a restart of MariaDB, only the requests fail whose
    # query was running. This costs one round trip.
    pool_pre_ping=True,
    pool_recycle=1800,  # seconds; MariaDB closes a connection that is idle for wait_timeout, eight hours
    connect_args={
        "connect_timeout": 5,  # seconds
        "read_timeout": 15,  # seconds; longer than a query may take
        # When wsgid ends a request, its query goes on in MariaDB. This option ends the query after 10 seconds. MySQL
        # calls it max_execution_time, and counts milliseconds.
        "init_command": "SET SESSION max_statement_time = 10",
        # A unix socket needs no TLS. Without this line PyMySQL would prepare for TLS anyway, and hold the worker for
        # some 20 ms at each connection.
        "ssl_disabled": "unix_socket" in URL.query,
    },
)
Transaction = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    written: Mapped[datetime] = mapped_column(server_default=func.now())


application = Flask(__name__)
application.secret_key = os.environ.get("SECRET_KEY", "for development only: whoever knows this can forge sessions")
application.config["SESSION_COOKIE_SAMESITE"] = "Lax"

PAGE = """\
<!doctype html>
<title>Notes</title>
<h1>Notes</h1>
<p>This is your visit number {{ visits }}, served by worker {{ pid }}.</p>
<ul>
  {% for note in notes %}<li>{{ note.title }}, {{ note.written }}</li>{% else %}<li>No note yet.</li>{% endfor %}
</ul>
<form method="post"><input name="title" maxlength="200" required> <button>Write a note</button></form>
"""


@application.get("/")
def index() -> str:
    """A query, and a session in a signed cookie: how often this browser was here."""
    session["visits"] = session.get("visits", 0) + 1
    with Transaction() as transaction:
        notes = transaction.scalars(select(Note).order_by(Note.id.desc()).limit(20)).all()
    return render_template_string(PAGE, visits=session["visits"], pid=os.getpid(), notes=notes)


@application.post("/")
def write() -> Response:
    title = request.form.get("title", "")[:200]
    if title:
        with Transaction.begin() as transaction:
            transaction.add(Note(title=title))
    return redirect("/", 303)


@application.cli.command("create-tables")
def create_tables() -> None:
    Base.metadata.create_all(engine)
