"""Become the user of --uid and the group of --gid, in the template.

The master keeps its own user, as nginx's master does: it has to unlink sockets and to reload.

Rules
* The result is verified: every user and group number, the supplementary groups, the capabilities.  If one of the old
  rights is left, the application is not imported.
* Afterwards no program that the application starts can gain privileges by its set-user-ID bit (prctl(2),
  PR_SET_NO_NEW_PRIVS), unless --new-privileges allows it.
* The new user must be able to read the running Python.  Otherwise every later import would fail with "No module named
  ...", perhaps in the middle of a request.  The error names the directory that is closed.
"""

import ctypes
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

from wsgid.errors import ApplicationImportError

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


def drop(uid: int, gid: int, new_privileges: bool = False) -> list[str]:
    """Become this user and group. Returns warnings, one sentence each.

    Args:
        uid: of the new user; -1 keeps the present user.
        gid: of the new group; -1 takes the user's own group.
        new_privileges: whether programs that are started later may gain privileges.

    Raises:
        ApplicationImportError: the kernel refused the change, the change is incomplete, or the new user cannot read
            Python's library.
    """
    if uid < 0 and gid < 0:
        return []
    try:
        _become(uid, gid)
    except PermissionError as error:
        raise ApplicationImportError(
            f"cannot become user {uid}, group {gid}: {error.strerror}; start as root or leave --uid and --gid out"
        ) from error
    _verify(uid, gid)
    if not new_privileges:
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    account = _account(os.getuid())
    if account and uid >= 0:
        os.environ["HOME"] = account.pw_dir  # libraries look for files there; root's directory is closed
    return list(_unreadable())


def root_words(uid: int, gid: int) -> str | None:
    """Return, in a few words, which rights of root the application will have with this --uid and --gid; None if
    none."""
    if os.geteuid() != 0:
        return None
    if uid <= 0:
        return "as root"
    account = _account(uid)
    if gid == 0 or (gid < 0 and account and account.pw_gid == 0):
        return "with root's group"
    return None


def _verify(uid: int, gid: int) -> None:
    """Check that nothing is left of the former user.

    Raises:
        ApplicationImportError: some of the former user's rights are left.
    """
    left = []
    if uid >= 0 and set(os.getresuid()) != {uid}:
        left.append(f"the users {os.getresuid()}")
    if gid >= 0 and set(os.getresgid()) != {gid}:
        left.append(f"the groups {os.getresgid()}")
    if uid > 0:
        if 0 in os.getgroups() and gid != 0 and not _is_in_group_of_root(uid):
            left.append("root's group")
        capabilities = _capabilities()
        if capabilities:
            left.append(f"the capabilities {capabilities:x}")
    if left:
        raise ApplicationImportError(
            f"as user {uid}, group {gid}, this process still has {', '.join(left)}: start it as root, or as that user"
        )


def _is_in_group_of_root(uid: int) -> bool:
    account = _account(uid)
    return account is not None and 0 in os.getgrouplist(account.pw_name, account.pw_gid)


def _capabilities() -> int:
    """Return the capabilities that this process has or could take (proc(5), status), as bits; 0 where there is no
    /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1], 16) for line in lines if line.startswith(("CapPrm:", "CapEff:")))


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


def _unreadable() -> Iterator[str]:
    """Yield one sentence for each directory of Python's modules that this user cannot read.

    Raises:
        ApplicationImportError: the user cannot read the standard library.
    """
    library = Path(os.__file__).parent
    closed = _closed(library)
    if closed:
        raise ApplicationImportError(
            f"user {os.getuid()} cannot read Python's library {library}, since {closed} is closed to it: use a Python "
            f"that everybody can read, such as one in /usr or /opt, or chmod o+rx {closed}, or leave --uid and --gid "
            "out"
        )
    for entry in map(Path, sys.path):
        closed = _closed(entry)
        if closed and entry.is_absolute():
            yield (
                f"user {os.getuid()} cannot read {entry}, where Python looks for modules, since {closed} is closed to "
                f"it: chmod o+rx {closed} if the application needs what is there"
            )


def _closed(directory: Path) -> Path | None:
    """Return the first directory, on the way to this directory or the directory itself, that this user may not enter.
    None if all of them are open, or if the directory does not exist."""
    for each in [*reversed(directory.parents), directory]:
        try:
            each.stat()
        except OSError:
            return None
        if not os.access(each, os.X_OK) or (each == directory and not os.access(each, os.R_OK)):
            return each
    return None
