"""Become --uid and --gid, in the template: the master keeps its own, as nginx's does, since it has to unlink and
reload.

Rules
* A user who cannot read the Python that runs gets no application: from then on each module that is not loaded yet would
  be "No module named ...", now or in the middle of a request.  So that is said, with the directory that is closed.
"""

import os
import pwd
import sys
from pathlib import Path

from wsgid import log
from wsgid.errors import ApplicationImportError


def drop(uid: int, gid: int) -> None:
    """
    Args:
        uid: of the user; -1: stay who we are.
        gid: of the group; -1: the user's own.

    Raises:
        ApplicationImportError: this process may not become that, or Python cannot be read by who it has become.
    """
    if uid < 0 and gid < 0:
        return
    try:
        _become(uid, gid)
    except PermissionError as error:
        raise ApplicationImportError(f"cannot become user {uid}, group {gid}: {error.strerror}; start as root or leave "
                                     "--uid and --gid out") from error
    _require_python()


def _become(uid: int, gid: int) -> None:
    account = _account(uid)
    gid = gid if gid >= 0 else account.pw_gid if account else -1
    if account and gid >= 0:
        os.initgroups(account.pw_name, gid)
    else:
        os.setgroups([])
    if gid >= 0:
        os.setgid(gid)
    if uid >= 0:
        os.setuid(uid)


def _account(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _require_python() -> None:
    library = Path(os.__file__).parent
    closed = _closed(library)
    if closed:
        raise ApplicationImportError(
            f"user {os.getuid()} cannot read Python's library {library}, since {closed} is closed to it: use a Python "
            f"that everybody can read, such as one in /usr or /opt, or chmod o+rx {closed}, or leave --uid and --gid "
            "out")
    for entry in map(Path, sys.path):
        closed = _closed(entry)
        if closed and entry.is_absolute():
            log.warning("user %d cannot read %s, where Python looks for modules, since %s is closed to it: chmod o+rx "
                        "%s if the application needs what is there", os.getuid(), entry, closed, closed)


def _closed(directory: Path) -> Path | None:
    """The first directory on the way to this one, or this one itself, that we may not pass; None if all is open, or is
    not there."""
    for each in [*reversed(directory.parents), directory]:
        try:
            each.stat()
        except OSError:
            return None
        if not os.access(each, os.X_OK) or each == directory and not os.access(each, os.R_OK):
            return each
    return None
