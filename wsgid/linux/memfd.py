"""A value on its way to another process: JSON in a file in memory, whose descriptor is sent.

A datagram has a limit, and so have the arguments of a program. Settings and environments have none: an ini file may be
as long as its author likes.
"""

import json
import os

TYPE_CHECKING = False  # typing takes as long to import as a tenth of `wsgid --version`
if TYPE_CHECKING:
    from typing import Any


def write(value: object) -> int:
    """Return the descriptor of a new file with this value (memfd_create(2)). The caller owns the descriptor.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    fd = os.memfd_create("wsgid-value", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(json.dumps(value).encode())
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> "Any":
    """Return the value in a file that `write` has made, and close its descriptor."""
    with open(fd, "rb") as file:
        file.seek(0)  # both processes share the file's offset (open(2))
        return json.load(file)
