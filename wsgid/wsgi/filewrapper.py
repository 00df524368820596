"""wsgi.file_wrapper: files as response bodies, sent by the kernel where that gives the same bytes.

Rules
* What cannot be sent by the kernel is read in blocks: slower, never wrong.
* A fileno() proves nothing: that of a GzipFile is the compressed file.  Only objects whose exact type is known to hand
  out the bytes of their descriptor, at the position that they tell, are sent by it.
"""

import io
import os
import tempfile
from typing import Any

_BLOCK_BYTES = 64 * 1024

_BUFFERED = frozenset({io.BufferedReader, io.BufferedRandom})


class FileWrapper:
    """An iterable over a file-like object (PEP 3333, "Optional Platform-Specific File Handling").

    Args:
        filelike: has read(size), and maybe close().
        block_size: of one read, in bytes.
        left_bytes: how much of the file is meant, from where it stands; None: all of it.
    """

    def __init__(self, filelike: Any, block_size: int = _BLOCK_BYTES, left_bytes: int | None = None) -> None:
        self.filelike = filelike
        self.block_size = block_size
        self.left_bytes = left_bytes

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> Any:
        if self.left_bytes is None:
            block = self.filelike.read(self.block_size)
        else:
            block = self.filelike.read(min(self.block_size, self.left_bytes))
            self.left_bytes -= len(block)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close the file, if it can be."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


def sendable(wrapper: FileWrapper) -> tuple[int, int, int] | None:
    """What of which descriptor holds the rest of the file: (fd, offset, size_bytes), or None if it has to be read."""
    file = wrapper.filelike
    if type(file) is tempfile._TemporaryFileWrapper:
        file = file.file
    try:
        if not _is_plain(file):
            return None
        file.flush()  # what a file opened for update has not written yet is not in the descriptor
        fd, offset = file.fileno(), file.tell()
        size_bytes = os.fstat(fd).st_size - offset
        if wrapper.left_bytes is not None:
            size_bytes = min(size_bytes, wrapper.left_bytes)
    except (OSError, ValueError):  # a pipe, or closed: reading it will work, or say so
        return None
    # Only regular files have a size; those of /proc have none, and can be read all the same.
    return (fd, offset, size_bytes) if size_bytes > 0 else None


def _is_plain(file: Any) -> bool:
    """Whether reading it gives the bytes of its descriptor: of nothing but these types is that known."""
    raw = file.raw if type(file) in _BUFFERED else file
    return type(raw) is io.FileIO and raw.readable()
