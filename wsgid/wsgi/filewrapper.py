"""wsgi.file_wrapper: files as response bodies. The kernel sends them where that gives the same bytes.

Rules
* A file that the kernel cannot send is read in blocks. That is slower, but always correct.
* A fileno() proves nothing: the descriptor of a GzipFile has the compressed bytes.  The kernel sends only files of
  types that are known to return the bytes of their descriptor from the position that they tell.
"""

import io
import os
import sys
from typing import Any

_BLOCK_BYTES = 64 * 1024

_BUFFERED = frozenset({io.BufferedReader, io.BufferedRandom})


class FileWrapper:
    """An iterable over a file-like object (PEP 3333, "Optional Platform-Specific File Handling").

    Args:
        filelike: has read(size), and perhaps close().
        block_size: of one read, in bytes.
        left_bytes: how many bytes to send from the present position; None: all of them.
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
        """Close the file, if it has a close()."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


def sendable(wrapper: FileWrapper) -> tuple[int, int, int] | None:
    """Return what the kernel can send: (fd, offset, size_bytes). None if the file has to be read instead."""
    file = wrapper.filelike
    tempfile = sys.modules.get("tempfile")  # without that module there is no such file; it takes 0.7 MB
    if tempfile is not None and type(file) is tempfile._TemporaryFileWrapper:
        file = file.file
    try:
        if not _is_plain(file):
            return None
        file.flush()  # a file opened for update may hold bytes that are not in the descriptor yet
        fd, offset = file.fileno(), file.tell()
        size_bytes = os.fstat(fd).st_size - offset
        if wrapper.left_bytes is not None:
            size_bytes = min(size_bytes, wrapper.left_bytes)
    except (OSError, ValueError):  # a pipe, or a closed file: reading it works, or reports the error
        return None
    # Only regular files have a size. Files of /proc report 0, but can be read.
    return (fd, offset, size_bytes) if size_bytes > 0 else None


def _is_plain(file: Any) -> bool:
    """Whether reading this file gives the bytes of its descriptor. Only these types are known to do so."""
    raw = file.raw if type(file) in _BUFFERED else file
    return type(raw) is io.FileIO and raw.readable()
