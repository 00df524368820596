"""The files of the stores: made before the server starts, checked, and removed at its end.

    /dev/shm/wsgid-NAMESPACE-PID-START/NAME    data; NAME-lock: LMDB's readers and write lock; NAME-board: board.py
    PATH, PATH-lock, PATH-board                the same for a store with a path; PATH-clean after a flush

Rules
* The directory in shared memory has the name of its master: process id and start time, which stay the same through
  SIGUSR2. The directory of a master that was killed is removed by the next server of this user.
* All files are the user's who runs the application, with mode 600: the values are pickles, and whoever can write a
  pickle can run code. A file of another user is refused.
* A store with a path is kept by a restart. After a restart of the machine it is kept only if the server had flushed it:
  LMDB is told not to wait for the disk, and does not notice a torn file.
* This module needs nothing but the standard library: the master never opens a store.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsgid.cache import board
from wsgid.cache.places import Place
from wsgid.errors import ConfigError
from wsgid.linux import safefiles

SHARED_MEMORY = "/dev/shm"  # shm_overview(7); the owner of what lies there is checked  # nosec B108
_OTHER_DIRECTORY = "/tmp"  # for the board of a network store, where there is no shared memory  # nosec B108
LOCK, BOARD, CLEAN = "-lock", "-board", "-clean"
_BEHIND = ("", LOCK, BOARD)
_FLUSHED = " flushed"  # behind the boot id in the file CLEAN
_PATIENCE_S, _AGAIN_S = 10.0, 0.01  # for the lock of a directory
_REMEDY = "name a file, as in --cache {name}={size},/var/cache/site/{name}"

Value = tuple[str, int, str, str]


def memory_directory() -> str | None:
    """The directory of shared memory; None if there is none that can be written."""
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else None


def prepare(values: Iterable[Value], uid: int, gid: int) -> tuple[Value, ...]:
    """Make all files that are missing, and return the values with all paths.

    Args:
        values: of --cache.
        uid: of the user who runs the application; -1: the present user.
        gid: of the group likewise.

    Raises:
        ConfigError: a store cannot be made; the sentence names the remedy.
    """
    found = [Place(*value) for value in values]
    names = [place.name for place in found]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise ConfigError(f"--cache names {doubled} twice: leave one of them out")
    if not found:
        return ()
    _remove_orphans()
    return tuple(_prepared(place, uid, gid) for place in found)


def _prepared(place: Place, uid: int, gid: int) -> Place:
    if place.where and not place.is_remote:
        prepare_file(place, uid, gid)
        return place._replace(board=place.where + BOARD)
    path = os.path.join(_own_directory(place, uid, gid), place.name)
    placed = place._replace(where=place.where or path, board=path + BOARD)
    if place.is_remote:
        _make(placed.board, uid, gid)
    else:
        _require_room(placed, SHARED_MEMORY)
        for behind in _BEHIND:
            _make(path + behind, uid, gid)
    return placed


def prepare_file(place: Place, uid: int, gid: int) -> None:
    """Make the files of a store with a path, or check those that are there. Raises ConfigError."""
    path = place.where
    directory = os.path.dirname(path)
    try:
        stranger = safefiles.stranger_in(directory)
        if stranger is not None and os.stat(directory).st_uid != uid and not os.path.exists(path):
            raise ConfigError(
                f"--cache {place.name}: {stranger}, can put files into {directory}: choose another directory"
            )
        with _alone_in(directory):
            _forget_if_torn(path, uid, gid)
            for behind in _BEHIND:
                _make(path + behind, uid, gid)
            _require_room(place, directory)
    except OSError as error:
        raise ConfigError(f"--cache {place.name}: {path} cannot be made: {error.strerror}; correct the path") from error


def finish(values: Iterable[Value]) -> None:
    """At the end of the server: remove what was in shared memory, and flush what has a path."""
    for place in (Place(*value) for value in values):
        if place.where.startswith(_directory_name() + os.sep) or place.is_remote:
            continue
        with suppress(OSError):
            _flush(place.where)
    shutil.rmtree(_directory_name(), ignore_errors=True)


# --- shared memory ---


def _directory_name() -> str:
    return os.path.join(
        memory_directory() or _OTHER_DIRECTORY, f"wsgid-{_namespace()}-{os.getpid()}-{_started(os.getpid())}"
    )


def _own_directory(place: Place, uid: int, gid: int) -> str:
    if memory_directory() is None and not place.is_remote:
        state = "cannot be written" if os.path.isdir(SHARED_MEMORY) else "is missing"
        raise ConfigError(f"--cache {place.name} needs {SHARED_MEMORY}, which {state}: {_remedy(place)}")
    path = _directory_name()
    try:
        with suppress(FileExistsError):  # made by this master, before SIGUSR2
            os.mkdir(path, 0o700)
            os.chown(path, uid, gid)
        there = os.lstat(path)
    except OSError as error:
        raise ConfigError(f"--cache {place.name}: {path} cannot be made: {error.strerror}; {_remedy(place)}") from error
    if not stat.S_ISDIR(there.st_mode) or there.st_mode & 0o077 or there.st_uid not in (os.geteuid(), uid):
        raise ConfigError(f"--cache {place.name}: {path} is another user's: remove it")
    return path


def _remedy(place: Place) -> str:
    return _REMEDY.format(name=place.name, size=place.size_bytes)


def _namespace() -> int:
    """The number of this process's namespace of process ids: a container has another one."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot (proc(5), field 22 of stat); empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _remove_orphans() -> None:
    """Remove the directories of masters that were killed. Processes that still use them keep their open files."""
    memory = memory_directory()
    for name in os.listdir(memory) if memory else ():
        match = re.fullmatch(r"wsgid-(\d+)-(\d+)-(\d+)", name)
        if match and int(match[1]) == _namespace() and _started(int(match[2])) != match[3]:
            shutil.rmtree(os.path.join(SHARED_MEMORY, name), ignore_errors=True)  # another user's: refused


def _require_room(place: Place, directory: str) -> None:
    """Raise a ConfigError if the file system has not enough room for a store, besides what its files take already."""
    room = os.statvfs(directory)
    taken_bytes = sum(os.stat(path).st_blocks * 512 for path in _files(place.where))
    free_bytes = room.f_bavail * room.f_frsize + taken_bytes
    wanted_bytes = place.size_bytes + board.file_bytes(place.size_bytes)
    if free_bytes < wanted_bytes:
        more = " (docker run --shm-size makes it larger)" if directory == SHARED_MEMORY else ""
        raise ConfigError(
            f"--cache {place.name} needs {_mib(wanted_bytes)}, and {directory} has room for {_mib(free_bytes)}{more}: "
            f"give it less, or {_remedy(place)}"
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"


def _files(path: str) -> list[str]:
    return [path + behind for behind in _BEHIND if os.path.exists(path + behind)]


# --- one file ---


@contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Within this, no other process makes or removes files of a store in a directory: one of two that start at the same
    time would remove what the other has just opened.

    Raises:
        OSError: another process is at it for too long.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not _locked(fd):
            if time.monotonic() > deadline_s:  # everybody who can read the directory could hold the lock
                raise OSError(errno.EAGAIN, "another process has locked its directory", directory)
            time.sleep(_AGAIN_S)
        yield
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make(path: str, uid: int, gid: int) -> None:
    """Make an empty file with mode 600, or check the one that is there. Raises OSError, ConfigError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode) or there.st_nlink != 1 or there.st_uid not in (0, os.geteuid(), uid):
            raise ConfigError(f"{path} is not the server's own file, and would be read as a cache: remove it")
        os.fchmod(fd, 0o600)
        os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _forget_if_torn(path: str, uid: int, gid: int) -> None:
    """Remove the files of a store that may be torn: they are from another boot of the machine, and nobody has flushed
    them. Note the present boot.

    Raises:
        ConfigError: the file is something else.
    """
    marker, present = path + CLEAN, _boot_id()
    try:
        before = Path(marker).read_text().strip()
    except FileNotFoundError:
        if os.path.lexists(path) and os.lstat(path).st_size:
            raise ConfigError(f"{path} was not made by --cache: remove it, or choose another path") from None
        before = ""
    if before == present:
        return
    if not before.endswith(_FLUSHED):
        for behind in _BEHIND:
            with suppress(FileNotFoundError):
                os.unlink(path + behind)
    safefiles.replace(marker, present.encode(), 0o600)
    os.chown(marker, uid, gid, follow_symlinks=False)


def _flush(path: str) -> None:
    """Write a store to the disk, and note that, unless another process still uses it."""
    if board.is_used(path + BOARD):
        return
    owner = os.lstat(path + CLEAN)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    safefiles.replace(path + CLEAN, (_boot_id() + _FLUSHED).encode(), 0o600)
    os.chown(path + CLEAN, owner.st_uid, owner.st_gid, follow_symlinks=False)
