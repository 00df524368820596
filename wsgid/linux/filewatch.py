"""Detect that files have changed. The caller asks now and then; there is no thread and no inotify, only stat(2).

Rules
* A missing file is waited for. The appearance of a file is a change; the disappearance alone is not. Otherwise an
  editor or a deployment that replaces a file would count twice, and a reload could happen while the file is missing.
* Symbolic links are followed. Switching a link is a change, because the new target has another inode.
"""

import os
from collections.abc import Iterable

Stamp = tuple[int, int, int]


class Watch:
    """Remembers how each file looked at the last call.

    Args:
        paths: the files to watch; `add` adds more.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._stamps: dict[str, Stamp | None] = {}
        self.add(paths)

    def add(self, paths: Iterable[str]) -> None:
        """Watch these files too. Changes are counted from now on.

        Args:
            paths: files that are watched already are left as they are.
        """
        for path in paths:
            if path not in self._stamps:
                self._stamps[path] = stamp(path)

    def changes(self) -> list[tuple[str, Stamp]]:
        """Return the files that have changed since the last call, each with its new stamp."""
        found = []
        for path, before in self._stamps.items():
            now = stamp(path)
            if now is not None and now != before:
                self._stamps[path] = now
                found.append((path, now))
        return found


def stamp(path: str) -> Stamp | None:
    """Return what differs after a change: modification time (ns), inode, size (bytes). None if there is no such
    file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
