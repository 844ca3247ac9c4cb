"""Evidence of an Intel TDX trust domain: a quote of version 4, its signatures, and the statement that it binds.

Layout and chain of signatures: Intel TDX DCAP Quoting Library API, appendix A.3. A certified PCK key signs the report
of the quoting enclave; that report names the attestation key; the attestation key signs the header and the report of
the trust domain. All numbers are little-endian.

What this does not do needs data that Intel publishes and signs anew again and again: whether the platform's firmware
is up to date (TCB), whether a certificate was revoked, and whether the quoting enclave is Intel's present one. So a
quote is at best a warning here.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from yingbi.api.eat import Claims, decode_statement
from yingbi.api.evidence_error import CHAIN, DOWNGRADED, MALFORMED, REPORT_DATA, SIGNATURE, EvidenceError

# SHA-256 of the DER certificate "Intel SGX Root CA".
INTEL_ROOT: Final = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
UNCHECKED: Final = "that its firmware is up to date, and that no certificate was revoked"
MAX_BYTES: Final = 64 << 10

_VERSION, _ECDSA_P256, _TDX = 4, 2, 0x81
_INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_HEADER, _BODY, _QE_REPORT, _PAIR, _REPORT_DATA = 48, 584, 384, 64, 64
_QE_CERTIFICATION, _PEM_CHAIN = 6, 5
_DEBUG = 1


@dataclass(frozen=True)
class Quote:
    """What a genuine quote says. Measurements are SHA-384, 48 bytes each."""

    mrtd: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    # 64 bytes.
    report_data: bytes
    # Its memory can be read from outside.
    debug: bool


def verify_quote(quote: bytes, root: str = INTEL_ROOT) -> Quote:
    """A quote whose signatures lead to the root certificate with this SHA-256, in hexadecimal.

    Raises EvidenceError with the code of what does not hold.
    """
    if len(quote) > MAX_BYTES:
        raise _malformed(f"it has {len(quote)} bytes, and a quote has at most {MAX_BYTES}")
    reader = _Reader(quote)
    header, body = reader.take(_HEADER), reader.take(_BODY)
    _check_header(header)
    signed = _Reader(reader.sized("<I"))
    reader.end()
    signature, attestation_key = signed.take(_PAIR), signed.take(_PAIR)
    certification = _Reader(_typed_data(signed, _QE_CERTIFICATION))
    signed.end()
    report, report_signature = certification.take(_QE_REPORT), certification.take(_PAIR)
    authentication = certification.sized("<H")
    chain = _typed_data(certification, _PEM_CHAIN)
    certification.end()

    _check_signed(_platform_key(chain, root), report_signature, report, "the quoting enclave's report")
    named = hashlib.sha256(attestation_key + authentication).digest().ljust(_REPORT_DATA, b"\0")
    if report[-_REPORT_DATA:] != named:
        raise EvidenceError("the quoting enclave vouches for another attestation key", SIGNATURE)
    _check_signed(_point(attestation_key), signature, header + body, "the quote")
    return _read_body(body)


def verify(quote: bytes, statement: bytes, *, node: str, received: int, root: str = INTEL_ROOT) -> Claims:
    """The claims of a trust domain: what its quote measures, and the statement that the quote's report data binds.

    Args:
        statement: as `yingbi.api.eat.encode_statement` writes it.
        node: whose evidence this is to be; a quote names no node.
        received: when it came, in seconds since 1970: a quote tells no time, and its nonce makes it fresh.

    Raises:
        EvidenceError: with the code of what does not hold.
    """
    said, stated = verify_quote(quote, root), decode_statement(statement)
    if said.report_data != stated.report_data():
        raise EvidenceError("the quote's report data is not that of what the enclave states", REPORT_DATA)
    if said.debug:
        raise EvidenceError("the trust domain is in debug mode: its host can read its memory", DOWNGRADED)
    # One value for all that was measured: the domain's image, and what it loaded since.
    measurement = hashlib.sha256(b"".join((said.mrtd, *said.rtmrs))).digest()
    return Claims(node, measurement, False, received, received, stated, unchecked=UNCHECKED)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise _malformed("it ends too early")
        self._at += count
        return taken

    def number(self, form: str) -> int:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def sized(self, form: str) -> bytes:
        return self.take(self.number(form))

    def end(self) -> None:
        """Zeros may follow: quotes come in buffers of a fixed size."""
        if any(self._data[self._at :]):
            raise _malformed("something follows its end")


def _check_header(header: bytes) -> None:
    version, key_type, tee = struct.unpack_from("<HHI", header)
    if (key_type, tee) != (_ECDSA_P256, _TDX) or header[12:28] != _INTEL_QE:
        raise _malformed("it is no quote of Intel's for a trust domain, signed with ECDSA over P-256")
    if version != _VERSION:
        raise _malformed(f"it is a quote of version {version}, and not {_VERSION}")


def _typed_data(reader: _Reader, wanted: int) -> bytes:
    kind = reader.number("<H")
    if kind != wanted:
        raise _malformed(f"its certification data are of type {kind}, and not {wanted}")
    return reader.sized("<I")


def _platform_key(pem: bytes, root: str) -> ec.EllipticCurvePublicKey:
    """The key of the first certificate in a chain that ends at the root."""
    try:
        leaf, intermediate, last = x509.load_pem_x509_certificates(pem.rstrip(b"\0"))
        last.verify_directly_issued_by(last)
        intermediate.verify_directly_issued_by(last)
        leaf.verify_directly_issued_by(intermediate)
        issuers = [one.extensions.get_extension_for_class(x509.BasicConstraints).value for one in (intermediate, last)]
        key = leaf.public_key()
        found = last.fingerprint(hashes.SHA256()).hex()
    except Exception as error:  # whatever a parser of certificates may say of garbage
        raise EvidenceError("the platform's certificates are no chain", CHAIN) from error
    if not all(issuer.ca for issuer in issuers) or found != root.lower():
        raise EvidenceError("the platform's certificates do not lead to the vendor's root", CHAIN)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EvidenceError("the platform's key is not on a curve", CHAIN)
    return key


def _point(pair: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + pair)
    except ValueError as error:
        raise EvidenceError("the attestation key is no point of P-256", SIGNATURE) from error


def _check_signed(key: ec.EllipticCurvePublicKey, pair: bytes, data: bytes, what: str) -> None:
    r, s = int.from_bytes(pair[:32], "big"), int.from_bytes(pair[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise EvidenceError(f"the signature of {what} does not verify", SIGNATURE) from error


def _read_body(body: bytes) -> Quote:
    attributes = int.from_bytes(body[120:128], "little")
    rtmrs = [body[at : at + 48] for at in range(328, 520, 48)]
    return Quote(
        mrtd=body[136:184],
        rtmrs=(rtmrs[0], rtmrs[1], rtmrs[2], rtmrs[3]),
        report_data=body[-_REPORT_DATA:],
        debug=bool(attributes & _DEBUG),
    )


def _malformed(why: str) -> EvidenceError:
    return EvidenceError(why, MALFORMED)
