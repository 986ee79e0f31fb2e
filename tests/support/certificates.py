"""Certificates for a server at 127.0.0.1: one that is right, and each kind of one that a client refuses."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own. `path`: its certificate, for REQUESTS_CA_BUNDLE."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make one, and write its certificate into the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Authority of a test")
        signs = {"key_cert_sign": True, "crl_sign": True}
        others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = x509.KeyUsage(**dict.fromkeys((*others, "encipher_only", "decipher_only"), False) | signs)
        certificate = (
            _valid(x509.CertificateBuilder(), days=2)
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(folder, key, certificate)
        authority.path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return authority

    @property
    def path(self) -> Path:
        """Its certificate."""
        return self.folder / "authority.pem"

    def server(
        self, address: str = "127.0.0.1", *, days: float = 2, identifies_authority: bool = True
    ) -> ssl.SSLContext:
        """The context of a server for this address, until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = (
            _valid(x509.CertificateBuilder(), days)
            .subject_name(_name(address))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if identifies_authority:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        file = self.folder / f"server-{certificate.serial_number}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _valid(builder: x509.CertificateBuilder, days: float) -> x509.CertificateBuilder:
    until = datetime.now(UTC) + timedelta(days=days)
    serial = x509.random_serial_number()
    return builder.serial_number(serial).not_valid_before(until - timedelta(days=5)).not_valid_after(until)
