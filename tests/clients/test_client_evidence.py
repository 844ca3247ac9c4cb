"""Evidence: what is not exactly right is refused, each wrong with a code of its own; nothing makes a verifier crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import client_scene as scene  # type: ignore[import-not-found]
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import cose, digests, eat, suites
from yingbi.api import evidence_error as codes
from yingbi.api.appraisal import SKEW, Appraisal, Reference, Tier, appraise
from yingbi.api.configuration import MEASURES
from yingbi.api.eat import Claims, Statement
from yingbi.api.evidence import EvidenceError, verify_evidence, verify_key_epoch
from yingbi.api.v1.attestation_pb2 import Evidence, SignedKeyEpoch

NONCE = bytes(range(32))
ZONE = scene.scene(nodes=1, threshold=1)
NODE = ZONE.nodes[0]
GENUINE: Evidence = NODE.attest(NONCE)
CA = ZONE.ca.pem.encode()
NOW = scene.SIGNED_AT + 10
REFERENCE = Reference(scene.MEASUREMENT, scene.POLICY, NONCE, NOW, allow_simulation=True)


def claims_of(evidence: Evidence = GENUINE) -> Claims:
    return verify_evidence(evidence, CA)


def refusal(evidence: Evidence, reference: Reference = REFERENCE) -> str:
    with pytest.raises(EvidenceError) as refused:
        appraise(verify_evidence(evidence, CA), reference).require()
    return refused.value.code


def tiers(appraisal: Appraisal) -> dict[str, Tier]:
    return {finding.claim: finding.tier for finding in appraisal.findings}


def signed(payload: bytes) -> Evidence:
    return Evidence(token=cose.sign(payload, NODE.certificates, NODE.platform_key.sign))


def with_claims(**labels: Any) -> Evidence:
    """The genuine claims but for some labels, signed by the genuine platform; None takes one away."""
    said = cose.decode(eat.encode(claims_of()))
    for name, value in labels.items():
        label = int(name.removeprefix("c").replace("m", "-"))
        said.pop(label) if value is None else said.update({label: value})
    return signed(cose.encode(said))


def test_a_token_says_who_ran_what_under_whose_policy_until_when() -> None:
    claims = claims_of()
    assert (claims.node, claims.measurement, claims.policy) == ("node-1", scene.MEASUREMENT, scene.POLICY)
    assert (claims.nonce, claims.signing_key, claims.suite) == (NONCE, NODE.public, suites.HYBRID.name)
    assert (claims.issued, claims.expires, claims.simulated) == (scene.SIGNED_AT, scene.SIGNED_AT + 3600, True)


def test_any_reader_of_cose_finds_the_registered_claims() -> None:
    """RFC 9052's tag and headers, RFC 9711's and RFC 8392's numbers."""
    token = cbor2.loads(GENUINE.token)
    protected, unprotected, payload, signature = token.value
    headers, said = cbor2.loads(protected), cbor2.loads(payload)
    assert (token.tag, headers[1], unprotected, len(signature)) == (18, -8, {}, 64)
    assert headers[33] == list(NODE.certificates)
    assert (said[2], said[4] - said[6], said[10], said[265]) == ("node-1", 3600, NONCE, eat.PROFILE)
    covered = cbor2.dumps(["Signature1", protected, b"", payload])
    NODE.platform_key.public_key().verify(signature, covered)


def test_each_claim_is_judged_by_itself_and_the_worst_counts() -> None:
    appraisal = appraise(claims_of(), REFERENCE)
    assert tiers(appraisal).pop("hardware") is Tier.WARNING
    assert {tier for claim, tier in tiers(appraisal).items() if claim != "hardware"} == {Tier.AFFIRMING}
    assert appraisal.tier is Tier.WARNING
    appraisal.require()


def test_simulation_is_contraindicated_unless_it_is_allowed_and_never_affirmed() -> None:
    assert refusal(GENUINE, replace(REFERENCE, allow_simulation=False)) == codes.SIMULATED
    for allowed in (True, False):
        assert appraise(claims_of(), replace(REFERENCE, allow_simulation=allowed)).tier > Tier.AFFIRMING


def test_who_allows_simulation_does_not_allow_unknown_code() -> None:
    for reference in (bytes(32), None):
        assert refusal(GENUINE, replace(REFERENCE, measurement=reference)) == codes.MEASUREMENT


def test_a_token_that_says_it_is_hardware_is_no_hardware() -> None:
    """The simulated root signs simulated tokens alone, whatever they say."""
    assert refusal(NODE.attest(NONCE, simulated=False)) == codes.SIGNATURE


def test_another_policy_than_the_reference_is_refused_and_an_unknown_one_warned_of() -> None:
    assert refusal(GENUINE, replace(REFERENCE, policy=bytes(32))) == codes.POLICY
    assert tiers(appraise(claims_of(), replace(REFERENCE, policy=None)))["policy"] is Tier.WARNING


def test_what_an_enclaves_process_is_without_is_warned_of_by_name() -> None:
    """No less for what is sure otherwise, and other facts, as of its sandbox, make up for none."""
    statement = claims_of().statement
    for measure in MEASURES:
        others = tuple(sorted({*MEASURES, "sandbox 00ff"} - {measure}))
        claims = replace(claims_of(), statement=replace(statement, configuration=others))
        (finding,) = (each for each in appraise(claims, REFERENCE).findings if each.claim == "configuration")
        assert finding.tier is Tier.WARNING
        assert finding.sentence.endswith(f": {measure}")


@pytest.mark.parametrize("now", [scene.SIGNED_AT + 3600 + SKEW + 1, scene.SIGNED_AT - SKEW - 1])
def test_a_stale_token_is_refused_and_one_of_the_future(now: int) -> None:
    assert refusal(GENUINE, replace(REFERENCE, now=now)) == codes.STALE


@pytest.mark.parametrize("now", [scene.SIGNED_AT + 3600 + SKEW, scene.SIGNED_AT - SKEW])
def test_clocks_may_differ_a_little(now: int) -> None:
    appraise(claims_of(), replace(REFERENCE, now=now)).require()


def test_a_replayed_token_is_refused() -> None:
    assert refusal(NODE.attest(bytes(32))) == codes.REPLAYED
    with pytest.raises(EvidenceError) as refused:
        verify_evidence(GENUINE, CA, made_for=bytes(32))
    assert refused.value.code == codes.REPLAYED


def test_a_downgraded_token_is_refused() -> None:
    """An earlier profile, a suite that is not known, another algorithm, a suite that the client does not want."""
    assert refusal(with_claims(c265="yingbi:evidence:1")) == codes.DOWNGRADED
    assert refusal(with_claims(cm70006="Ed25519;none")) == codes.DOWNGRADED
    assert refusal(GENUINE, replace(REFERENCE, suites=frozenset({"SM2;SM3;SM4"}))) == codes.DOWNGRADED
    protected, _, payload, signature = cbor2.loads(GENUINE.token).value
    weaker = cose.encode(cose.decode(protected) | {1: -7})
    token = cose.encode(cbor2.CBORTag(18, [weaker, {}, payload, signature]))
    assert refusal(Evidence(token=token)) == codes.DOWNGRADED


def test_a_suite_of_yesterday_is_a_downgrade_unless_it_is_listed() -> None:
    """Read, since receipts have to verify in years, and refused where something is to be sealed."""
    old = suites.CLASSICAL
    statement = replace(claims_of().statement, encryption_key=old.key(bytes(32)).public, suite=old.name)
    evidence = NODE.attest(NONCE, statement=statement)
    assert refusal(evidence) == codes.DOWNGRADED
    appraise(claims_of(evidence), replace(REFERENCE, suites=frozenset(suites.SUITES))).require()


def test_a_key_has_the_length_of_its_own_suite() -> None:
    """A hybrid key under the old name would be sealed to with X25519 alone."""
    changed = {"cm70006": suites.CLASSICAL.name}
    assert refusal(with_claims(**changed)) == codes.MALFORMED


def test_a_statement_that_the_report_data_does_not_bind_is_refused() -> None:
    """What hardware signs is the report data alone: keys beside it must be the ones in it."""
    assert refusal(with_claims(cm70003=bytes(32))) == codes.REPORT_DATA
    assert refusal(with_claims(cm70007=bytes(64))) == codes.REPORT_DATA


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": bytes(31)},
        {"signing_key": bytes(32)},
        {"encryption_key": b"\1" * 32},
        {"policy": b""},
        {"suite": "x"},
        {"configuration": ()},
    ],
)
def test_report_data_binds_every_word_of_a_statement(changed: dict[str, Any]) -> None:
    statement = claims_of().statement
    assert replace(statement, **changed).report_data() != statement.report_data()
    assert len(statement.report_data()) == eat.REPORT_BYTES


@pytest.mark.parametrize(
    "labels",
    [
        {"c2": None},
        {"c2": 7},
        {"c4": scene.SIGNED_AT - 1},
        {"c6": -1},
        {"c4": 2**80},
        {"c10": b"short"},
        {"c10": bytes(65)},
        {"cm70001": b""},
        {"cm70002": 1},
        {"cm70003": bytes(31)},
        {"cm70004": bytes(32)},
        {"cm70005": bytes(31)},
        {"cm70008": None},
        {"cm70008": "own user"},
        {"cm70008": [""]},
        {"cm70008": ["x" * 201]},
        {"cm70008": [1]},
        {"cm70008": ["own user", "no core dumps"]},
        {"cm70008": ["own user", "own user"]},
        {"cm70008": [f"{number:02}" for number in range(65)]},
        {"c99": 1},
    ],
)
def test_claims_are_of_their_types_and_ranges_none_missing_and_none_more(labels: dict[str, Any]) -> None:
    assert refusal(with_claims(**labels)) == codes.MALFORMED


def test_a_platform_speaks_for_itself_alone() -> None:
    assert refusal(NODE.attest(NONCE, node="node-2")) == codes.CHAIN


def test_another_signature_and_another_authority_are_refused() -> None:
    payload = eat.encode(claims_of())
    stranger = Ed25519PrivateKey.generate()
    assert refusal(Evidence(token=cose.sign(payload, NODE.certificates, stranger.sign))) == codes.SIGNATURE
    with pytest.raises(EvidenceError) as refused:
        verify_evidence(GENUINE, scene.authority().pem.encode())
    assert refused.value.code == codes.CHAIN


@pytest.mark.parametrize(
    "certificates", [(), NODE.certificates[:1], NODE.certificates[::-1], (*NODE.certificates, NODE.certificates[1])]
)
def test_a_chain_is_the_platform_and_its_root(certificates: tuple[bytes, ...]) -> None:
    payload = eat.encode(claims_of())
    assert refusal(Evidence(token=cose.sign(payload, certificates, NODE.platform_key.sign))) == codes.CHAIN


@pytest.mark.parametrize(
    "data",
    [
        b"\x18\x01",  # 1, longer than needed
        b"\xa2\x01\x01\x01\x02",  # a key twice
        b"\xa2\x02\x01\x01\x01",  # keys out of order
        b"\x5f\x41a\xff",  # of indefinite length
        b"\x01\x02",  # something behind the end
        b"\xc1\x01",  # a date
        b"\xd8\x23\x61(",  # a regular expression
        b"\xf9\x3c\x00",  # a float
        b"\xf6",  # null
        b"\xa1\x61a\x01",  # a key of text
        b"\x81" * 50 + b"\x01",  # deep
        b"\x81" * 5000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # said to be huge
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xff",
        b"",
        bytes(cose.MAX_BYTES + 1),
    ],
)
def test_only_plain_cbor_in_its_one_form_is_read(data: bytes) -> None:
    with pytest.raises(EvidenceError) as refused:
        cose.decode(data)
    assert refused.value.code == codes.MALFORMED


def test_no_byte_of_a_token_can_be_changed() -> None:
    token = GENUINE.token
    for position in range(len(token)):
        with pytest.raises(EvidenceError):
            verify_evidence(Evidence(token=token[:position] + bytes([token[position] ^ 1]) + token[position + 1 :]), CA)


def test_headers_that_nobody_signed_are_refused() -> None:
    protected, _, payload, signature = cbor2.loads(GENUINE.token).value
    token = cose.encode(cbor2.CBORTag(18, [protected, {4: b"key"}, payload, signature]))
    assert refusal(Evidence(token=token)) == codes.MALFORMED


def test_a_key_epoch_is_signed_by_the_dealer_and_by_nobody_else() -> None:
    """By a node, in its own name; by the dealer's platform, for another enclave; with evidence of another epoch."""
    body = ZONE.key_epoch.body
    made_for = digests.digest(digests.KEY_EPOCH, body)
    own = digests.sign(NODE.key, digests.KEY_EPOCH, body)
    lies = {
        codes.CHAIN: SignedKeyEpoch(body=body, signature=own, dealer=NODE.attest(made_for)),
        codes.SIGNATURE: SignedKeyEpoch(body=body, signature=own, dealer=ZONE.key_epoch.dealer),
        codes.REPLAYED: SignedKeyEpoch(body=body + b"\0", signature=own, dealer=ZONE.key_epoch.dealer),
    }
    for code, lie in lies.items():
        with pytest.raises(EvidenceError) as refused:
            verify_key_epoch(lie, CA)
        assert refused.value.code == code


def test_every_reason_has_a_code_of_its_own_which_is_documented() -> None:
    """Wrong, stale, replayed and downgraded are told apart by a script: each test above names the code it expects."""
    named = [value for name, value in vars(codes).items() if name.isupper()]
    assert len(set(named)) == len(named) >= 11
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    assert [code for code in named if f"| `{code}` |" not in text] == []


# Fuzzing: no crash, and nothing accepted but what was signed.


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_worse(data: bytes) -> None:
    for token in (data, b"\xd2" + data):
        with pytest.raises(EvidenceError):
            verify_evidence(Evidence(token=token), CA)


@settings(max_examples=300)
@given(st.data())
def test_a_spliced_token_is_refused(data: st.DataObject) -> None:
    token = GENUINE.token
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 40)))
    spliced = token[:start] + data.draw(st.binary(max_size=40)) + token[end:]
    if spliced == token:
        return
    with pytest.raises(EvidenceError):
        verify_evidence(Evidence(token=spliced), CA)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-5, 5), inner, max_size=3),
    max_leaves=5,
)
LABELS = [2, 4, 6, 10, 265, *range(-70001, -70009, -1)]


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(LABELS), values, min_size=1, max_size=3))
def test_a_platform_that_signs_nonsense_is_refused(changed: dict[int, Any]) -> None:
    """The signature holds: only the claims themselves can give it away."""
    said = cose.decode(eat.encode(claims_of()))
    if all(said[label] == value and type(said[label]) is type(value) for label, value in changed.items()):
        return
    try:
        claims = verify_evidence(signed(cose.encode(said | changed)), CA)
    except EvidenceError:
        return
    # What nothing binds may differ, within its range: the platform is believed about what it measured and when.
    assert claims.statement == claims_of().statement
    assert (claims.node, claims.simulated) == ("node-1", True)
    assert 0 <= claims.issued <= claims.expires


statements = st.builds(
    Statement,
    nonce=st.binary(min_size=8, max_size=64),
    signing_key=st.binary(min_size=32, max_size=32),
    encryption_key=st.just(scene.ENCRYPTION_KEY),
    policy=st.just(b"") | st.binary(min_size=32, max_size=32),
    configuration=st.sets(st.text(min_size=1, max_size=20), max_size=5).map(lambda facts: tuple(sorted(facts))),
)


@given(statements)
def test_a_statement_comes_back_as_it_was_made(statement: Statement) -> None:
    assert eat.decode_statement(eat.encode_statement(statement)) == statement


@given(st.binary(max_size=200))
def test_a_statement_of_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        eat.decode_statement(data)
