"""Everything between the settings and the first fork of a worker: user, environment, sys.path, the import.

    prepare() -> share_memory() -> fork             --check ends after prepare()

Rules
* No hub is created here.  If the import has run a hub, the hub is made quiet before the first fork.
* A hub, thread or connection that is copied by fork(2) does harm. What the import has left running is logged by name.
"""

import faulthandler
import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from wsgid import hooks, log
from wsgid.application import early_imports, forks, import_watch, importer
from wsgid.application.drivers import DRIVER_WATCH
from wsgid.application.uwsgi_api.watch import UWSGI_WATCH
from wsgid.cache import places
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError, CacheError, ConfigError
from wsgid.linux import forked_child, gaps, memory, privileges
from wsgid.log import stdio
from wsgid.wsgi.types import Application


def prepare(settings: Settings) -> Callable[[], Application]:
    """Do everything before the first fork. Returns a function that gives a worker its application.

    Args:
        settings: of the server.

    Raises:
        ApplicationImportError: the application cannot be imported.
    """
    if settings.chdir:
        try:
            os.chdir(settings.chdir)  # again for each generation, so that a reload follows a switched symlink
        except OSError as error:
            raise ApplicationImportError(f"--chdir {settings.chdir}: {error.strerror}; put it back") from None
    for sentence in privileges.drop(settings.uid, settings.gid, settings.new_privileges):
        log.warning("%s", sentence)
    os.environ.update(settings.env)  # again: HOME is the new user's now, unless --env names another
    if not settings.honour_stdin:
        stdio.close_input()
    faulthandler.enable()  # the workers inherit this and the next setting, which keeps their pages shared
    memory.keep_freed()
    early_imports.warn()
    importer.prepare_path(settings)
    sys.argv[:] = ["wsgid", *settings.pyargv.split()]
    _open_caches(settings)
    DRIVER_WATCH.start(settings.psycogreen)
    hooks.collect()
    if settings.uwsgi_module:
        importlib.import_module("wsgid.application.uwsgi_api.module").install(settings)
    else:
        UWSGI_WATCH.start(settings.application.partition(":")[0].partition(".")[0])
    if settings.lazy_apps:
        return functools.partial(_load, settings)
    sockets = import_watch.sockets()
    loaded = _load(settings)
    started = import_watch.started()
    forks.quiet()
    with suppress(OSError):  # unknown without /proc; this is only for a warning
        import_watch.warn(sockets, started)
    DRIVER_WATCH.tell()
    return lambda: loaded


def share_memory() -> None:
    """Make the memory of this process ready for being shared with the workers. Called before the first fork."""
    gc.collect()
    gaps.close()
    gc.freeze()  # otherwise the collector would write to pages that the workers share, and so copy them


def _open_caches(settings: Settings) -> None:
    """Tell wsgid.cache which stores there are, and open them. Raises ConfigError."""
    places.serve(settings.cache)
    if not settings.cache:
        return
    try:
        from wsgid.cache import stores  # needs LMDB, which only these sites have

        stores.open_all()
    except CacheError as error:
        raise ConfigError(f"--cache: {error}") from error


def _load(settings: Settings) -> Application:
    """Import the application. Does not return in a process that the import itself has forked."""
    try:
        loaded = importer.load(settings)
    except ApplicationImportError as error:
        forked_child.end_if_one(error.__cause__ or error)
        raise
    forked_child.end_if_one()
    return loaded
