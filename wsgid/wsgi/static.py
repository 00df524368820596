"""Files beside the application: --static-map /static=DIR.

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

import mimetypes
import os
import posix
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from wsgid.errors import ApplicationError
from wsgid.wsgi.filewrapper import FileWrapper

Application = Callable[..., Iterable[bytes]]

_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?")
_METHODS = frozenset({"GET", "HEAD"})
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_DEFAULT_TYPE = "application/octet-stream"
_PUBLIC = ".well-known"


class StaticMaps:
    """An application that sends files, and passes all other requests to another application.

    Args:
        application: the other application.
        maps: (prefix of PATH_INFO, directory) pairs; the first pair that has the file counts.
        safe: further directories into which symbolic links may lead.
        hidden: whether to send files under names that begin with a dot.
    """

    def __init__(
        self, application: Application, maps: Sequence[tuple[str, str]], safe: Sequence[str], hidden: bool = False
    ) -> None:
        self._application = application
        self._hidden = hidden
        self._maps = [(prefix.rstrip("/") + "/", os.path.abspath(directory)) for prefix, directory in maps]
        self._roots = {os.path.realpath(directory) for directory in [*(each for _, each in maps), *safe]}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ.get("PATH_INFO", "")
        if environ.get("REQUEST_METHOD") in _METHODS:
            for prefix, directory in self._maps:
                if path.startswith(prefix):
                    fd = self._open(directory, path[len(prefix) :])
                    if fd >= 0:
                        return _send(fd, path, environ, start_response)
        return self._application(environ, start_response)

    def _open(self, directory: str, rest: str) -> int:
        """Return the descriptor of the file; -1 if there is no file that may be sent."""
        parts = rest.split("/")
        if "\0" in rest or not all(parts) or "." in parts or ".." in parts:
            return -1
        if any(self._is_hidden(part) for part in parts):
            return -1
        try:
            name = rest.encode("latin-1")  # latin-1 as PEP 3333 demands; file names are bytes
            fd = os.open(os.fsencode(directory) + b"/" + name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, UnicodeEncodeError):
            return -1
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode) and self._may_be_sent(os.readlink(f"/proc/self/fd/{fd}")):
                return fd
        except OSError as error:  # the file's real place is unknown, so it is not sent
            posix.close(fd)
            raise ApplicationError(f"--static-map needs /proc to see where a file lies: {error.strerror}") from error
        posix.close(fd)
        return -1

    def _may_be_sent(self, path: str) -> bool:
        """Whether a file lies inside of the directories, and is not hidden there.

        Args:
            path: the file's real place; a link with a harmless name may lead to it.
        """
        while path != "/":
            path, name = os.path.split(path)
            if self._is_hidden(name):
                return False
            if path in self._roots:
                return True
        return False

    def _is_hidden(self, name: str) -> bool:
        return not self._hidden and name.startswith(".") and name != _PUBLIC


def _send(fd: int, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = os.fstat(fd)
    size_bytes = status.st_size
    etag = f'"{status.st_mtime_ns:x}-{size_bytes:x}"'
    modified = formatdate(status.st_mtime, usegmt=True)
    headers = [
        ("Content-Type", _type(path)),
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


def _type(path: str) -> str:
    kind, encoding = mimetypes.guess_type(path)
    if encoding:  # the file itself is compressed; the client has not asked for a content coding
        return _COMPRESSED.get(encoding, _DEFAULT_TYPE)
    if kind and kind.startswith("text/"):
        return f"{kind}; charset=utf-8"
    return kind or _DEFAULT_TYPE


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
