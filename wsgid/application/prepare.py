"""Everything between the settings and the first fork of a worker: rights, environment, sys.path, the import.

Rules
* It never runs a hub of its own.  A hub that the import has run is made quiet before the first fork.
* One fork of a forked hub, thread or connection is one too many: what the import has left running is said by name.
"""

import faulthandler
import functools
import gc
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from wsgid import log
from wsgid.application import forks, import_watch, importer
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError
from wsgid.linux import forked_child, memory, privileges
from wsgid.log import stdio
from wsgid.wsgi.types import Application


def prepare(settings: Settings) -> Callable[[], Application]:
    """Everything up to the first fork. Returns what gives a worker its application.

    Raises:
        ApplicationImportError: the application cannot be imported.
    """
    if settings.chdir:
        try:
            os.chdir(settings.chdir)  # again for each generation: a reload follows a switched symlink
        except OSError as error:
            raise ApplicationImportError(f"--chdir {settings.chdir}: {error.strerror}; put it back") from None
    for sentence in privileges.drop(settings.uid, settings.gid, settings.new_privileges):
        log.warning("%s", sentence)
    os.environ.update(settings.env)  # again: HOME is now the user's, unless --env names another
    if not settings.honour_stdin:
        stdio.close_input()
    faulthandler.enable()  # this and the next are inherited by the workers, which keeps their pages shared
    memory.keep_freed()
    importer.prepare_path(settings)
    sys.argv[:] = ["wsgid", *settings.pyargv.split()]
    _patch_drivers()
    if settings.lazy_apps:
        return functools.partial(_load, settings)
    sockets = import_watch.sockets()
    loaded = _load(settings)
    started = import_watch.started()
    forks.quiet()
    with suppress(OSError):  # without /proc nobody can tell, and it is only to warn
        import_watch.warn(sockets, started)
    del started
    gc.collect()
    gc.freeze()  # so that the collector does not write to, and thereby copy, the pages that the workers share
    return lambda: loaded


def _load(settings: Settings) -> Application:
    """The application. Does not return in a process that the import has forked and that has come to its end."""
    try:
        loaded = importer.load(settings)
    except ApplicationImportError as error:
        forked_child.end_if_one(error.__cause__ or error)
        raise
    forked_child.end_if_one()
    return loaded


def _patch_drivers() -> None:
    """psycopg2 waits in C, where the whole worker would stand still: psycogreen makes it wait in the hub."""
    if importlib.util.find_spec("psycopg2") and importlib.util.find_spec("psycogreen"):
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()
