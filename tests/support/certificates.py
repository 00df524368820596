"""Certificates for the tests of TLS: an authority, the certificates that it signs, and the options that name the
files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass
class Authority:
    """An authority that signs certificates, with the PEM files of these certificates."""

    ca: trustme.CA
    directory: Path

    def __post_init__(self) -> None:
        self.ca.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        self.issue("server", "localhost", "127.0.0.1")
        self.issue("visitor", "visitor@example.org", common_name="Žofie, the visitor", organization_name="Visitors")

    def issue(
        self, name: str, *identities: str, common_name: str | None = None, organization_name: str | None = None
    ) -> bytes:
        """Write NAME.crt and NAME.key. Returns the certificate in the form of ssl.SSLSocket.getpeercert."""
        issued = self.ca.issue_cert(*identities, common_name=common_name, organization_name=organization_name)
        issued.private_key_pem.write_to_path(str(self.directory / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(self.directory / f"{name}.crt"))
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def context(self, shows: str = "") -> ssl.SSLContext:
        """The TLS context of a client that trusts this authority."""
        made = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        if shows:
            made.load_cert_chain(self.directory / f"{shows}.crt", self.directory / f"{shows}.key")
        return made


def files(authority: Authority, *more: str, name: str = "server") -> str:
    here = authority.directory
    return ",".join(["127.0.0.1:0", *(f"{here}/{file}" for file in (f"{name}.crt", f"{name}.key", *more))])
