"""Evidence and what is sealed, fuzzed: never a crash, only the documented errors, and never an acceptance.

Seconds by default; with --long every target goes on for LONG_SECONDS (`tests/attacks/mutations.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from yingbi import tdx
from yingbi.api import cose, digests, eat, evidence_error, suites
from yingbi.api.appraisal import Reference, appraise
from yingbi.api.eat import Claims
from yingbi.api.evidence import EvidenceError, verify_evidence, verify_key_epoch
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import seal_program
from yingbi.api.v1.attestation_pb2 import Evidence, KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Program
from yingbi.api.v1.receipt_pb2 import ReceiptBody
from yingbi.receipt import Receipt

from enclave_sim.key_share import _info, seal_share, unseal_share
from enclave_sim.paillier.keys import BadKeyError, KeyShare
from enclave_sim.paillier.share_proof import check_share
from enclave_sim.programs import unseal_program
from tests.attacks.mutations import LONG_SECONDS, altered, altered_bytes, altered_message, fuzz, odd_cbor, outcome
from tests.attacks.three_enclaves import Trio
from tests.clients import client_scene as scene

pytestmark = pytest.mark.timeout(4 * LONG_SECONDS)
QUOTE = Path(__file__).parents[1] / "clients" / "data" / "tdx_quote_v4.bin"

CODES = {value for name, value in vars(evidence_error).items() if name.isupper()}
NONCE = bytes(range(32))
ZONE, OTHER = scene.scene(), scene.scene()
NODE = ZONE.nodes[0]
CA = ZONE.ca.pem.encode()
GENUINE: Evidence = NODE.attest(NONCE)
CLAIMS: Claims = verify_evidence(GENUINE, CA)
SAID = cose.decode(eat.encode(CLAIMS))
REFERENCE = Reference(scene.MEASUREMENT, scene.POLICY, NONCE, scene.SIGNED_AT + 10, allow_simulation=True)
# Whoever may sign a token: the platform itself, another of this zone, one of another zone, nobody's key.
SIGNERS = {
    "itself": NODE,
    "a neighbour": ZONE.nodes[1],
    "the dealer": ZONE.dealer,
    "another zone": OTHER.nodes[0],
    "a stranger": replace(NODE, platform_key=Ed25519PrivateKey.generate()),
}
TOKENS = [OTHER.nodes[0].attest(NONCE).token, NODE.attest(bytes(32)).token, ZONE.dealer.attest(bytes(32)).token]


def accepted(evidence: Evidence) -> Claims | None:
    """The claims, or None where they are refused with one of the codes; any other error is a crash."""

    def appraised() -> Claims:
        claims = verify_evidence(evidence, CA)
        appraise(claims, REFERENCE).require()
        return claims

    found = outcome(appraised, EvidenceError)
    if isinstance(found, EvidenceError):
        assert found.code in CODES
        return None
    return found


def test_altered_tokens() -> None:
    def target(data: st.DataObject) -> None:
        token = altered(data, GENUINE.token, TOKENS)
        assert accepted(Evidence(token=token)) is None or token == GENUINE.token

    fuzz(target, 100)


# What a platform may say otherwise, in good form: an older profile, an older suite, another nonce, code, policy, time.
OTHERWISE: list[dict[int, object]] = [
    {},
    {265: "yingbi:evidence:1"},
    {-70006: suites.CLASSICAL.name},
    {10: bytes(32)},
    {-70001: bytes(32)},
    {-70005: b""},
    {-70003: bytes(32)},
    {4: 1, 6: 0},
    {-70002: False},
    {2: "node-2"},
]


def odd_claims(data: st.DataObject) -> bytes:
    """Claims, some of them otherwise, and in an odd form or not."""
    return odd_cbor(data, SAID | data.draw(st.sampled_from(OTHERWISE)))


def token_of(data: st.DataObject, signer: str) -> bytes:
    """A token whose headers, claims or frame are odd, signed as the signer would sign it."""
    who = SIGNERS[signer]
    protected, _, payload, signature = cose.decode(GENUINE.token[1:])
    headers = cose.decode(protected)
    chain = [list(who.certificates), list(NODE.certificates), list(NODE.certificates[:1]), [], [b"", b""]]
    headers[33] = data.draw(st.sampled_from([chain[0], *chain]))
    odd = data.draw(st.sampled_from(["claims", "headers", "frame", "all"]))
    protected = odd_cbor(data, headers) if odd in ("headers", "all") else cose.encode(headers)
    if odd in ("claims", "all"):
        payload = odd_claims(data)
    signed = who.platform_key.sign(cose._covered(protected, payload))
    signature = data.draw(st.sampled_from([signed, signed, signed, signature, signed[:63], bytes(64), b""]))
    parts = [protected, {}, payload, signature]
    return b"\xd2" + (odd_cbor(data, parts) if odd in ("frame", "all") else cose.encode(parts))


def test_odd_tokens_signed_by_anybody() -> None:
    """A platform is believed of itself alone, and only in the one form, and if it says what is asked for."""

    def target(data: st.DataObject) -> None:
        signer = data.draw(st.sampled_from(list(SIGNERS)))
        token = token_of(data, signer)
        claims = accepted(Evidence(token=token))
        if claims is None or token == GENUINE.token:
            return
        who = SIGNERS[signer]
        assert signer in ("itself", "a neighbour", "the dealer")
        assert token == cose.sign(eat.encode(claims), who.certificates, who.platform_key.sign)
        assert (claims.node, claims.simulated, claims.statement) == (who.name, True, CLAIMS.statement)

    fuzz(target, 200)


def test_a_platform_that_signs_claims_in_every_form() -> None:
    """The most that a fuzzer can reach: the signature always holds, and so does the frame."""

    def target(data: st.DataObject) -> None:
        payload = odd_claims(data)
        token = cose.sign(payload, NODE.certificates, NODE.platform_key.sign)
        claims = accepted(Evidence(token=token))
        if claims is not None:
            assert (claims.node, claims.statement, eat.encode(claims)) == (NODE.name, CLAIMS.statement, payload)

    fuzz(target, 150)


def test_altered_key_epochs() -> None:
    """Its dealer's evidence was made for these very bytes, so none of them can be another's."""
    genuine = ZONE.key_epoch
    others = [OTHER.key_epoch, SignedKeyEpoch(dealer=NODE.attest(digests.digest(digests.KEY_EPOCH, genuine.body)))]

    def target(data: st.DataObject) -> None:
        sent = altered_bytes(data, genuine, others, body=KeyEpoch)
        changed = outcome(lambda: SignedKeyEpoch.FromString(sent), DecodeError)
        if isinstance(changed, DecodeError):
            return
        if data.draw(st.booleans()):
            # By a node of the zone that puts itself in the dealer's place.
            changed.signature = digests.sign(NODE.key, digests.KEY_EPOCH, changed.body)
            changed.dealer.CopyFrom(NODE.attest(digests.digest(digests.KEY_EPOCH, changed.body)))
        epoch = outcome(lambda: verify_key_epoch(changed, CA), EvidenceError)
        if isinstance(epoch, EvidenceError):
            assert epoch.code in CODES
        else:
            assert (epoch, changed.body) == (KeyEpoch.FromString(genuine.body), genuine.body)

    fuzz(target, 100)


def test_altered_quotes_of_hardware() -> None:
    """As its bytes; line ends of certificates and padding are signed by nobody, and say nothing."""
    real = QUOTE.read_bytes()
    said = tdx.verify_quote(real)
    lengths = [len(real) - 10, 632, 636, 764, 766, 770]

    def target(data: st.DataObject) -> None:
        quote = bytearray(altered(data, real))
        if data.draw(st.booleans()):
            at, width = data.draw(st.sampled_from(lengths)), data.draw(st.sampled_from([2, 4]))
            quote[at : at + width] = data.draw(st.binary(min_size=width, max_size=width))
        found = outcome(lambda: tdx.verify_quote(bytes(quote)), EvidenceError)
        assert found.code in CODES if isinstance(found, EvidenceError) else found == said

    fuzz(target, 75)


def test_altered_statements_beside_a_quote() -> None:
    stated = cose.decode(eat.encode_statement(CLAIMS.statement))

    def target(data: st.DataObject) -> None:
        odd = odd_cbor(data, stated)
        statement = outcome(lambda: eat.decode_statement(odd), EvidenceError)
        if isinstance(statement, EvidenceError):
            assert statement.code in CODES
        else:
            # Read, it is one that the report data then binds, whole and in its one form.
            assert eat.encode_statement(statement) == odd
            assert len(statement.encryption_key) == suites.SUITES[statement.suite].encryption_key_bytes

    fuzz(target, 75)


def test_altered_receipts(tmp_path: Path) -> None:
    """The body is what is signed: whatever verifies says what was released."""
    plan = scene.counting_plan()
    genuine = scene.receipt_of(ZONE, plan, scene.OPENED)
    # An evidence of the same zone, made for something else; a receipt of another zone; one of the same zone.
    others = [
        scene.receipt_of(OTHER, plan, scene.OPENED),
        scene.receipt_of(ZONE, plan, scene.OPENED[::-1], job="job-2"),
    ]
    true_bodies = {genuine.body, others[1].body}

    def check(receipt: Receipt) -> None:
        receipt.verify(ZONE.ca.pem, scene.MEASUREMENT.hex())
        assert receipt.message.body in true_bodies

    def as_message(data: st.DataObject) -> None:
        changed = altered_message(data, genuine, others, {"body": ReceiptBody})
        if data.draw(st.booleans()) and changed.signatures:
            # A corrupt enclave signs it anew, with evidence made for it; one is fewer than the threshold.
            own = digests.digest(digests.RECEIPT, changed.body)
            changed.signatures[0].signature = digests.sign(NODE.key, digests.RECEIPT, changed.body)
            changed.signatures[0].evidence.CopyFrom(NODE.attest(own))
        refused = outcome(lambda: check(Receipt(changed)), Problem)
        assert refused is None or (refused.kind is Kind.BAD_EVIDENCE and refused.code.startswith("receipt_"))

    def as_file(data: st.DataObject, path: Path) -> None:
        path.write_bytes(altered(data, json.dumps(Receipt(genuine).to_json()).encode()))
        refused = outcome(lambda: check(Receipt.load(path)), Problem)
        assert refused is None or refused.kind in (Kind.BAD_EVIDENCE, Kind.MALFORMED)

    fuzz(as_message, 120)
    fuzz(lambda data: as_file(data, tmp_path / "receipt.json"), 80)


def test_altered_programs_and_shares(trio: Trio) -> None:
    """Nothing opens but what was sealed, as a whole; what anybody can seal is no program of a plan, and no share."""
    identity = trio.enclaves[0].identity
    claims = verify_evidence(identity.evidence, trio.ca_pem)
    code, plan_hash = b"def run(tables):\n    return [1.0]\n", bytes(32)
    program = Program(sha256=hashlib.sha256(code).digest())
    genuine = seal_program(code, claims, plan_hash)
    other = seal_program(code, verify_evidence(trio.enclaves[1].identity.evidence, trio.ca_pem), plan_hash)
    key, epoch = trio.enclaves[0].key, trio.enclaves[0].signed_epoch.body
    share = seal_share(claims, trio.enclaves[0].key_share, epoch)

    def programs(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            sealed = SealedProgram(node="node-1", ciphertext=altered(data, genuine.ciphertext, [other.ciphertext]))
        else:
            sealed = seal_program(data.draw(st.binary(max_size=100)), claims, plan_hash)
        opened = outcome(lambda: unseal_program(identity, sealed, program, plan_hash), Problem)
        if isinstance(opened, Problem):
            assert opened.code in ("bad_program", "other_program")
        else:
            assert (opened, sealed.ciphertext) == (code, genuine.ciphertext)

    def shares(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            ciphertext = altered(data, share.ciphertext, [genuine.ciphertext])
        else:
            plaintext = altered(data, trio.enclaves[0].key_share.index.to_bytes(4, "big") + bytes(20))
            suite = suites.SUITES[claims.suite]
            ciphertext = suite.seal(plaintext, claims.encryption_key, _info(epoch))
        try:
            opened: KeyShare = unseal_share(identity, ciphertext, epoch)
            check_share(key, opened)
        except (InvalidTag, BadKeyError):
            return
        assert opened == trio.enclaves[0].key_share

    fuzz(programs, 60)
    fuzz(shares, 60)


def test_the_fuzzer_reaches_what_it_is_about() -> None:
    """A fuzzer whose inputs all fail at the first check would show nothing."""
    found: set[str] = set()

    def target(data: st.DataObject) -> None:
        token = cose.sign(odd_claims(data), NODE.certificates, NODE.platform_key.sign)
        try:
            appraise(verify_evidence(Evidence(token=token), CA), REFERENCE).require()
            found.add("accepted")
        except EvidenceError as refused:
            found.add(refused.code)

    fuzz(target, 300, long=False)
    late = {evidence_error.DOWNGRADED, evidence_error.REPORT_DATA, evidence_error.MEASUREMENT, evidence_error.STALE}
    assert found > late | {evidence_error.MALFORMED, "accepted"}
