"""The applications: what to install, how they are set up, and the options with which they run."""

import os
import subprocess
import textwrap
from pathlib import Path

from apps import visits
from apps.trial import Application


def _write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text).lstrip())


def _run(directory: Path, *command: str | Path, **environ: str) -> None:
    """Run a command of the application's own. Its output is shown if it fails."""
    done = subprocess.run(command, cwd=directory, env={**os.environ, **environ}, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} has failed:\n{done.stdout}{done.stderr}")


def _radicale(directory: Path, _bin: Path) -> None:
    _write(
        directory / "config",
        f"""
        [auth]
        type = none
        [storage]
        filesystem_folder = {directory}/collections
        """,
    )
    # As in Radicale's documentation, "Reverse Proxy", without its http-socket.
    _write(
        directory / "radicale.ini",
        f"""
        [uwsgi]
        processes = 2
        plugin = python3
        module = radicale
        env = RADICALE_CONFIG={directory}/config
        """,
    )


def _pypiserver(directory: Path, _bin: Path) -> None:
    (directory / "packages").mkdir()
    _write(
        directory / "site_of_packages.py",
        """
        import pathlib
        import pypiserver

        application = pypiserver.app(
            roots=[pathlib.Path("packages").absolute()], password_file=".", authenticate=[], disable_fallback=True
        )
        """,
    )


def _isso(directory: Path, _bin: Path) -> None:
    _write(
        directory / "isso.cfg",
        f"""
        [general]
        dbpath = {directory}/comments.db
        host = http://blog.example/
        [guard]
        enabled = false
        """,
    )
    # As in isso's documentation, "Deployment", without its http, its cache2 and its spooler: isso does without them.
    _write(
        directory / "isso.ini",
        f"""
        [uwsgi]
        master = true
        processes = 2
        module = isso.run
        env = ISSO_SETTINGS={directory}/isso.cfg
        """,
    )


def _trac(directory: Path, programs: Path) -> None:
    admin = programs / "trac-admin"
    _run(directory, admin, directory / "project", "initenv", "project", "sqlite:db/trac.db")
    _run(directory, admin, directory / "project", "permission", "add", "anonymous", "TICKET_CREATE")


def _zope(directory: Path, programs: Path) -> None:
    _run(directory, programs / "mkwsgiinstance", "-d", directory / "instance", "-u", "admin:secret")
    _write(
        directory / "site_of_zope.py",
        """
        from Zope2.Startup.run import make_wsgi_app

        application = make_wsgi_app({}, "instance/etc/zope.conf")
        """,
    )


def _wagtail(directory: Path, programs: Path) -> None:
    python = programs / "python"
    _run(directory, programs / "wagtail", "start", "mysite", directory)
    with (directory / "mysite" / "settings" / "base.py").open("a") as settings:
        settings.write('\nALLOWED_HOSTS = ["*"]\n')
    _run(directory, python, "manage.py", "migrate")
    _run(
        directory,
        python,
        "manage.py",
        "createsuperuser",
        "--noinput",
        "--username=admin",
        "--email=admin@example.com",
        DJANGO_SUPERUSER_PASSWORD="secret",
    )


def _mlflow(directory: Path, _bin: Path) -> None:
    (directory / "artifacts").mkdir()


def _flask_socketio(directory: Path, _bin: Path) -> None:
    _write(
        directory / "chat.py",
        """
        from flask import Flask
        from flask_socketio import SocketIO, emit

        application = Flask(__name__)
        socketio = SocketIO(application, async_mode="gevent")

        @socketio.on("say")
        def say(text):
            emit("heard", text, broadcast=True)
        """,
    )


APPLICATIONS = (
    Application("radicale", ("radicale>=3.5",), _radicale, ("radicale.ini",), visits.radicale),
    Application(
        "pypiserver",
        ("pypiserver>=2.3",),
        _pypiserver,
        ("--workers", "2", "site_of_packages:application"),
        visits.pypiserver,
    ),
    Application("isso", ("isso>=0.13",), _isso, ("isso.ini",), visits.isso),
    Application(
        "trac",
        ("trac>=1.6", "setuptools<81"),
        _trac,
        ("--workers", "2", "trac.web.main:dispatch_request"),
        visits.trac,
        (("TRAC_ENV", "{}/project"),),
    ),
    Application(
        "zope", ("zope>=5.10",), _zope, ("--lazy-apps", "site_of_zope:application"), visits.zope, reloads=False
    ),
    Application("wagtail", ("wagtail>=6",), _wagtail, ("--workers", "2", "mysite.wsgi:application"), visits.wagtail),
    Application(
        "mlflow",
        ("mlflow>=2.10",),
        _mlflow,
        ("--workers", "2", "mlflow.server:app"),
        visits.mlflow,
        (
            ("_MLFLOW_SERVER_FILE_STORE", "sqlite:///{}/mlflow.db"),
            ("_MLFLOW_SERVER_ARTIFACT_ROOT", "{}/artifacts"),
            ("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true"),
            ("_MLFLOW_SERVER_ARTIFACT_DESTINATION", "{}/artifacts"),
        ),
    ),
    Application(
        "flask-socketio", ("flask-socketio>=5.3",), _flask_socketio, ("chat:application",), visits.flask_socketio
    ),
)
