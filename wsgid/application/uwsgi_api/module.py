"""Makes the module `uwsgi`: see the package.

Rules
* post_fork_hook and atexit are attributes that the application sets, as in uWSGI. They run as the hooks of wsgid.hooks
  do, but an exception of post_fork_hook does not stop the worker: uWSGI prints it and goes on.
* Functions about the present request do nothing where there is none.
"""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import greenlet

from wsgid import hooks, log
from wsgid.application import hook_runner
from wsgid.application.uwsgi_api import caching, decorators, timers
from wsgid.application.uwsgi_api.locks import UwsgiLocks
from wsgid.config import values
from wsgid.config.options import Settings, declared
from wsgid.ipc.locks import Locks
from wsgid.linux import process
from wsgid.log.request_format import LOGVAR

VERSION = (2, 0, 31, 0, b"")  # of the uWSGI whose functions these are
_ALWAYS = ("master", "enable-threads", "single-interpreter", "need-app", "die-on-term", "vacuum")
_REMEDIES = (
    ("websocket", "use flask-sock, python-socketio or simple-websocket (docs/websockets.md)"),
    ("cache", "the server has no cache: name one, --cache NAME=SIZE"),
    ("spool", "use a task queue such as Celery"),
    ("mule", "use a task queue such as Celery, or wsgid.hooks.every"),
    ("farm", "use a task queue such as Celery"),
    ("queue", "use Redis or the database"),
    ("sharedarea", "use Redis or the database"),
    ("metric", "use prometheus_client and --metrics"),
    ("async", "greenlets wait by themselves"),
    ("green", "greenlets wait by themselves"),
    ("wait_fd", "greenlets wait by themselves"),
    ("connection_fd", 'use environ["wsgid.socket"] (docs/websockets.md)'),
)

_module: ModuleType | None = None
_locks = UwsgiLocks(None)


def install(settings: Settings) -> None:
    """Make the modules. Call this before the application is imported."""
    global _module
    _module = made = ModuleType("uwsgi", "uWSGI's functions on wsgid (--uwsgi-module)")
    master_pid = os.getppid()  # of a template, and of --check
    made.__dict__.update(
        {function.__name__: function for function in _FUNCTIONS},
        opt=_options(settings),
        version=".".join(map(str, VERSION[:3])).encode(),
        version_info=VERSION,
        hostname=socket.gethostname().encode(),
        numproc=settings.workers,
        cores=settings.gevent,
        buffer_size=65535,
        started_on=int(time.time()),
        masterpid=lambda: master_pid,
        reload=lambda: _reload(master_pid),
        __getattr__=_missing,
        __dir__=lambda: [name for name in made.__dict__ if not name.startswith("_")],
    )
    if settings.cache:
        caching.use(settings.cache[0][0])
        made.__dict__.update({name: getattr(caching, name) for name in caching.NAMES})
    sys.modules["uwsgi"] = made
    sys.modules["uwsgidecorators"] = decorators.make(_FUNCTIONS)
    hooks.on_worker_start(_run_post_fork)
    hooks.on_worker_stop(_run_atexit)


def enter_worker(locks: Locks) -> None:
    """This process is a worker from now on."""
    global _locks
    _locks = UwsgiLocks(locks)


def _run_post_fork() -> None:
    """Call what the application wants to run in each worker."""
    for function in (*decorators.postforks(), _module.__dict__.get("post_fork_hook") if _module else None):
        if callable(function):
            hook_runner.call(function, "postfork")


def _run_atexit() -> None:
    function = _module.__dict__.get("atexit") if _module else None
    if callable(function):
        function()


def _options(settings: Settings) -> dict[str, Any]:
    """Return uwsgi.opt: the options of this server that uWSGI has, too, and those that always hold here."""
    found: dict[str, Any] = dict.fromkeys(_ALWAYS, True)
    for option in declared():
        value = getattr(settings, option.name)
        if not option.uwsgi or value == option.default:
            continue
        if option.kind is values.FLAG:
            shown: Any = True
        elif option.repeatable:
            texts = [option.show(item).encode() for item in value]
            shown = texts if len(texts) > 1 else texts[0]
        else:
            shown = option.show(value).encode()
        found.update(dict.fromkeys(option.uwsgi, shown))
    found.setdefault("workers", str(settings.workers).encode())
    found.setdefault("processes", found["workers"])
    return found


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    remedy = next(
        (remedy for prefix, remedy in _REMEDIES if name.startswith(prefix)), "docs/hooks.md lists what it has"
    )
    raise AttributeError(f"the uwsgi module of wsgid has no {name}: {remedy}")


def _reload(master_pid: int) -> bool:
    """Reload the application, as HUP to the master does."""
    try:
        os.kill(master_pid, signal.SIGHUP)
    except PermissionError:
        raise PermissionError(
            "uwsgi.reload: the worker runs as another user than the master and may send it no signal; "
            "use --touch-reload FILE, and touch the file"
        ) from None
    return True


def _environ() -> dict[str, Any] | None:
    """Return the environ of the request that the running greenlet serves; None if it serves none."""
    return getattr(greenlet.getcurrent(), "environ", None)


# --- the functions of the module ---


def worker_id() -> int:
    """The number of this worker, from 1 on; 0 in a process that is no worker."""
    return hooks.worker_number() + 1


def mule_id() -> int:
    """0: this process is no mule."""
    return 0


def set_logvar(name: str, value: str) -> None:
    """Set a variable of the access log, %(name) in --log-format, for the present request."""
    environ = _environ()
    if environ is not None:
        environ[LOGVAR + name] = value if isinstance(value, str) else value.decode("latin-1")


def get_logvar(name: str) -> bytes | None:
    """Return such a variable."""
    environ = _environ() or {}
    value = environ.get(LOGVAR + name)
    return None if value is None else value.encode("latin-1", "replace")


def write_log(message: str) -> bool:
    """uwsgi.log: write a line to the log."""
    log.info("%s", message)
    return True


write_log.__name__ = "log"


def set_user_harakiri(seconds: int) -> None:
    """Give the present request that many seconds from now on; 0: no limit."""
    environ = _environ()
    if environ is not None:
        environ["wsgid.harakiri"](seconds or math.inf)


def setprocname(name: str) -> None:
    """Set the title of this process."""
    process.set_title(name)


def lock(number: int = 0) -> None:
    """Wait for a lock that all workers share, and take it."""
    _locks.lock(number)


def unlock(number: int = 0) -> None:
    """Release it."""
    _locks.unlock(number)


def is_locked(number: int = 0) -> bool:
    """Whether it is taken."""
    return _locks.is_locked(number)


def i_am_the_spooler() -> bool:
    """False: there is no spooler."""
    return False


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    worker_id,
    mule_id,
    set_logvar,
    get_logvar,
    write_log,
    set_user_harakiri,
    setprocname,
    lock,
    unlock,
    is_locked,
    i_am_the_spooler,
    timers.register_signal,
    timers.signal_registered,
    timers.add_timer,
    timers.add_rb_timer,
    timers.add_cron,
)
