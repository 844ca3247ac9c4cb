"""The zone's certificates: a CA for TLS and, below it, a simulated attestation root for the enclaves."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
YEARS = 10
# Certificates begin a day early: the clocks of a zone's machines differ.
SKEW = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its key and its own certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, name: str) -> Authority:
        """A self-signed CA with a fresh ECDSA P-256 key, which gRPC's TLS accepts."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def subordinate(self, name: str, key: Ed25519PrivateKey | None = None) -> Authority:
        """A CA below this one; its Ed25519 key is a fresh one unless one is given."""
        key = key or Ed25519PrivateKey.generate()
        builder = _builder(name, self.name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), True)
        return Authority(key, self._sign(builder))

    @property
    def name(self) -> str:
        """The common name."""
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def certify(self, name: str, key: Ed25519PrivateKey) -> x509.Certificate:
        """A certificate that `name` holds `key`."""
        return self._sign(_builder(name, self.name, key.public_key()))

    def tls_pair(self, name: str, *, server: bool) -> tuple[bytes, bytes]:
        """A fresh TLS key and its certificate, both PEM, for the loopback address or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = _builder(name, self.name, key.public_key()).add_extension(x509.ExtendedKeyUsage([usage]), False)
        if server:
            addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
            names = [x509.DNSName("localhost"), *map(x509.IPAddress, addresses)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return key_pem(key), certificate_pem(self._sign(builder))

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self.key, hashes.SHA256() if isinstance(self.key, ec.EllipticCurvePrivateKey) else None)


def key_pem(key: PrivateKey) -> bytes:
    """The private key as unencrypted PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def certificate_der(certificate: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePublicKey | Ed25519PublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
