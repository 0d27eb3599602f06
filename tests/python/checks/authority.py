"""Certificates that the checks show: of the brokers' own CA, and of strangers."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fanal.credentials import fingerprint

_BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True)
class Authority:
    """A CA that issues what a check wants."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, directory: Path) -> Authority:
        """The brokers' own."""
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()), key)

    @classmethod
    def stranger(cls) -> Authority:
        """One that no broker knows."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("stranger")
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, None), True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def fingerprint(self) -> str:
        """In hexadecimal digits."""
        return fingerprint(self.certificate).hex()

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return _pem(self.certificate)

    def issue(
        self,
        *names: str,
        usages: tuple[x509.ObjectIdentifier, ...] = _BOTH,
        is_expired: bool = False,
    ) -> tuple[str, str]:
        """A certificate with these URIs, with the CA behind it, and its key; both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("leaf"), self.certificate.subject, key, is_expired=is_expired)
        if names:
            uris = [x509.UniformResourceIdentifier(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(certificate) + self.pem, pkcs8.decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * day)
        .not_valid_after(now - day if is_expired else now + day)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
