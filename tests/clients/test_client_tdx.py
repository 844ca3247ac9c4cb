"""Quotes of Intel TDX: one that a real machine signed verifies up to Intel's root, and nothing near it does.

`data/README.md` says where it comes from. Its report data were chosen by somebody else, so that statements are tested
on quotes made here, in the same layout, under a root made here.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi import tdx
from yingbi.api import eat
from yingbi.api import evidence_error as codes
from yingbi.api.appraisal import Reference, Tier, appraise
from yingbi.api.eat import Statement
from yingbi.api.evidence import EvidenceError

REAL = (Path(__file__).parent / "data" / "tdx_quote_v4.bin").read_bytes()
STATEMENT = Statement(bytes(32), b"\1" * 32, scene.ENCRYPTION_KEY, b"\3" * 32)
NODE, RECEIVED = "node-1", 1_700_000_000


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return b"".join(n.to_bytes(32, "big") for n in decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256()))))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form)[1:]


@dataclass(frozen=True)
class Machine:
    """A platform's keys and certificates, as an imitation of Intel would make them."""

    root: scene.Authority
    chain: tuple[scene.Authority, scene.Authority]
    attestation: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        return str(self.root.certificate.fingerprint(hashes.SHA256()).hex())

    def quote(self, report_data: bytes, attributes: int = 0, named: bytes | None = None, version: int = 4) -> bytes:
        header = struct.pack("<HHI4x", version, 2, 0x81) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        body = bytes(120) + struct.pack("<Q", attributes) + bytes(8) + b"\x11" * 48 + bytes(336) + report_data
        authentication = b"authentication"
        named = named or hashlib.sha256(point(self.attestation) + authentication).digest()
        report = bytes(320) + named + bytes(32)
        pem = "".join(one.pem for one in (*self.chain, self.root)).encode() + b"\0"
        leaf = self.chain[0].key
        assert isinstance(leaf, ec.EllipticCurvePrivateKey)
        certification = report + sign(leaf, report) + struct.pack("<H", len(authentication)) + authentication
        certification += struct.pack("<HI", 5, len(pem)) + pem
        signed = sign(self.attestation, header + body) + point(self.attestation)
        signed += struct.pack("<HI", 6, len(certification)) + certification
        return header + body + struct.pack("<I", len(signed)) + signed


def a_machine(*, intermediate_is_ca: bool = True) -> Machine:
    root = scene.authority("vendor root")
    between = root.issue("platform CA", ec.generate_private_key(ec.SECP256R1()), ca=intermediate_is_ca)
    leaf = between.issue("PCK", ec.generate_private_key(ec.SECP256R1()))
    return Machine(root, (leaf, between), ec.generate_private_key(ec.SECP256R1()))


MACHINE = a_machine()


def claims_of(quote: bytes, statement: Statement = STATEMENT) -> eat.Claims:
    encoded = eat.encode_statement(statement)
    return tdx.verify(quote, encoded, node=NODE, received=RECEIVED, root=MACHINE.fingerprint)


def refusal(quote: bytes, statement: Statement = STATEMENT) -> str:
    with pytest.raises(EvidenceError) as refused:
        claims_of(quote, statement)
    return refused.value.code


def test_a_quote_of_a_real_machine_verifies_up_to_intels_root() -> None:
    """The values are those that dcap-qvl's own tests have for it."""
    quote = tdx.verify_quote(REAL)
    assert quote.mrtd.hex().startswith("91eb2b44d141d4ece09f0c75c2c53d24")
    assert quote.rtmrs[0].hex().startswith("44c0197b39157fdd7a4dcc44767f9d6b")
    assert quote.report_data.hex().startswith("9a9d48e7f6799642d3d1b34e1e5e1742")
    assert not quote.debug


def test_intels_root_is_pinned() -> None:
    with pytest.raises(EvidenceError) as refused:
        tdx.verify_quote(REAL, MACHINE.fingerprint)
    assert refused.value.code == codes.CHAIN
    with pytest.raises(EvidenceError) as refused:
        tdx.verify_quote(MACHINE.quote(bytes(64)))
    assert refused.value.code == codes.CHAIN


def test_a_real_quote_binds_no_statement_of_ours() -> None:
    with pytest.raises(EvidenceError) as refused:
        tdx.verify(REAL, eat.encode_statement(STATEMENT), node=NODE, received=RECEIVED)
    assert refused.value.code == codes.REPORT_DATA


def test_a_statement_counts_where_the_quote_binds_it() -> None:
    quote = MACHINE.quote(STATEMENT.report_data())
    claims = claims_of(quote)
    assert (claims.signing_key, claims.policy, claims.simulated) == (b"\1" * 32, b"\3" * 32, False)
    assert refusal(quote, Statement(bytes(32), b"\4" * 32, scene.ENCRYPTION_KEY, b"\3" * 32)) == codes.REPORT_DATA


def test_hardware_is_at_best_a_warning_while_its_firmware_is_not_looked_up() -> None:
    claims = claims_of(MACHINE.quote(STATEMENT.report_data()))
    appraisal = appraise(claims, Reference(claims.measurement, STATEMENT.policy, STATEMENT.nonce, RECEIVED))
    appraisal.require()
    assert appraisal.tier is Tier.WARNING


def test_a_domain_whose_memory_the_host_can_read_is_refused() -> None:
    assert refusal(MACHINE.quote(STATEMENT.report_data(), attributes=1)) == codes.DOWNGRADED


def test_each_link_of_the_chain_of_signatures_is_checked() -> None:
    honest = MACHINE.quote(STATEMENT.report_data())
    assert refusal(MACHINE.quote(STATEMENT.report_data(), named=bytes(32))) == codes.SIGNATURE
    # The domain's report, the quoting enclave's report.
    for position in (100, 48 + 584 + 4 + 128 + 6 + 10):
        changed = honest[:position] + bytes([honest[position] ^ 1]) + honest[position + 1 :]
        assert refusal(changed) == codes.SIGNATURE
    no_point = honest[:700] + b"\xff" * 64 + honest[764:]
    assert refusal(no_point) == codes.SIGNATURE
    leafy = a_machine(intermediate_is_ca=False)
    with pytest.raises(EvidenceError) as refused:
        tdx.verify_quote(leafy.quote(bytes(64)), leafy.fingerprint)
    assert refused.value.code == codes.CHAIN


def test_other_kinds_and_lengths_of_quotes_are_refused() -> None:
    honest = MACHINE.quote(STATEMENT.report_data())
    sgx = honest[:4] + bytes(4) + honest[8:]
    for wrong in (MACHINE.quote(bytes(64), version=5), sgx, honest[:-1], honest + b"\1", b"", bytes(tdx.MAX_BYTES + 1)):
        assert refusal(wrong) == codes.MALFORMED
    claims_of(honest + bytes(100))


@settings(max_examples=200)
@given(st.data())
def test_a_spliced_quote_is_refused_or_says_the_same(data: st.DataObject) -> None:
    """Line ends of certificates and padding are signed by nobody, and say nothing."""
    start = data.draw(st.integers(0, len(REAL)))
    end = data.draw(st.integers(start, min(len(REAL), start + 20)))
    spliced = REAL[:start] + data.draw(st.binary(max_size=20)) + REAL[end:]
    try:
        quote = tdx.verify_quote(spliced)
    except EvidenceError:
        return
    assert quote == tdx.verify_quote(REAL)
