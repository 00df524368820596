"""How files of --static-map are sent: types, expiry, compressed variants, index files. The options are uWSGI's.

Rules
* --static-expires: the first rule that fits counts. The response gets Expires, and Cache-Control: max-age where the
  time counts from now.
* --static-gzip: a file that lies beside the wanted one, with .br or .gz behind its name, is sent with Content-Encoding
  to clients that accept this coding (RFC 9110, 12.5.3). Caches are told by Vary.
"""

import mimetypes
import re
from collections.abc import Sequence
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from wsgid.records import dataclass

_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_DEFAULT_TYPE = "application/octet-stream"
CODINGS = (("br", ".br"), ("gzip", ".gz"))  # the better one first


class Subject(StrEnum):
    """What the pattern of a rule is compared with."""

    FILE = "file"
    PATH = "path"
    URI = "uri"
    TYPE = "type"


@dataclass(frozen=True, slots=True)
class Expiry:
    """One --static-expires.

    Args:
        subject: see Subject.
        pattern: a regular expression; for TYPE the type itself.
        after_s: seconds until the response expires.
        from_mtime: whether they count from the file's change, and not from now.
    """

    subject: Subject
    pattern: re.Pattern[str]
    after_s: int
    from_mtime: bool


class StaticRules:
    """The rules of one server.

    Args:
        expires: (subject, pattern, seconds, whether they count from the file's change) of each rule.
        compressed: patterns of files that may have compressed variants.
        mime_files: paths of files such as /etc/mime.types.
        index: names of files that are sent for a directory.
        skipped: endings of paths that always go to the application.
        charset: of text files; empty for none, so that the file itself says it (`<meta charset>`).

    Raises:
        OSError: a file with types cannot be read.
    """

    def __init__(
        self,
        expires: Sequence[tuple[str, str, int, bool]] = (),
        compressed: Sequence[str] = (),
        mime_files: Sequence[str] = (),
        index: Sequence[str] = (),
        skipped: Sequence[str] = (),
        charset: str = "utf-8",
    ) -> None:
        self._charset = charset
        self._expires = [
            Expiry(Subject(subject), _pattern(subject, text), after_s, from_mtime)
            for subject, text, after_s, from_mtime in expires
        ]
        self._compressed = [re.compile(text) for text in compressed]
        self._types = mimetypes.MimeTypes(mime_files) if mime_files else mimetypes
        self.index = tuple(name.encode() for name in index)
        self.skipped = tuple(skipped)

    def codings(self, file: str, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the content codings that may be sent for a file, each with the ending of its variant."""
        if not any(pattern.search(file) for pattern in self._compressed):
            return []
        accepted = _accepted(environ.get("HTTP_ACCEPT_ENCODING", ""))
        return [(coding, ending) for coding, ending in CODINGS if coding in accepted]

    def varies(self, file: str) -> bool:
        """Whether other clients may get another variant of this file."""
        return any(pattern.search(file) for pattern in self._compressed)

    def type_of(self, path: str) -> str:
        """Return the Content-Type for a path, by its ending."""
        kind, encoding = self._types.guess_type(path)
        if encoding:  # the file itself is compressed; the client has not asked for a content coding
            return _COMPRESSED.get(encoding, _DEFAULT_TYPE)
        if kind and self._charset and kind.startswith("text/"):
            return f"{kind}; charset={self._charset}"
        return kind or _DEFAULT_TYPE

    def expiry(self, said: dict[Subject, str], modified_s: float, now_s: float) -> list[tuple[str, str]]:
        """Return the headers about the response's expiry.

        Args:
            said: what the patterns are compared with.
            modified_s: when the file was changed (epoch).
            now_s: the time (epoch).
        """
        for subject in Subject:
            for rule in self._expires:
                if rule.subject is subject and rule.pattern.search(said[subject]):
                    if rule.from_mtime:
                        return [("Expires", formatdate(modified_s + rule.after_s, usegmt=True))]
                    return [
                        ("Expires", formatdate(now_s + rule.after_s, usegmt=True)),
                        ("Cache-Control", f"max-age={rule.after_s}"),
                    ]
        return []


def _pattern(subject: str, text: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(text)}(;|$)") if subject == Subject.TYPE else re.compile(text)


def _accepted(header: str) -> set[str]:
    """Return the codings of an Accept-Encoding header that the client does not exclude by q=0."""
    accepted = set()
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight):
            accepted.add(coding.strip())
    return accepted
