"""The listening sockets of the server, as the master holds them: opened, lent to workers, handed over, closed.

Rules
* Sockets of the image before SIGUSR2 and sockets of systemd are kept. Other sockets that the options name are bound.
* The present options decide about the protocol of a socket.
* With --reuse-port, workers get their sockets by message. Otherwise they inherit the sockets from the template.
"""

import os
from collections.abc import Mapping, Sequence

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import ConfigError, ListenerError
from wsgid.ipc.channel import Channel
from wsgid.records import replace
from wsgid.sockets import listen_spec, listener
from wsgid.sockets.listen_spec import ListenSpec
from wsgid.sockets.listener import Listener
from wsgid.supervisor import upgrade
from wsgid.supervisor.reuse_port import ReusePort
from wsgid.supervisor.upgrade import HeldListener


class Listeners:
    """Holds the sockets.

    Args:
        opened: all sockets of the server.
        backlog: of further sockets.
    """

    def __init__(self, opened: Sequence[Listener], backlog: int) -> None:
        self.opened = list(opened)
        self._reuse_port = ReusePort(opened, backlog)

    @classmethod
    def open(cls, settings: Settings, held: Sequence[HeldListener]) -> "Listeners":
        """Open all sockets of the options and of systemd; keep sockets that are held already.

        Args:
            settings: the operator's settings.
            held: the sockets of the image before SIGUSR2.

        Raises:
            ListenerError: a socket cannot be opened; sockets that were bound before are closed and unlinked again.
            ConfigError: no option names a socket.
        """
        backlog = _backlog(settings)
        if settings.listen > backlog:
            log.warning(
                "--listen %d is more than the kernel allows: the backlog is %d; raise net.core.somaxconn",
                settings.listen,
                backlog,
            )
        wanted = list(listen_spec.addresses(settings))
        inherited = [*map(upgrade.hold, held), *listener.from_systemd(os.environ, backlog)]
        opened = [replace(each, spoken=_spoken_now(each, wanted)) for each in inherited]
        known = {each.spec: each for each in opened}
        try:
            for address, spoken in wanted:
                if address in known:
                    _warn_if_kept(known[address], settings)
                else:
                    opened += [replace(each, spoken=spoken) for each in _bind(address, backlog, settings)]
        except Exception:
            for earlier in opened[len(held) :]:
                earlier.unlink()
            raise
        if not opened:
            raise ConfigError("no socket to listen on: add --socket PATH for nginx, or --http HOST:PORT")
        return cls(opened, backlog)

    def inherited(self) -> list[Listener]:
        """Return the sockets that workers inherit from the template."""
        return [each for each in self.opened if not each.reuse_port]

    def lend(self, workers: Mapping[Channel, int | None]) -> None:
        """With --reuse-port: make sure that each socket has a worker.

        Args:
            workers: all workers with an open channel, and their seats; None for those that do not serve.
        """
        self._reuse_port.deal(workers)

    def grow(self, workers: int) -> None:
        """With --reuse-port: have a socket of each address for this number of workers."""
        try:
            self.opened += self._reuse_port.grow(workers)
        except ListenerError as error:
            log.error("%s: the workers share the sockets that are there", error)

    def held(self) -> tuple[HeldListener, ...]:
        """Return what the next image of the master needs to know (SIGUSR2)."""
        return tuple(
            HeldListener(
                each.socket.fileno(),
                each.spec,
                each.address,
                str(each.path or ""),
                each.identity,
                each.spoken,
                each.reuse_port,
            )
            for each in self.opened
        )

    def unlink(self) -> None:
        """Remove the socket files that are still ours."""
        for each in self.opened:
            each.unlink()

    def close(self) -> None:
        """Close the sockets. Unlink first: then nginx gets a clean refusal, and the workers empty the backlog."""
        for each in self.opened:
            each.close()


def _backlog(settings: Settings) -> int:
    """Return the backlog that is wanted, as far as the kernel allows it."""
    return min(settings.listen or listener.BACKLOG_WANTED, listener.allowed_backlog())


def _bind(address: str, backlog: int, settings: Settings) -> list[Listener]:
    """Bind the sockets of an address; several with --reuse-port. Raises ListenerError."""
    beside = [*(other for other, _ in listen_spec.addresses(settings)), settings.stats, settings.metrics]
    if settings.reuse_port:
        return listener.open_shares(address, backlog, settings.workers, beside)
    owner = settings.socket_owner if os.geteuid() == 0 else settings.chown_socket  # only root may give a file away
    ownership = listener.Ownership(settings.chmod_socket, *owner)
    return [listener.open_listener(address, backlog, ownership, beside)]


def _spoken_now(opened: Listener, wanted: list[tuple[str, ListenSpec]]) -> ListenSpec:
    """Return the protocol by the present options: an inherited socket may carry old protocol settings."""
    named = [spoken for address, spoken in wanted if address == opened.spec]
    return opened.spoken if opened.spoken in named or not named else named[0]


def _warn_if_kept(held: Listener, settings: Settings) -> None:
    if held.reuse_port is not settings.reuse_port:
        log.warning(
            "%s stays as it was bound: --reuse-port begins and ends with a restart, not with SIGUSR2", held.address
        )
