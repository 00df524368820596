"""How wsgidctl finds a server, and what it says of one that does not answer as a server does."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from wsgid.ctl import client
from wsgid.ctl.client import CtlError, NoAnswer, NobodyThere, Server


@contextmanager
def listening(path: Path, answer: Callable[[socket.socket], None] = lambda connection: None) -> Iterator[None]:
    """A program that listens on this path, and treats its first connection in this way."""

    def serve() -> None:
        with suppress(OSError):  # nobody has connected, or the client has left
            connection, _ = listener.accept()
            with connection:
                answer(connection)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
        thread.join()
    path.unlink()


def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CtlError, match=r"/missing cannot be read: No such file or directory$"):
        client._in_directory(tmp_path / "missing")


def test_only_sockets_are_servers_and_their_order_is_that_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "file.ctl").write_text("")
    (tmp_path / "link.ctl").symlink_to("b.ctl")
    with listening(tmp_path / "b.ctl"), listening(tmp_path / "a.ctl"), listening(tmp_path / "other.sock"):
        assert client._sockets_in(tmp_path) == [tmp_path / "a.ctl", tmp_path / "b.ctl"]
        with pytest.raises(CtlError, match=rf"several .*: a\.ctl \(process {os.getpid()}\), b\.ctl .*--control"):
            client._in_directory(tmp_path)


def test_a_process_with_several_control_sockets_is_an_error_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(os.getpid()))
    with (
        listening(tmp_path / "a.ctl"),
        listening(tmp_path / "b.ctl"),
        pytest.raises(CtlError, match=rf"process {os.getpid()} listens on several: name one of \S+/a\.ctl, \S+/b\.ctl"),
    ):
        client.find(pidfile=str(tmp_path / "pid"))


def test_a_server_that_cuts_the_connection_or_says_nothing_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "app.ctl"

    def reset(connection: socket.socket) -> None:
        """Close with unread bytes: the client's next recv fails with ECONNRESET."""
        connection.recv(1)

    with listening(path, reset), pytest.raises(NoAnswer, match="cut the connection: it has just ended"):
        Server(path).ask("status")
    with listening(path, lambda connection: None), pytest.raises(CtlError):
        Server(path).ask("status")
    with listening(path, lambda connection: connection.sendall(b"{}")), pytest.raises(CtlError):
        Server(path).ask("status")


def test_an_answer_that_comes_a_byte_at_a_time_ends_at_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "app.ctl"

    def drip(connection: socket.socket) -> None:
        while True:  # until the client has left
            connection.sendall(b" ")

    with listening(path, drip), pytest.raises(NoAnswer, match=r"no answer came from .* within 0\.05 s"):
        Server(path).ask("status", patience_s=0.05)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (TimeoutError(), NoAnswer, "takes no connection: it is stopped or overloaded"),
        (BlockingIOError(), NoAnswer, "takes no connection: it is stopped or overloaded"),
        (PermissionError(), CtlError, "belongs to somebody else"),
        (FileNotFoundError(), NobodyThere, "is the server running"),
        (OSError(24, "Too many open files"), CtlError, "cannot be asked: Too many open files"),
    ],
)
def test_each_refusal_of_a_connection_has_its_sentence(
    tmp_path: Path, error: OSError, kind: type[CtlError], sentence: str
) -> None:
    failure = client._failure(tmp_path / "app.ctl", error)
    assert type(failure) is kind and sentence in str(failure)


def test_a_user_without_a_name_is_shown_by_number() -> None:
    assert client._user_name(0) == "root"
    assert client._user_name(4_294_000_000) == "4294000000"
