"""Certificates and keys for TLS: from PEM files to a context for connections.

Rules
* The files are read twice. The command reads them first, so that an error is reported at once, in one sentence.  Each
  template reads them again as it starts, before privileges are dropped.  So a reload serves renewed files, and only
  root need be able to read the key.
* The contents are kept in memory, because a worker that gets a socket later (--reuse-port) could not read the files.
* Only TLS 1.2 and 1.3 are allowed (RFC 8996). OpenSSL and its configuration decide about everything else.
* A key with a passphrase is refused: servers start unattended.
"""

import ssl
from functools import cache
from pathlib import Path
from typing import Any

from wsgid.config.options import Settings
from wsgid.errors import ConfigError
from wsgid.sockets import listen_spec
from wsgid.sockets.listen_spec import ListenSocket, ListenSpec, WireProtocol


def read(settings: Settings) -> None:
    """Read all files that the options name: to check them, and to keep them for processes that are forked later.

    Args:
        settings: of the server.

    Raises:
        ConfigError: a file cannot be used.
    """
    for _, what in listen_spec.addresses(settings):
        if what.tls:
            context(what)


def shared(fd: int, values: dict[str, Any]) -> ListenSocket:
    """Return a listening socket for a worker, with the files as `read` has found them.

    Args:
        fd: of the socket; the result owns it.
        values: a ListenSpec as a dict, as JSON has carried it.
    """
    what = listen_spec.from_dict(values)
    return ListenSocket(fd, what, context(what) if what.tls else None)


@cache
def context(what: ListenSpec) -> ssl.SSLContext:
    """Return the SSL context for connections of a socket.

    Args:
        what: the socket's ListenSpec, with TLS.

    Raises:
        ConfigError: a file is missing, cannot be read, or has the wrong content.
    """
    files, option = what.tls, what.option
    assert files
    for path in filter(None, (files.certificate, files.key, files.client_ca)):
        _see(path, option)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        made.load_cert_chain(files.certificate, files.key, lambda: _no_passphrase(files.key, option))
    except ssl.SSLError as error:
        raise ConfigError(
            f"{option} cannot use the certificate {files.certificate} with the key {files.key}: {_reason(error)}"
        ) from error
    if files.client_ca:
        try:
            made.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{option} finds no certificate in {files.client_ca}: name a PEM file with the "
                "certificates that sign the clients' certificates"
            ) from error
        made.verify_mode = ssl.CERT_REQUIRED
    if what.protocol is WireProtocol.HTTP:
        made.set_alpn_protocols(["http/1.1"])
    return made


def _see(path: str, option: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} cannot read {path}: {error.strerror}; name a PEM file that this user may read"
        ) from error


def _no_passphrase(path: str, option: str) -> str:
    raise ConfigError(
        f"{option} cannot use the key {path}: it has a passphrase, and the server starts unattended; "
        "store it without a passphrase, readable by root only"
    )


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if error.reason in (None, "PEM lib", "NO_START_LINE", "PEM_LIB"):
        return "one of them is no valid PEM file; the certificate file begins with the server's certificate"
    return str(error.reason or error).replace("_", " ").lower()
