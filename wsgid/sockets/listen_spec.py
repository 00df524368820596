"""The protocol of each listening socket. The options define it; the master passes it with the socket to the workers.

    option -> addresses -> Listener -> (USR2: upgrade.HeldListener) -> messages.Boot -> template -> dispatcher

Rules
* One ListenSpec holds everything; no later code asks the options again.
* A ListenSpec becomes JSON by `asdict`, and an object again by `from_dict`.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from wsgid.config.options import Settings
from wsgid.records import dataclass


class WireProtocol(StrEnum):
    """The protocol of the requests."""

    UWSGI = "uwsgi"
    HTTP = "http"


class ProxyHeader(StrEnum):
    """Whether a PROXY header comes first on a connection."""

    NONE = "none"
    REQUIRED = "required"  # --proxy-protocol: from the trusted peers only
    OPTIONAL = "optional"  # --http-enable-proxy-protocol: from any peer, as in uWSGI


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a socket.

    Args:
        certificate: the server's certificate, followed by intermediate certificates.
        key: of the certificate.
        client_ca: certificates of those who sign client certificates; then clients must show one. Empty: clients need
            none.
    """

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """What the peers of a socket send.

    Args:
        protocol: of the requests.
        tls: the files, if connections are encrypted by TLS.
        proxied: whether a PROXY header comes first.
    """

    protocol: WireProtocol = WireProtocol.UWSGI
    tls: TlsFiles | None = None
    proxied: ProxyHeader = ProxyHeader.NONE

    @property
    def option(self) -> str:
        """The option that asks for this protocol, as the operator knows it."""
        if self.protocol is WireProtocol.HTTP:
            return "--https" if self.tls else "--http"
        return "--ssl-socket" if self.tls else "--socket"


class ListenSocket(NamedTuple):
    """A listening socket as the template hands it to its workers."""

    fd: int
    spoken: ListenSpec
    context: Any = None  # ssl.SSLContext, for TLS


def addresses(settings: Settings) -> Iterator[tuple[str, ListenSpec]]:
    """Yield every address of the settings with its ListenSpec."""
    proxied = ProxyHeader.OPTIONAL if settings.http_enable_proxy_protocol else ProxyHeader.NONE
    proxied = ProxyHeader.REQUIRED if settings.proxy_protocol else proxied
    spoken = WireProtocol(settings.socket_protocol)
    for address in settings.socket:
        yield address, ListenSpec(spoken, None, proxied if spoken is WireProtocol.HTTP else ProxyHeader.NONE)
    for address in settings.http:
        yield address, ListenSpec(WireProtocol.HTTP, None, proxied)
    for address, *files in settings.https:
        yield address, ListenSpec(WireProtocol.HTTP, TlsFiles(*files), proxied)
    for address, *files in settings.ssl_socket:
        yield address, ListenSpec(WireProtocol.UWSGI, TlsFiles(*files))


def from_dict(values: dict[str, Any]) -> ListenSpec:
    """Return a ListenSpec from a dict that was made by `asdict` and carried by JSON."""
    tls = values["tls"]
    proxied = ProxyHeader(values["proxied"])
    return ListenSpec(WireProtocol(values["protocol"]), TlsFiles(**tls) if tls else None, proxied)
