"""wsgi.file_wrapper: an application's file, sent by the kernel where that is the same bytes."""

import io
import os
import stat
from tempfile import _TemporaryFileWrapper
from typing import Any

_BLOCK_BYTES = 64 * 1024


class FileWrapper:
    """What PEP 3333 wants of wsgi.file_wrapper: an iterable over a file's blocks.

    Args:
        filelike: has read(size).
        block_size: bytes per block.
    """

    def __init__(self, filelike: Any, block_size: int = _BLOCK_BYTES) -> None:
        self.filelike = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self._block_size)
        if block:
            return block
        raise StopIteration


def sendable(wrapper: FileWrapper) -> tuple[int, int, int] | None:
    """(descriptor, offset, size in bytes) if the file's content is what its descriptor holds, else None.

    Having a fileno() is not enough: GzipFile's is that of the compressed file. The offset is where tell() stands.
    """
    found = wrapper.filelike
    if isinstance(found, _TemporaryFileWrapper):
        found = found.file
    raw = found.raw if isinstance(found, (io.BufferedReader, io.BufferedRandom)) else found
    if type(raw) is not io.FileIO or not raw.readable():
        return None
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode):
        return None
    if isinstance(found, io.BufferedRandom):
        found.flush()
        status = os.fstat(raw.fileno())
    offset = found.tell()
    return raw.fileno(), offset, max(status.st_size - offset, 0)
