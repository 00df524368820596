"""TLS's certificates and keys: from PEM files to a context for connections.

Rules
* They are read twice: by the command, so that whatever is wrong is said at once, in one sentence; and by each template
  as it starts, before privileges are dropped.  So a reload serves the renewed files, and a key may be root's alone.
* Once read, they are kept: a worker that is lent a socket later (--reuse-port) could not read them any more.
* TLS 1.2 and 1.3 (RFC 8996); what else is allowed is OpenSSL's business, and its configuration's.
* Nobody is asked for a passphrase: servers start unattended.
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
    """Read all files of the options: to see whether they can be used, and for what is forked later.

    Raises:
        ConfigError: one of them cannot.
    """
    for _, what in listen_spec.addresses(settings):
        if what.tls:
            context(what)


def shared(fd: int, values: dict[str, Any]) -> ListenSocket:
    """A listening socket for a worker, with the files as `read` has found them.

    Args:
        values: a Spoken, as JSON has carried it.
    """
    what = listen_spec.from_dict(values)
    return ListenSocket(fd, what, context(what) if what.tls else None)


@cache
def context(what: ListenSpec) -> ssl.SSLContext:
    """What a socket's TLS connections are made with.

    Raises:
        ConfigError: a file is missing, may not be read or has not what is expected.
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
                f"{option} finds no certificate in {files.client_ca}: it takes a PEM file of those who "
                "sign the clients'"
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
        f"{option} cannot use the key {path}: it has a passphrase, and nobody could be asked for it; "
        "store it without one, for root's eyes only"
    )


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not this certificate's"
    if error.reason in (None, "PEM lib", "NO_START_LINE", "PEM_LIB"):
        return "one of them is no such PEM file; the first begins with the server's certificate"
    return str(error.reason or error).replace("_", " ").lower()
