"""Listening sockets: bind or inherit them, set mode and owner, unlink them when the server ends.

Rules
* An existing socket file is replaced only if nobody listens on it. A file is unlinked only if it is still the file that
  we have made (same device and inode), because a newer server may have replaced it.
* Inherited sockets (fd://N, systemd's LISTEN_FDS) belong to the program that made them. They are never chmod'ed and
  never unlinked.
* The master binds all sockets before any privilege is dropped. Workers inherit only file descriptors.
* [::] also serves IPv4, as with gunicorn and uWSGI, unless the options also name an IPv4 address with the same port.
"""

import errno
import os
import re
import socket
import stat
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wsgid import log
from wsgid.errors import ListenerError
from wsgid.linux import listen_queue, safefiles
from wsgid.linux.listen_queue import ListenQueue
from wsgid.sockets.listen_spec import ListenSpec

BACKLOG_WANTED = 4096
_SYSTEMD_FIRST_FD = 3  # sd_listen_fds(3)
_PATH_MAX_BYTES = 107  # unix(7): sun_path has 108 bytes with the final NUL
_TCP = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^:/]*):(?P<port>[0-9]{1,5})")
_ALL_IPV6 = ("::", "0::0", "::0", "0:0:0:0:0:0:0:0")


@dataclass(frozen=True, slots=True)
class Ownership:
    """Mode and owner of a new socket file; None leaves the result of umask and process."""

    mode: int | None = None
    uid: int = -1
    gid: int = -1


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and what is known of it."""

    socket: socket.socket
    address: str  # the address that it is bound to
    spec: str  # as the operator wrote it
    path: Path | None = None  # the socket file, if we have made one
    identity: tuple[int, int] = (0, 0)  # its device and inode
    spoken: ListenSpec = ListenSpec()  # the protocol of the peers
    reuse_port: bool = False  # one of several sockets with the same address

    def queue(self) -> ListenQueue | None:
        """Return how many connections wait to be accepted, and how many can; None if unknown."""
        return listen_queue.of(self.socket)

    def unlink(self) -> None:
        """Remove the socket file, if it is still ours. A failure is logged; the next start then removes the file."""
        if self.path is None:
            return
        try:
            if _identity(self.path) == self.identity:
                self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("the socket file %s cannot be removed: %s", self.path, error.strerror)

    def close(self) -> None:
        """Unlink, then close: who connects in between would wait for nobody."""
        self.unlink()
        with suppress(OSError):
            self.socket.close()


def open_listener(address: str, backlog: int, ownership: Ownership, beside: Sequence[str] = ()) -> Listener:
    """Bind and listen.

    Args:
        address: a path, `host:port`, `:port` (all IPv4 interfaces), `[::]:port` (all interfaces), `[::1]:port`,
            `@name` (abstract), or `fd://N`.
        backlog: how many connections may wait to be accepted.
        ownership: of the socket file, if the address is a path.
        beside: all addresses that this server listens on.

    Raises:
        ListenerError: with the address, the reason and the remedy.
    """
    try:
        return _open(address, backlog, ownership, beside)
    except OSError as error:  # from any call: for example, no descriptor is left
        raise ListenerError(f"cannot listen on {address}: {_reason(error)}") from error


def _open(address: str, backlog: int, ownership: Ownership, beside: Sequence[str]) -> Listener:
    """Do the work of `open_listener`. Raises ListenerError and OSError."""
    if address.startswith("fd://"):
        return inherit(address.removeprefix("fd://"), backlog)
    tcp = _TCP.fullmatch(address)
    if tcp is not None:
        return _open_tcp(_Wanted.of(address, beside), backlog)
    if address.startswith("@"):
        return _open_abstract(address, backlog)
    if address.isdigit():
        raise ListenerError(
            f"cannot listen on {address}: a number alone is no address; write 127.0.0.1:{address} or :{address} for a "
            f"port, or ./{address} for a socket file"
        )
    return _open_unix(address, backlog, ownership)


def open_shares(address: str, backlog: int, count: int, beside: Sequence[str] = ()) -> list[Listener]:
    """Bind and listen `count` times on one TCP address. The kernel spreads connections over the sockets (socket(7),
    SO_REUSEPORT).

    Args:
        address: `host:port` or one of its forms.
        backlog: of each socket.
        count: number of sockets.
        beside: all addresses that this server listens on.

    Raises:
        ListenerError: another server listens there, or the address is not a TCP address.
    """
    if _TCP.fullmatch(address) is None:
        raise ListenerError(
            f"--reuse-port cannot be used on {address}: SO_REUSEPORT is for TCP; name a host:port, or "
            "leave --reuse-port out"
        )
    try:
        return _open_shares(_Wanted.of(address, beside), backlog, count)
    except OSError as error:
        raise ListenerError(f"cannot listen on {address}: {_reason(error)}") from error


def _open_shares(wanted: "_Wanted", backlog: int, count: int) -> list[Listener]:
    """Do the work of `open_shares`. Raises ListenerError and OSError."""
    _probe(wanted)
    first = _open_tcp(replace(wanted, reuse_port=True), backlog)
    return [first, *(open_share(first, backlog) for _ in range(count - 1))]


def open_share(other: Listener, backlog: int) -> Listener:
    """Open one more socket on the address of a socket that was opened with SO_REUSEPORT.

    Args:
        other: the first socket.
        backlog: of the new socket.

    Raises:
        ListenerError: the kernel refused.
    """
    host, _, port = other.address.rpartition(":")
    try:
        v6_only = other.socket.family == socket.AF_INET6 and bool(
            other.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        )
        made = _open_tcp(_Wanted(other.address, host.strip("[]"), int(port), v6_only, reuse_port=True), backlog)
    except OSError as error:
        raise ListenerError(f"cannot listen on {other.address}: {_reason(error)}") from error
    return replace(made, spec=other.spec, spoken=other.spoken)


def allowed_backlog() -> int:
    """Return net.core.somaxconn: listen(2) silently cuts a larger backlog down to it."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError, TypeError):  # TypeError: Python's codecs raise it at EAGAIN
        return socket.SOMAXCONN


def from_systemd(environ: MutableMapping[str, str], backlog: int) -> list[Listener]:
    """Return the sockets that systemd has passed to this process (sd_listen_fds(3)), and remove its variables.

    Args:
        environ: of this process; LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES are removed.
        backlog: of each socket.

    Raises:
        ListenerError: a socket cannot be used, or LISTEN_FDS is no number.
    """
    pid, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS")
    if pid != str(os.getpid()) or count is None:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if not re.fullmatch("[0-9]{1,4}", count):
        raise ListenerError(f"LISTEN_FDS is {count!r}, not a number of sockets: let systemd set it, or unset it")
    return [inherit(str(fd), backlog) for fd in range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + int(count))]


def inherited_fds(environ: Mapping[str, str], addresses: Iterable[str]) -> set[int]:
    """Return the descriptors that another program has opened for us: those of fd://N and of systemd."""
    numbers = [address.removeprefix("fd://") for address in addresses if address.startswith("fd://")]
    count = environ.get("LISTEN_FDS", "") if environ.get("LISTEN_PID") == str(os.getpid()) else ""
    systemd = range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + int(count)) if count.isdecimal() else ()
    return {int(number) for number in numbers if number.isdecimal()} | set(systemd)


def inherit(number: str, backlog: int) -> Listener:
    """Return a listener for a socket that another program has bound.

    Args:
        number: of the descriptor, as text.
        backlog: of the socket.

    Raises:
        ListenerError: the descriptor is no stream socket.
    """
    try:
        inherited = socket.socket(fileno=int(number))
        if inherited.type != socket.SOCK_STREAM:
            inherited.close()
            raise ListenerError(f"fd://{number} is no stream socket: pass a SOCK_STREAM socket")
        if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            inherited.listen(backlog)
    except (OSError, ValueError) as error:
        raise ListenerError(f"fd://{number} cannot be used: {error}; pass an open, bound stream socket") from error
    inherited.setblocking(False)
    inherited.set_inheritable(False)
    return Listener(inherited, f"fd://{number}", f"fd://{number}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A TCP address that shall be bound.

    Args:
        address: as the operator wrote it.
        host: a name or a number, without brackets.
        port: 0 for any free port.
        v6_only: whether an IPv6 address leaves IPv4 alone (ipv6(7), IPV6_V6ONLY).
        reuse_port: whether other sockets may listen on it too (socket(7), SO_REUSEPORT).
    """

    address: str
    host: str
    port: int
    v6_only: bool = True
    reuse_port: bool = False

    @classmethod
    def of(cls, address: str, beside: Sequence[str]) -> "_Wanted":
        host, port = _split(address)
        return cls(address, host, port, host not in _ALL_IPV6 or _has_ipv4(port, beside))


def _split(address: str) -> tuple[str, int]:
    tcp = _TCP.fullmatch(address)
    assert tcp is not None
    return tcp["host"].strip("[]") or "0.0.0.0", int(tcp["port"])


def _has_ipv4(port: int, addresses: Sequence[str]) -> bool:
    """Whether one of these addresses is an IPv4 address, or a name, with this port."""
    split = [_split(address) for address in addresses if _TCP.fullmatch(address)]
    return port != 0 and any(other == port and ":" not in host for host, other in split)


def _open_tcp(wanted: _Wanted, backlog: int) -> Listener:
    bound = _bind_tcp(wanted)
    try:
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise ListenerError(f"cannot listen on {wanted.address}: {_reason(error)}") from error
    bound.setblocking(False)
    name = bound.getsockname()
    shown = f"[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
    return Listener(bound, shown, wanted.address, reuse_port=wanted.reuse_port)


def _bind_tcp(wanted: _Wanted) -> socket.socket:
    address = wanted.address
    if wanted.port > 65535:  # getaddrinfo would take it modulo 65536
        raise ListenerError(f"cannot listen on {address}: a port is at most 65535")
    # As bytes: for text, Python would first import a codec (idna), and that import can fail.
    name = wanted.host.encode() if wanted.host.isascii() else wanted.host
    try:
        found = socket.getaddrinfo(name, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenerError(f"cannot listen on {address}: {error.strerror}; check the host name") from error
    # A name such as localhost may have addresses of both families. IPv4 is taken, as with gunicorn and uWSGI.
    family, kind, protocol, _, target = min(found, key=lambda info: info[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted.reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(wanted.v6_only))
        # Accepted sockets inherit this (tcp(7)). A response of several blocks must not wait for acknowledgements.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(target)
    except OSError as error:
        bound.close()
        raise ListenerError(f"cannot listen on {address}: {_reason(error)}") from error
    return bound


def _probe(wanted: _Wanted) -> None:
    """Check that no other server listens there. With SO_REUSEPORT the kernel would not refuse: another server of the
    same user would get a part of our connections."""
    _bind_tcp(wanted).close()


def _open_unix(address: str, backlog: int, ownership: Ownership) -> Listener:
    path = Path(address.removeprefix("unix:")).absolute()
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise ListenerError(f"cannot listen on {path}: the path is longer than {_PATH_MAX_BYTES} bytes; shorten it")
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file gets its final mode at once. Between bind and a later chmod, anybody could connect.
    umask = os.umask(0o777 & ~ownership.mode) if ownership.mode is not None else None
    made = False
    try:
        bound.bind(os.fspath(path))
        made = True
        if (ownership.uid, ownership.gid) != (-1, -1):
            safefiles.chown_socket(os.fspath(path), ownership.uid, ownership.gid)
        bound.listen(backlog)
        bound.setblocking(False)
        return Listener(bound, os.fspath(path), address, path, _identity(path))
    except OSError as error:
        bound.close()
        if made:
            path.unlink(missing_ok=True)
        raise ListenerError(f"cannot listen on {path}: {_reason(error)}") from error
    finally:
        if umask is not None:
            os.umask(umask)


def _open_abstract(address: str, backlog: int) -> Listener:
    """Bind an abstract name (unix(7)). There is no file, so there is no mode or owner: every process in this network
    namespace can connect."""
    name = b"\0" + os.fsencode(address[1:])
    if not 1 < len(name) <= _PATH_MAX_BYTES:
        raise ListenerError(f"cannot listen on {address}: a name has 1 to {_PATH_MAX_BYTES - 1} bytes")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(name)
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise ListenerError(f"cannot listen on {address}: {_reason(error)}") from error
    bound.setblocking(False)
    return Listener(bound, address, address)


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}; {_REMEDIES.get(error.errno or 0, 'check the address')}"


_REMEDIES = {
    errno.EADDRINUSE: "stop the other server or choose another address",
    errno.EADDRNOTAVAIL: "the address is not of this machine",
    errno.EACCES: "give this user the right to it or choose another address",
    errno.EPERM: "start as root or leave the owner as it is",
    errno.ENOENT: "create the directory first",
    errno.ENOTDIR: "a part of the path is no directory",
    errno.EROFS: "choose a writable directory",
    errno.EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "raise fs.file-max (sysctl)",
    errno.ENOMEM: "give this machine, or this service, more memory",
    errno.ENOBUFS: "give this machine, or this service, more memory",
}


def _remove_stale(path: Path) -> None:
    """Unlink a socket file on which nobody listens.

    Raises:
        ListenerError: the socket is in use, or the file is no socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenerError(f"cannot listen on {path}: the file there is no socket; move it away")
    except OSError:
        return  # nothing is there, or bind reports the error better
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog answers EAGAIN: that is a live listener too
        try:
            probe.connect(os.fspath(path))
            pid = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")
            holder = f"process {pid}"
        except BlockingIOError:
            holder = "a busy process"
        except ConnectionRefusedError:
            _unlink_stale(path)
            return
        except OSError as error:
            raise ListenerError(f"cannot listen on {path}: cannot tell whether it is in use: {error}") from error
    raise ListenerError(f"cannot listen on {path}: {holder} listens on it; stop that server or choose another path")


def _unlink_stale(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ListenerError(
            f"cannot listen on {path}: the socket file of an earlier server cannot be removed: "
            f"{error.strerror}; remove it, or give this user the right to"
        ) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
