"""Whether nginx's workers may connect to a unix socket: a closed directory or mode shows as a 502 to every visitor.

Rules
* This is only for a warning. If the machine does not tell enough, there is no warning.
"""

import grp
import os
import pwd
import re
import stat
from pathlib import Path

_NGINX_USERS = ("www-data", "nginx", "http")  # Debian and Ubuntu; nginx.org, Red Hat, Alpine; Arch


def nginx_user(config: Path = Path("/etc/nginx/nginx.conf")) -> str | None:
    """Return the user of nginx's workers on this machine: from its `user` directive, else a packager's default."""
    try:
        said = re.findall(r"^\s*user\s+([^\s;]+)", config.read_text("utf-8", "surrogateescape"), re.MULTILINE)
    except OSError:
        said = []
    for name in [*said, *_NGINX_USERS]:
        try:
            return pwd.getpwnam(name).pw_name
        except (KeyError, ValueError):  # ValueError: no name at all
            continue
    return None


def keeps_out(path: Path, user: str) -> str | None:
    """Return why `user` cannot connect to the socket at `path`, as a sentence with the remedy. None if nothing prevents
    it, or if this machine does not tell.

    connect(2) needs write permission on the socket, and search permission on every directory above it.

    Args:
        path: of the socket.
        user: name of the user.
    """
    try:
        return _keeps_out(path, user)
    except (OSError, KeyError):  # the caller only wanted to warn
        return None


def _keeps_out(path: Path, user: str) -> str | None:
    entry = pwd.getpwnam(user)
    if entry.pw_uid == 0:
        return None
    gids = set(os.getgrouplist(user, entry.pw_gid))
    for directory in reversed(path.parents):
        if not _may(directory, entry.pw_uid, gids, stat.S_IXUSR):
            return (
                f"the directory {directory} is closed to nginx's user {user}, so visitors get a 502: "
                f"move the socket elsewhere or chmod o+x {directory}"
            )
    if _may(path, entry.pw_uid, gids, stat.S_IWUSR):
        return None
    group = _group_name(entry.pw_gid)
    mode = stat.S_IMODE(path.stat().st_mode)
    return (
        f"the socket {path} has mode {mode:o}, so nginx's user {user} cannot connect and visitors get a 502: "
        f"add --chmod-socket 660 --chown-socket :{group}, or --chmod-socket 666"
    )


def _group_name(gid: int) -> str:
    """Return the group's name, or its number if it has no name; --chown-socket takes both."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _may(path: Path, uid: int, gids: set[int], owner_bit: int) -> bool:
    """Whether a user has a permission. The first matching class decides: owner, group or others
    (path_resolution(7))."""
    status = path.stat()
    if status.st_uid == uid:
        return bool(status.st_mode & owner_bit)
    if status.st_gid in gids:
        return bool(status.st_mode & owner_bit >> 3)
    return bool(status.st_mode & owner_bit >> 6)
