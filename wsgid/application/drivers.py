"""Drivers that wait in C: while such a driver waits for its server, all requests of the worker wait.

    a driver is imported -> _Finder -> psycogreen is used for psycopg2
    a connection is made -> the driver is asked -> a notice, once

Rules
* A driver that is only importable is not named, because libraries such as peewee import each driver that they find.  A
  driver is named when it makes a connection. It is named earlier, at the end of the application's import, if code of
  the application imports it, or the part of Django or SQLAlchemy that is for this driver.
* A driver that can be asked whether it waits in the event loop is asked (`Driver.is_cooperative`). It is asked late,
  because the application may prepare it after the import.
* psycopg_pool would give a connection to a waiting request that a time-out has ended, and so lose the connection: it
  expects only Exceptions there.  So it is told about time-outs (`_tell_time_outs`).
* A connection that is made in a thread (wsgid.offload) does not block the event loop. Its driver is not named.
* An import of another module costs one look into a dict, and a request nothing.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

import gevent
from gevent import monkey

from wsgid import log
from wsgid.errors import RequestTimeout
from wsgid.records import dataclass

Say = Callable[[str, str], None]  # a key, under which a sentence is said once, and the sentence

# Libraries that import a driver because it was chosen; anything else in site-packages may only look for drivers.
_CHOSEN_BY = ("django.db.backends.", "sqlalchemy.")
_INSTALLED = ("/site-packages/", "/dist-packages/")  # directories of libraries (site.getsitepackages, Debian's policy)
_OFFLOADING = "wsgid.application.offloading"  # is loaded in applications that use wsgid.offload
_IMPORTERS = ("importlib", __name__)

_thread_ident = monkey.get_original("_thread", "get_ident")


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver that may wait in C.

    Args:
        module: the module that code imports to use the driver.
        connects: the module, and the dotted name in it of the function that makes a connection.
        remedy: what the operator can do.
        is_cooperative: whether the driver waits in the event loop now.
        is_named_by_import: whether importing `module` says that the application uses this driver, not only a relative.
        can_be_offloaded: whether an application that uses wsgid.offload may call this driver in threads only. Then an
            import says nothing, and the driver is named when it connects in the event loop.
    """

    module: str
    connects: tuple[str, str]
    remedy: str
    is_cooperative: Callable[[], bool] = lambda: False
    is_named_by_import: bool = True
    can_be_offloaded: bool = False


def _has_wait_callback() -> bool:
    """Ask psycopg2 whether it waits in Python (psycopg2's documentation, "Support for coroutine libraries")."""
    extensions = sys.modules.get("psycopg2.extensions")
    return extensions is not None and extensions.get_wait_callback() is not None


def _has_grpc_loop() -> bool:
    """Ask grpc whether init_gevent() was called. An older grpc cannot be asked; there the module of that function
    counts, which is loaded for nothing else."""
    core = sys.modules.get("grpc._cython.cygrpc")
    return bool(getattr(core, "g_gevent_activated", "grpc.experimental.gevent" in sys.modules))


DRIVERS = (
    Driver(
        "psycopg2",
        ("psycopg2", "connect"),
        "install psycogreen and do not switch it off, or use psycopg 3, which waits in the event loop",
        _has_wait_callback,
    ),
    Driver(
        "MySQLdb",
        ("MySQLdb.connections", "Connection.__init__"),
        "use PyMySQL, which has the same functions (pymysql.install_as_MySQLdb()), or call it through wsgid.offload",
        can_be_offloaded=True,
    ),
    Driver(
        "mysql.connector",
        ("mysql.connector.connection_cext", "CMySQLConnection.__init__"),
        "connect with use_pure=True, or use PyMySQL",
        is_named_by_import=False,  # its pure form is in the same module
    ),
    Driver(
        "grpc",
        ("grpc._channel", "Channel.__init__"),
        "call grpc.experimental.gevent.init_gevent() before the first channel",
        _has_grpc_loop,
    ),
)


class DriverWatch:
    """Watches the imports of drivers in this process, and names those that block."""

    def __init__(self) -> None:
        self._used: list[Driver] = []  # imported by their users, and not asked yet
        self._say: Say = lambda _key, text: log.warning("%s", text)
        self._said: set[str] = set()
        self._loop_thread = 0

    def start(self, with_psycogreen: bool) -> None:
        """Watch from now on. Call this before the application is imported.

        Args:
            with_psycogreen: whether psycogreen is used where it is installed.
        """
        self._loop_thread = _thread_ident()
        hooks: dict[str, list[Callable[[ModuleType], None]]] = {}
        for driver in DRIVERS:
            module, function = driver.connects
            hooks.setdefault(driver.module, []).append(functools.partial(self._on_import, driver))
            hooks.setdefault(module, []).append(functools.partial(self._watch_connections, driver, function))
        if with_psycogreen:
            hooks["psycopg2"].insert(0, self._use_psycogreen)
        hooks["psycopg_pool.pool"] = [_tell_time_outs]
        sys.meta_path.insert(0, _Finder(hooks))

    def say_through(self, say: Say) -> None:
        """Say sentences through this function from now on."""
        self._say = say

    def tell(self) -> None:
        """Name the drivers that were imported by their users since the last call, and block."""
        used, self._used = self._used, []
        for driver in used:
            if not driver.can_be_offloaded or _OFFLOADING not in sys.modules:
                self._name(driver)

    def _on_import(self, driver: Driver, _module: ModuleType) -> None:
        if driver.is_named_by_import and _is_by_user(driver.module.partition(".")[0]):
            self._used.append(driver)

    def _watch_connections(self, driver: Driver, function: str, module: ModuleType) -> None:
        """Wrap the function that makes connections."""
        owner: Any = module
        *path, name = function.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        connect = getattr(owner, name, None)
        if connect is None:  # another version, or another module of this name
            return

        @functools.wraps(connect)
        def watched(*arguments: Any, **options: Any) -> Any:
            if driver.module not in self._said and _thread_ident() == self._loop_thread:
                self._name(driver)
            return connect(*arguments, **options)

        setattr(owner, name, watched)

    def _name(self, driver: Driver) -> None:
        if driver.module in self._said or driver.is_cooperative():
            return
        self._said.add(driver.module)
        self._say(
            f"driver {driver.module}",
            f"{driver.module} blocks all requests of a worker while it waits for its server: {driver.remedy}",
        )

    def _use_psycogreen(self, _module: ModuleType) -> None:
        """Make psycopg2 wait in the hub. Without this it waits in C."""
        if importlib.util.find_spec("psycogreen") is None or _has_wait_callback():
            return
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()
        log.info(
            "psycopg2 waits in the event loop, because psycogreen is installed; COPY and large objects do not work "
            "then: use psycopg 3 for them, or --no-psycogreen, which leaves psycopg2 as it is"
        )


def _tell_time_outs(pool: Any) -> None:
    """Tell psycopg_pool which errors can end the wait for a connection: a request's time-out, and gevent's."""
    if hasattr(pool, "CLIENT_EXCEPTIONS"):
        pool.CLIENT_EXCEPTIONS = (Exception, RequestTimeout, gevent.Timeout)


DRIVER_WATCH = DriverWatch()  # one for each process, as sys.meta_path


class _Finder:
    """Finds modules as the other finders do, and calls hooks after the code of a module has run (PEP 451)."""

    def __init__(self, hooks: dict[str, list[Callable[[ModuleType], None]]]) -> None:
        self._hooks = hooks

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        hooks = self._hooks.get(name)
        if hooks is None:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                _call_after(spec.loader, hooks)
                return spec
        return None


def _call_after(loader: Any, hooks: Sequence[Callable[[ModuleType], None]]) -> None:
    """Let the loader call the hooks after it has run a module."""
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        for hook in hooks:
            hook(module)

    loader.exec_module = exec_module  # of this loader alone: each module has one


def _is_by_user(package: str) -> bool:
    """Whether the code that imports this package now uses the package: it is the application's own, or a library's for
    a driver that was chosen."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(_CHOSEN_BY):
            return True
        if name.partition(".")[0] != package and not name.startswith(_IMPORTERS):
            return not any(directory in frame.f_code.co_filename for directory in _INSTALLED)
        frame = frame.f_back
    return False
