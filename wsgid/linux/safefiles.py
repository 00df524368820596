"""Files that root writes in directories that another user may be able to write to.

Rules
* Another user who can write to a directory can put a link, a FIFO or a device there, under any name, at any moment.
  So the code opens first and then checks what was opened; a check before the open proves nothing (openat(2),
  O_NOFOLLOW).
* In a directory that only we can write to, the operator's own links are followed: /dev/stdout is such a link.
* A new file gets a name that nobody can guess, and must not exist (O_EXCL). Then rename(2) gives it its real name.
"""

import errno
import os
import stat
from contextlib import suppress

# O_NONBLOCK: without it, open(2) would wait for the other end of a FIFO, and the master must never wait.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_to_append(path: str, mode: int = 0o640) -> int:
    """Open a file for appending, and create it if it is missing. Returns the descriptor.

    Args:
        path: of the file.
        mode: permissions of a new file, before the umask. The default is that of uWSGI's logs.

    Raises:
        OSError: the file cannot be opened, or another user's link, FIFO or device has this name.
    """
    if stranger_in(os.path.dirname(os.path.abspath(path))) is None:
        fd = os.open(path, _APPEND, mode)
    else:
        fd = os.open(path, _APPEND | os.O_NOFOLLOW, mode)
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode) or there.st_nlink != 1:
            os.close(fd)
            raise OSError(
                errno.EPERM,
                "another user can write to the directory, and what lies there is no plain file with this name alone",
                path,
            )
    os.set_blocking(fd, True)
    return fd


def replace(path: str, content: bytes, mode: int) -> None:
    """Replace whatever has this name by a new file. A link is replaced, not followed.

    Args:
        path: of the file.
        content: of the new file.
        mode: permissions of the new file; the umask does not count.

    Raises:
        OSError: the file cannot be written; then everything is as it was.
    """
    directory, name = os.path.split(os.path.abspath(path))
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fresh = f".{name}.{os.urandom(8).hex()}"  # not by the module `secrets`, which imports much
    try:
        fd = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=directory_fd
        )
        try:
            os.fchmod(fd, mode)
            os.write(fd, content)
            os.rename(fresh, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except OSError:
            with suppress(OSError):
                os.unlink(fresh, dir_fd=directory_fd)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(directory_fd)


def chown_socket(path: str, uid: int, gid: int) -> None:
    """Give a socket that this process has just bound to another user and group; -1 leaves the user or group as it is.

    Raises:
        OSError: the kernel refused, or the path leads to something else by now.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        there = os.fstat(fd)
        if not stat.S_ISSOCK(there.st_mode) or there.st_uid != os.geteuid() or there.st_nlink != 1:
            raise OSError(errno.EPERM, "another user has put something else in its place", path)
        try:
            os.chown(f"/proc/self/fd/{fd}", uid, gid)  # fchown(2) takes no descriptor of O_PATH
        except FileNotFoundError:  # no /proc here
            os.chown(path, uid, gid, follow_symlinks=False)
    finally:
        os.close(fd)


def stranger_in(directory: str) -> str | None:
    """Return, in a few words, who can put files into a directory beside root and us; None if nobody can.

    A directory with the sticky bit, such as /tmp, counts: other users cannot replace a file there, but can create it
    first.

    Raises:
        OSError: the directory cannot be read.
    """
    there = os.stat(directory)
    if there.st_uid not in (0, os.geteuid()):
        return f"user {there.st_uid}, whose directory it is"
    if there.st_mode & stat.S_IWOTH:
        return "everybody"
    if there.st_mode & stat.S_IWGRP and there.st_gid not in (0, os.getegid()):
        return f"group {there.st_gid}"
    return None


def warning_of(path: str, option: str) -> str | None:
    """Return a warning for an operator who is root, if another user could replace the file; otherwise None.

    Args:
        path: of the file.
        option: the option that names the file.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        who = stranger_in(directory) if os.geteuid() == 0 else None
        if who is None or os.stat(directory).st_mode & stat.S_ISVTX:
            return None
    except OSError:  # the code that opens the file reports this error better
        return None
    return (
        f"{option} {path} lies in a directory that is not root's alone: {who}, can replace it; make {directory} "
        "root's, with mode 755"
    )
