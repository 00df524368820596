"""The files of a store as LMDB sees them: the data at PATH, the reader table and the write lock at PATH-lock.

Rules
* An environment belongs to the process that has opened it (LMDB, "Caveats"), and a process must not open a file twice.
  So it is closed before a fork, and both processes open it again when they use it.
* LMDB writes into the mapped pages (MDB_WRITEMAP): a write takes a third of the time.  A page for which the file system
  has no room would end the process by SIGBUS, so the whole file is reserved when it is made.
* A file never becomes shorter: LMDB would truncate it, and processes that have mapped the rest would end by SIGBUS. So
  the larger size counts, and one process opens at a time (Board.alone).
* Nothing waits for the disk. After a crash of the machine the file may be torn, and LMDB does not notice. So a file is
  kept only within one boot of the machine, or if the server before has flushed it at its end (files.py).
* A process that is killed while it writes leaves the old state: pages are copied before they are changed, and the next
  writer finds that the owner of the lock is dead (robust mutex).
"""

import os
from typing import Any

from wsgid.errors import CacheError, NoSuchCache

try:
    import lmdb
except ImportError as error:
    raise CacheError("wsgid.cache needs LMDB: pip install 'lmdb>=3'") from error

__all__ = ["READERS_MAX", "Files", "lmdb"]

READERS_MAX = 2048  # processes and threads that may read at the same moment


class Files:
    """An open environment with its databases.

    Args:
        path: of the data.
        size_bytes: the limit of the file.

    Raises:
        NoSuchCache: the file cannot be opened, or there is no room for it.
    """

    def __init__(self, path: str, size_bytes: int) -> None:
        try:
            size_bytes = max(size_bytes, os.stat(path).st_size if os.path.exists(path) else 0)
            self.environment: Any = lmdb.open(
                path,
                subdir=False,
                map_size=size_bytes,
                max_dbs=3,
                max_readers=READERS_MAX,
                max_spare_txns=1,
                writemap=True,
                sync=False,
                metasync=False,
                meminit=False,
                mode=0o600,
            )
            _reserve(path, size_bytes)
            self.data = self.environment.open_db(b"data")
            self.parts = self.environment.open_db(b"parts")
            self.locks = self.environment.open_db(b"locks")
            self.environment.reader_check()  # a worker that was killed while it read has left its slot
        except (lmdb.Error, OSError) as error:
            raise NoSuchCache(f"the store {path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()


def _reserve(path: str, size_bytes: int) -> None:
    """Have the file system set aside the whole file. Raises OSError if there is no room."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_blocks * 512 < size_bytes:
            os.posix_fallocate(fd, 0, size_bytes)
    finally:
        os.close(fd)
