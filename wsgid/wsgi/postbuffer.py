"""--post-buffering: the whole request body is read before the application is called, and wsgi.input is a file.

    body from the peer -> BytesIO up to the limit, a temporary file above it -> the application

Rules
* This is a WSGI application around the operator's application. Without the option it costs nothing.  The time-outs for
  bodies hold as usual: a read that waits longer than --socket-timeout ends, and a client that leaves within its body
  causes no call.
* As in uWSGI, the arrival of the body does not count as the application's time: --harakiri counts from the call.
* A body in chunks has a length afterwards: CONTENT_LENGTH replaces Transfer-Encoding (RFC 9112, 7.1.3).
* The temporary file has no name, so that a killed worker leaves no file behind.
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, Any

from wsgid.errors import NoRoomForBody
from wsgid.wsgi.filewrapper import FileWrapper

Application = Callable[..., Iterable[bytes]]

_BLOCK_BYTES = 64 * 1024


class PostBuffer:
    """An application that gets each body as a seekable file.

    Args:
        application: the operator's application.
        memory_bytes: the largest body that is kept in memory; a larger body goes into a file in TMPDIR.
        harakiri_s: the value of --harakiri in seconds; 0 without a limit.
    """

    def __init__(self, application: Application, memory_bytes: int, harakiri_s: float) -> None:
        self._application = application
        self._memory_bytes = memory_bytes
        self._harakiri_s = harakiri_s or float("inf")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Read the body, then call the application.

        Raises:
            ClientDisconnected: the client left within the body, or was silent for too long.
            NoRoomForBody: the temporary file cannot be written.
        """
        source = environ["wsgi.input"]
        if source.seekable():  # the body arrived with the head, or there is none
            return self._application(environ, start_response)
        environ["wsgid.harakiri"](float("inf"))
        stream, size_bytes = self._read(source, environ)
        environ["wsgi.input"] = stream
        environ["CONTENT_LENGTH"] = str(size_bytes)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["wsgid.harakiri"](self._harakiri_s)
        try:
            answer = self._application(environ, start_response)
        except BaseException:
            stream.close()
            raise
        return _closing(answer, stream)

    def _read(self, source: IO[bytes], environ: dict[str, Any]) -> tuple[IO[bytes], int]:
        """Read the body. Returns it as a file at its start, and its size in bytes."""
        announced = int(environ.get("CONTENT_LENGTH") or 0)
        stream: IO[bytes] = _open_file() if announced > self._memory_bytes else io.BytesIO()
        size_bytes = 0
        try:
            while block := source.read1(_BLOCK_BYTES):  # type: ignore[attr-defined]
                size_bytes += len(block)
                if size_bytes > self._memory_bytes and isinstance(stream, io.BytesIO):  # chunks have no size in advance
                    stream = _moved(stream)
                _write(stream, block)
            _write(stream, b"")
            stream.seek(0)
        except BaseException:
            _close(stream)
            raise
        return stream, size_bytes


def _closing(answer: Iterable[bytes], stream: IO[bytes]) -> Iterable[bytes]:
    """Return the answer, which closes the body at its end. Reference cycles of the application would keep the file
    open."""
    if type(answer) is list or (type(answer) is FileWrapper and answer.filelike is not stream):
        stream.close()
        return answer
    return (_Sized if hasattr(answer, "__len__") else _Closing)(answer, stream)


class _Closing:
    """Another iterable, and a file to close after it."""

    def __init__(self, answer: Iterable[bytes], stream: IO[bytes]) -> None:
        self._answer = answer
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self._stream.close()


class _Sized(_Closing):
    """The same, with a length: a response with one block gets its Content-Length from len() (PEP 3333)."""

    def __len__(self) -> int:
        return len(self._answer)  # type: ignore[arg-type]


def _open_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="wsgid-body-")
    except OSError as error:
        raise _no_room(error) from error


def _moved(memory: io.BytesIO) -> IO[bytes]:
    stream = _open_file()
    try:
        _write(stream, memory.getbuffer())
    except BaseException:
        _close(stream)
        raise
    return stream


def _write(stream: IO[bytes], block: bytes | memoryview) -> None:
    """Write a block; an empty block writes buffered bytes. A full disk is detected here, not in a read of the
    application."""
    try:
        if block:
            stream.write(block)
        else:
            stream.flush()
    except OSError as error:
        raise _no_room(error) from error


def _close(stream: IO[bytes]) -> None:
    with suppress(OSError):  # close() tries once more to write buffered bytes
        stream.close()


def _no_room(error: OSError) -> NoRoomForBody:
    return NoRoomForBody(
        f"a request body cannot be kept in the temporary directory ({error.strerror or error}): make room there, set "
        "TMPDIR to another directory, or raise --post-buffering, up to which a body is kept in memory"
    )
