"""What is spoken on each listening socket: the options say it, and it goes with the socket from the master to a worker.

    option -> addresses -> listener.Listener -> (USR2: upgrade.HeldListener) -> control.Boot -> template -> pipeline

Rules
* One value says all of it; nobody asks the options again.
* It is JSON by dataclasses.asdict, and comes back by `from_dict`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from wsgid.config.options import Settings


class WireProtocol(StrEnum):
    UWSGI = "uwsgi"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files.

    Args:
        certificate: of the server, and those between it and the authority.
        key: of the certificate.
        client_ca: who signs the clients' certificates, which are demanded then; empty: none is asked for.
    """

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """What the peers of a socket speak.

    Args:
        protocol: of the requests.
        tls: what it is wrapped in, if it is.
        proxied: whether a PROXY header comes before all that.
    """

    protocol: WireProtocol = WireProtocol.UWSGI
    tls: TlsFiles | None = None
    proxied: bool = False

    @property
    def option(self) -> str:
        """The option that asks for it, for the operator."""
        if self.protocol is WireProtocol.HTTP:
            return "--https" if self.tls else "--http"
        return "--ssl-socket" if self.tls else "--socket"


class ListenSocket(NamedTuple):
    """A listening socket as the template hands it to its workers."""

    fd: int
    spoken: ListenSpec
    context: Any = None  # ssl.SSLContext, if it has TLS


def addresses(settings: Settings) -> Iterator[tuple[str, ListenSpec]]:
    """Every address of the command line, and what is spoken there."""
    proxied = settings.proxy_protocol
    for address in settings.socket:
        yield address, ListenSpec()
    for address in settings.http:
        yield address, ListenSpec(WireProtocol.HTTP, None, proxied)
    for address, *files in settings.https:
        yield address, ListenSpec(WireProtocol.HTTP, TlsFiles(*files), proxied)
    for address, *files in settings.ssl_socket:
        yield address, ListenSpec(WireProtocol.UWSGI, TlsFiles(*files))


def from_dict(values: dict[str, Any]) -> ListenSpec:
    """What `dataclasses.asdict` and JSON have carried to another process."""
    tls = values["tls"]
    return ListenSpec(WireProtocol(values["protocol"]), TlsFiles(**tls) if tls else None, values["proxied"])
