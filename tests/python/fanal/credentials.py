"""Who one is and whom one trusts: the credentials file and certificates (PROTOCOL.md 2.2).

1. The other side's certificate must chain to a known CA and be valid now; aioquic has that checked by
   OpenSSL during the handshake. Key usage and role are checked here, before a frame is sent.
2. Host names mean nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from .errors import BadCertificate

_ROLE: Final = re.compile(r"fanal://(client|broker)/([A-Za-z0-9._-]{1,128})")


@dataclass(frozen=True)
class Credentials:
    """One identity and the broker that it dials. Certificates and key are PEM; without a certificate
    none is shown."""

    addresses: tuple[tuple[str, int], ...]
    ca: str
    certificate: str | None
    key: str | None
    broker: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> Credentials:
        """Reads a credentials file, such as `fanal-data/local.json`; of a directory, that file in it."""
        path = Path(path)
        file = path / "local.json" if path.is_dir() else path
        members = json.loads(file.read_text())
        return cls(
            addresses=tuple(_address(text) for text in members["addresses"]),
            ca=members["ca"],
            certificate=members["certificate"],
            key=members["key"],
            broker=members.get("broker"),
        )

    def with_identity(self, certificate: str | None, key: str | None) -> Credentials:
        """The same broker, dialled by another."""
        return replace(self, certificate=certificate, key=key)


@dataclass(frozen=True)
class Role:
    """What a certificate says that its holder is."""

    kind: str
    name: str


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate in DER."""
    return certificate.fingerprint(hashes.SHA256())


def role_of(certificate: x509.Certificate) -> Role:
    """The one role that `certificate` names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise BadCertificate("the certificate has no subject alternative name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    roles = [match for uri in uris if (match := _ROLE.fullmatch(uri))]
    if len(roles) != 1:
        raise BadCertificate(f"{len(roles)} names of the form fanal://…, exactly one must be there")
    return Role(*roles[0].groups())


def check_dialled(certificate: x509.Certificate, broker: str | None) -> None:
    """Checks what the dialled side shows: role broker, usable by a server, and the name if one is given."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = None
    if usages is not None and ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        raise BadCertificate("the certificate may not be used by a server")
    role = role_of(certificate)
    if role.kind != "broker":
        raise BadCertificate(f"the dialled side is a {role.kind}, not a broker")
    if broker is not None and role.name != broker:
        raise BadCertificate(f"the dialled side is {role.name}, not {broker}")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
