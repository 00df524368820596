"""Files beside the application: --static-map /static=DIR, --check-static DIR. static_rules.py says how they are sent.

Rules
* A request for something else than a file there, or with another method than GET or HEAD, goes to the application, as
  in uWSGI.
* No file outside of DIR is ever sent. `..` is refused. The file is opened first, and only then its real place is looked
  up (proc(5), /proc/self/fd), so that no symbolic link can be switched in between.  --static-safe names more
  directories into which links may lead.
* A name that begins with a dot is hidden, because editors, git and deployments leave secrets under such names.  Hidden
  files are sent with --static-hidden only.  /.well-known/ is meant for the public (RFC 8615), and is not hidden.
* Validators and ranges follow RFC 9110: 304 (13.1), 206 and 416 (14), one range in each request.
"""

import os
import posix
import re
import stat
import time
from collections.abc import Callable, Iterable, Sequence, Set
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, NamedTuple

from wsgid.errors import ApplicationError
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.static_rules import StaticRules, Subject

Application = Callable[..., Iterable[bytes]]

_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?")
_METHODS = frozenset({"GET", "HEAD"})
_PUBLIC = ".well-known"


class StaticMaps:
    """An application that sends files, and passes all other requests to another application.

    Args:
        application: the other application.
        maps: (prefix of PATH_INFO, directory or file) pairs; the first pair that has the file counts.
        safe: further directories into which symbolic links may lead.
        hidden: whether to send files under names that begin with a dot.
        rules: how files are sent.
        docroot: whether DOCUMENT_ROOT of the request names one more directory, for all paths.
    """

    def __init__(
        self,
        application: Application,
        maps: Sequence[tuple[str, str]],
        safe: Sequence[str],
        hidden: bool = False,
        rules: StaticRules | None = None,
        docroot: bool = False,
    ) -> None:
        self._application = application
        self._docroot = docroot
        self._hidden = hidden
        self._rules = rules or StaticRules()
        self._maps = [(prefix.rstrip("/"), os.path.abspath(place)) for prefix, place in maps]
        self._roots = {os.path.realpath(place) for place in [*(each for _, each in maps), *safe]}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ.get("PATH_INFO", "")
        if environ.get("REQUEST_METHOD") in _METHODS and not path.endswith(self._rules.skipped):
            for prefix, place in self._maps:
                found = self._find(place, path, prefix, self._roots) if path.startswith(prefix) else None
                if found is not None:
                    return self._send(found, environ, start_response)
            root: str = environ.get("DOCUMENT_ROOT", "") if self._docroot else ""
            if root:
                found = self._find(root, path, "", self._roots | {os.path.realpath(root)})
                if found is not None:
                    return self._send(found, environ, start_response)
        return self._application(environ, start_response)

    def _find(self, place: str, path: str, prefix: str, roots: Set[str]) -> "_Found | None":
        """Return the file for a path, open; None if there is no file that may be sent."""
        rest = path[len(prefix) :]
        name = self._name(rest) if rest else b""
        if name is None:
            return None
        whole = os.fsencode(place) + b"/" * bool(rest) + name  # without rest: --static-map /favicon.ico=FILE
        if not whole.endswith(b"/"):
            found = self._open(whole, path, roots)
            if found is not None:
                return found
        for index in self._rules.index:
            found = self._open(whole.rstrip(b"/") + b"/" + index, f"{path.rstrip('/')}/{index.decode()}", roots)
            if found is not None:
                return found
        return None

    def _name(self, rest: str) -> bytes | None:
        """Return the name of a file below a directory, for the rest of a path; None if no such file is ever sent."""
        if not rest.startswith("/"):
            return None
        *parts, last = rest[1:].split("/")
        if (
            "\0" in rest
            or not all(parts)
            or any(part in (".", "..") or self._is_hidden(part) for part in (*parts, last))
        ):
            return None
        if not last and not self._rules.index:
            return None
        try:
            return rest[1:].encode("latin-1")  # latin-1 as PEP 3333 demands; file names are bytes
        except UnicodeEncodeError:
            return None

    def _open(self, name: bytes, path: str, roots: Set[str]) -> "_Found | None":
        """Open a file, if it may be sent.

        Raises:
            ApplicationError: there is no /proc.
        """
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
            if stat.S_ISREG(os.fstat(fd).st_mode) and self._may_be_sent(real, roots):
                return _Found(fd, name, real, path, roots)
        except OSError as error:  # the file's real place is unknown, so it is not sent
            posix.close(fd)
            raise ApplicationError(f"--static-map needs /proc to see where a file lies: {error.strerror}") from error
        posix.close(fd)
        return None

    def _may_be_sent(self, path: str, roots: Set[str]) -> bool:
        """Whether a file lies inside of the directories, and is not hidden there.

        Args:
            path: the file's real place; a link with a harmless name may lead to it.
            roots: real paths of the directories.
        """
        if path in roots:  # --static-map names this very file
            return True
        while path != "/":
            path, name = os.path.split(path)
            if self._is_hidden(name):
                return False
            if path in roots:
                return True
        return False

    def _is_hidden(self, name: str) -> bool:
        return not self._hidden and name.startswith(".") and name != _PUBLIC

    def _send(self, found: "_Found", environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Send a file, or its compressed variant."""
        fd, coding = found.fd, ""
        for name, ending in self._rules.codings(found.real, environ):
            variant = self._open(found.name + ending.encode(), found.path, found.roots)
            if variant is not None:
                posix.close(fd)
                fd, coding = variant.fd, name
                break
        status = os.fstat(fd)
        kind = self._rules.type_of(found.path)
        headers = [("Content-Type", kind)]
        if coding:
            headers.append(("Content-Encoding", coding))
        if self._rules.varies(found.real):
            headers.append(("Vary", "Accept-Encoding"))
        said = {
            Subject.FILE: found.real,
            Subject.PATH: environ.get("PATH_INFO", ""),
            Subject.URI: environ.get("REQUEST_URI", environ.get("PATH_INFO", "")),
            Subject.TYPE: kind,
        }
        headers += self._rules.expiry(said, status.st_mtime, time.time())
        return _respond(fd, status, headers, environ, start_response)


class _Found(NamedTuple):
    """An open file.

    Args:
        fd: its descriptor.
        name: its path as it was opened.
        real: its real path.
        path: of the request; for an index file, with its name.
        roots: in which its variants may lie.
    """

    fd: int
    name: bytes
    real: str
    path: str
    roots: Set[str]


def _respond(
    fd: int,
    status: os.stat_result,
    about: list[tuple[str, str]],
    environ: dict[str, Any],
    start_response: Callable[..., Any],
) -> Iterable[bytes]:
    """Respond with a file, a part of it, or the answer that it has not changed.

    Args:
        fd: of the file; it is closed in any case.
        status: of the file.
        about: the headers that depend on the rules.
    """
    size_bytes = status.st_size
    etag = f'"{status.st_mtime_ns:x}-{size_bytes:x}"'
    modified = formatdate(status.st_mtime, usegmt=True)
    headers = [
        *about,
        ("ETag", etag),
        ("Last-Modified", modified),
        ("Accept-Ranges", "bytes"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if _not_modified(environ, etag, int(status.st_mtime)):
        posix.close(fd)
        start_response("304 Not Modified", headers)
        return []
    span = _span(environ, etag, modified, size_bytes)
    if span is None:
        posix.close(fd)
        start_response(
            "416 Range Not Satisfiable", [("Content-Range", f"bytes */{size_bytes}"), ("Content-Length", "0")]
        )
        return []
    start, length = span
    if length == size_bytes:
        start_response("200 OK", [*headers, ("Content-Length", str(length))])
    else:
        start_response(
            "206 Partial Content",
            [
                *headers,
                ("Content-Range", f"bytes {start}-{start + length - 1}/{size_bytes}"),
                ("Content-Length", str(length)),
            ],
        )
    file = open(fd, "rb", buffering=0)  # noqa: SIM115  # the response closes it
    file.seek(start)
    return FileWrapper(file, left_bytes=length)


def _not_modified(environ: dict[str, Any], etag: str, modified_s: int) -> bool:
    """RFC 9110, 13.2.2: If-None-Match decides. If-Modified-Since counts only without it."""
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known is not None:
        return known.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    since: str = environ.get("HTTP_IF_MODIFIED_SINCE", "")
    try:
        return bool(since) and parsedate_to_datetime(since).timestamp() >= modified_s
    except ValueError:  # an invalid date is ignored: RFC 9110, 13.1.3
        return False


def _span(environ: dict[str, Any], etag: str, modified: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the part of the file that the client wants, as (start, length). The whole file, if the range is not
    understood; None if the range has no byte of the file."""
    wanted = _RANGE.fullmatch(environ.get("HTTP_RANGE", "").strip())
    if wanted is None or (wanted[1], wanted[2]) == (None, None):
        return 0, size_bytes
    if environ.get("HTTP_IF_RANGE", etag) not in (etag, modified):
        return 0, size_bytes
    if wanted[1] is None:  # the last bytes of the file
        length = min(int(wanted[2]), size_bytes)
        return (size_bytes - length, length) if length else None
    first, last = int(wanted[1]), int(wanted[2]) if wanted[2] else size_bytes - 1
    if wanted[2] and last < first:  # an invalid range is ignored: RFC 9110, 14.1.1
        return 0, size_bytes
    if first >= size_bytes:
        return None
    return first, min(last, size_bytes - 1) - first + 1
