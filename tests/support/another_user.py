"""Run a server as root whose workers are another user, wherever Python and this checkout are installed.

Python may be installed where only root has access, such as below /root. In that case the server runs in a mount
namespace of its own (unshare(1)). There, the closed directory is replaced by an open directory that contains only what
the server needs.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

USER = "nobody"

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a worker another user")


def prefix() -> list[str]:
    """The command that has to stand before the server's command."""
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT}
    steps = [step for path in sorted(needed) for step in _steps(path)]
    return ["unshare", "--mount", "sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh"] if steps else []


def _steps(path: Path) -> Iterator[str]:
    """Shell commands that make a directory accessible for all users."""
    closed = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
    if closed:
        yield f"held=$(mktemp -d); mount --bind {path} $held; mount -t tmpfs -o mode=755 tmpfs {closed[-1]}"
        yield f"mkdir -p {path}; mount --bind $held {path}; umount $held; rmdir $held"
