"""Watch files by what stat(2) says of them: no thread, no inotify; somebody asks now and then.

Rules
* A file that is not there is waited for; its appearance is a change, its disappearance alone is none (an editor or a
  deployment that replaces it would otherwise count twice, and a reload would meet the gap).
* Symbolic links are followed: switching one is a change, as it gives another inode.
"""

import os
from collections.abc import Iterable

Stamp = tuple[int, int, int]


class Watch:
    """Remembers how files looked when it was last asked.

    Args:
        paths: the files; more can be added.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._stamps: dict[str, Stamp | None] = {}
        self.add(paths)

    def add(self, paths: Iterable[str]) -> None:
        """Watch these too, as they look now."""
        for path in paths:
            if path not in self._stamps:
                self._stamps[path] = stamp(path)

    def changes(self) -> list[tuple[str, Stamp]]:
        """What has changed since the last call."""
        found = []
        for path, before in self._stamps.items():
            now = stamp(path)
            if now is not None and now != before:
                self._stamps[path] = now
                found.append((path, now))
        return found


def stamp(path: str) -> Stamp | None:
    """What changes when the file does: modification time (ns), inode, size (bytes); None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
