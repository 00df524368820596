"""Patch the standard library for gevent. The programs that import the application do so before anything else.

Rules
* Modules that are imported before the patch may hold unpatched locks and sockets. So this module imports only gevent,
  and what every Python has imported already.
* gevent calls plugins at each step of the patch, and asks importlib.metadata for them each time: with 90 installed
  packages that takes 60 ms and 2 MB.  Therefore this module looks first, where importlib.metadata looks, whether any
  package has a plugin.  If none has, gevent does not ask.  In doubt, gevent asks.
* The collector of cycles rests from here until the program calls gc.enable() after its imports: it would look again and
  again at objects that all stay (8 ms).
* gevent looks at all objects for locks that an import holds now, with the number of the thread that gevent replaces.
  If no import is under way, there is none, and gevent need not look at older objects (2 ms).
* Each hub names its gevent.config.format_context, which imports pprint, inspect and dataclasses: 3 ms and 1.5 MB. The
  hub needs the function only when a greenlet fails, so it is imported then. An operator's own function stays.
"""

import gc
import os
import sys
from importlib.machinery import PathFinder

_GROUP = b"[gevent.plugins."  # each step has an entry point of this kind (gevent.events)
_OWN = b"gevent.monkey:_subscribe_signal_os"  # gevent's own plugin: it warns if not everything is patched
_ENTRY_POINTS = "entry_points.txt"
_FORMAT_CONTEXT = (
    "GEVENT_FORMAT_CONTEXT"  # of the operator's environment (gevent's documentation, "Configuring gevent")
)


def patch() -> None:
    """Import gevent, and patch everything. The caller enables the collector again (gc.enable)."""
    gc.disable()
    from gevent import config, events, monkey

    if not _imports_under_way():
        gc.freeze()  # frozen objects are in no list of the collector
    if _FORMAT_CONTEXT not in os.environ:
        config.format_context = [_readable]
    ask = events.notify_and_call_entry_points
    if not _may_have_plugins():
        events.notify_and_call_entry_points = events.notify
    try:
        monkey.patch_all()
    finally:
        events.notify_and_call_entry_points = ask


def _imports_under_way() -> bool:
    """Whether the lock of a module is held (CPython, importlib._bootstrap). In doubt, yes."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", None)
    return locks is None or bool(locks)


def _readable(context: object) -> str:
    """Describe what a failed greenlet has done, as gevent does by default."""
    from pprint import saferepr

    return saferepr(context)


def _may_have_plugins() -> bool:
    """Whether an installed package may have a plugin for gevent."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    try:
        return any(_is_named_in(directory) for directory in sys.path)
    except OSError:  # an archive, or a directory that may not be read
        return True


def _is_named_in(directory: str) -> bool:
    """Whether a package in this directory has a plugin. Raises OSError if that is not known."""
    try:
        names = os.listdir(directory or ".")
    except FileNotFoundError:
        return False
    for name in names:
        if not name.lower().endswith((".dist-info", ".egg-info")) and name.lower() != "egg-info":
            continue
        try:
            with open(os.path.join(directory, name, _ENTRY_POINTS), "rb") as listed:
                if _has_plugin(listed.read()):
                    return True
        except (FileNotFoundError, NotADirectoryError):  # no entry points; an .egg-info may also be a file
            continue
    return False


def _has_plugin(entry_points: bytes) -> bool:
    """Whether an entry_points.txt has a plugin for gevent, except gevent's own."""
    if _GROUP not in entry_points:
        return False
    is_of_group = False
    for line in entry_points.splitlines():
        if line.startswith(b"["):
            is_of_group = line.startswith(_GROUP)
        elif is_of_group and line.strip() and line.partition(b"=")[2].strip() != _OWN:
            return True
    return False
