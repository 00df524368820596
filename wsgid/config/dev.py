"""--dev: what a developer wants on their own machine, as values of options that nobody has given.

Rules
* An option that any source has given keeps its value.
* The server listens on the loopback only: a port that is taken is not an error, because the next one is used.
* An upgrade (SIGUSR2) keeps the port: the new image finds the port in the environment.
"""

import re
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from wsgid import log
from wsgid.config.options import Given, Settings, by_key
from wsgid.errors import ConfigError

HOST, FIRST_PORT, PORTS = "127.0.0.1", 8000, 100
_PORT = "WSGID_DEV_PORT"
_DEBUGGER_S = "86400"  # a debugger holds the event loop for as long as the developer thinks
_MERCY_S = "1"  # Ctrl-C does not wait for a browser's long request
_VALUES = {
    "py_autoreload": "true",
    "access_log": "-",
    "log_format": "short",
    "honour_stdin": "true",
    "hub_timeout": _DEBUGGER_S,
    "worker_reload_mercy": _MERCY_S,
}
_APPLICATIONS = ("application", "wsgi_file", "paste", "mount")
_SOCKETS = ("socket", "http", "https", "ssl_socket")
_MODULES = ("app.py", "wsgi.py")  # looked for in this order, and before Django's manage.py
_SETTINGS = "DJANGO_SETTINGS_MODULE"
_IN_MANAGE = re.compile(rf"""["']{_SETTINGS}["']\s*,\s*["']([\w.]+)["']""")


def is_wanted(given: Mapping[str, Sequence[Given]]) -> bool:
    """Whether a source asks for --dev."""
    return "dev" in given and bool(given["dev"][-1].value())


def fill(given: Mapping[str, Sequence[Given]], environ: Mapping[str, str]) -> dict[str, list[Given]]:
    """Return the values of all sources, with those of --dev where there is none.

    Args:
        given: what the sources say, by the option's name.
        environ: the environment.

    Raises:
        ConfigError: no application is named, and none is found; or no port is free.
    """
    filled = {name: list(values) for name, values in given.items()}
    if not filled.keys() & set(_SOCKETS):
        filled["http"] = [_given("http", f"{HOST}:{environ.get(_PORT) or _free_port()}")]
    for name, text in _VALUES.items():
        filled.setdefault(name, [_given(name, text)])
    if not filled.keys() & set(_APPLICATIONS):
        directory = Path(filled["chdir"][-1].texts[-1] if "chdir" in filled else "")
        filled["application"] = [_given("application", _find(directory))]
        settings_module = _settings_module(directory)
        if settings_module and _SETTINGS not in environ:
            filled["env"] = [_given("env", f"{_SETTINGS}={settings_module}"), *filled.get("env", [])]
    return filled


def begin(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """Say once what --dev does, and let the next image of this process use the same port."""
    if not settings.dev:
        return
    log.info(
        "--dev serves %s and reloads it when its code changes; it is for development, not for a site",
        settings.application_name,
    )
    for address in settings.http:
        environ.setdefault(_PORT, address.rpartition(":")[2])


def _given(name: str, text: str) -> Given:
    return Given(by_key()[name], (text,), f"{name} {text!r}", "--dev")


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as listener.py does
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ConfigError(f"--dev finds no free port from {FIRST_PORT} on: name an address with --http {HOST}:PORT")


def _find(directory: Path) -> str:
    """Return the application in a directory."""
    for name in _MODULES:
        if (directory / name).is_file():
            return name.removesuffix(".py")
    project = _settings_module(directory).partition(".")[0]
    if project:
        return f"{project}.wsgi"
    raise ConfigError(
        f"--dev finds no application in {directory.absolute()}: there is no {' or '.join(_MODULES)}, and no "
        "manage.py of Django's; name MODULE:CALLABLE or a file"
    )


def _settings_module(directory: Path) -> str:
    """Return the settings module that Django's manage.py names; empty if there is none."""
    try:
        found = _IN_MANAGE.search((directory / "manage.py").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""
