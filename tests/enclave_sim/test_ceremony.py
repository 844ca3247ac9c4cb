"""The key ceremony deals to attested enclaves only, and what it deals opens nothing below the threshold."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import cose, eat
from yingbi.api.evidence import DEALER, EvidenceError, read_claims, verify_key_epoch
from yingbi.api.evidence_error import DOWNGRADED, KEYS, MEASUREMENT, STALE
from yingbi.api.suites import CLASSICAL
from yingbi.api.v1.attestation_pb2 import Evidence, KeyCeremonyRequest, KeyCeremonyResult

from enclave_sim.attestation.measurement import measure
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.ceremony import hold_ceremony
from enclave_sim.frames import read_frame, write_frame
from enclave_sim.identity import Identity
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.keys import BadKeyError
from enclave_sim.paillier.share_proof import check_partials, prove_partials
from enclave_sim.paillier.threshold import TooFewSharesError, combine, partial_decrypt
from gateway.zone.authority import Authority, certificate_pem
from gateway.zone.init import write_platform
from tests.attacks.three_enclaves import NODES, THRESHOLD, Trio


def _dealer(trio: Trio) -> Identity:
    return Identity.of(SimulatedBackend.load(trio.folder / DEALER))


def _evidence(trio: Trio) -> list[Evidence]:
    return [enclave.identity.evidence for enclave in trio.enclaves]


def _attempt(trio: Trio, primes: tuple[int, int], enclaves: list[Evidence]) -> KeyCeremonyResult:
    request = KeyCeremonyRequest(epoch=1, threshold=THRESHOLD, enclaves=enclaves)
    return hold_ceremony(request, primes, _dealer(trio), trio.ca_pem)


def test_every_enclave_holds_the_same_epoch_and_a_share_of_its_own(trio: Trio) -> None:
    """In the order of the request, with the measured code of each."""
    epochs = {enclave.signed_epoch.body for enclave in trio.enclaves}
    assert len(epochs) == 1
    epoch = verify_key_epoch(trio.enclaves[0].signed_epoch, trio.ca_pem)
    assert [holder.node for holder in epoch.holders] == list(NODES)
    assert [holder.index for holder in epoch.holders] == [enclave.key_share.index for enclave in trio.enclaves]
    assert {holder.measurement for holder in epoch.holders} == {measure()}
    assert [h.signing_key for h in epoch.holders] == [e.identity.public_signing_key for e in trio.enclaves]


def test_any_two_of_three_open_and_one_does_not(trio: Trio) -> None:
    """Section 3: threshold t of n."""
    key = trio.enclaves[0].key
    ciphertexts = encrypt(key.public, [-5, 7]).ciphertexts
    parts = []
    for enclave in trio.enclaves:
        numbers = partial_decrypt(key, enclave.key_share, ciphertexts)
        proof = prove_partials(key, enclave.key_share, ciphertexts, numbers, b"")
        parts.append(check_partials(key, enclave.key_share.index, ciphertexts, numbers, proof, b""))
    for chosen in combinations(parts, THRESHOLD):
        assert combine(key, chosen).residues == (key.n - 5, 7)
    for part in parts:
        with pytest.raises(TooFewSharesError):
            combine(key, [part])
        # Nor is one part the randomness in disguise.
        assert all(
            pow(number, key.n, key.n) != number_ % key.n
            for number, number_ in zip(part.values, ciphertexts, strict=True)
        )


def _claiming(trio: Trio, enclave: int, platform: SimulatedBackend, **changes: Any) -> Evidence:
    """A token of `platform` with other claims than those of the node's enclave."""
    claims = replace(read_claims(trio.enclaves[enclave].identity.evidence), **changes)
    return Evidence(token=cose.sign(eat.encode(claims), platform.certificates, platform.key.sign))


def test_nothing_is_dealt_to_forged_evidence(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """A host that swaps an enclave's encryption key would get its share."""
    honest = _evidence(trio)
    payload = eat.encode(read_claims(honest[0]))
    stranger = Ed25519PrivateKey.generate()
    own = SimulatedBackend.load(trio.folder / NODES[0] / "platform")
    swapped = replace(read_claims(honest[0]).statement, encryption_key=bytes(1216))
    for forged in (
        # Another key in the token, and its signature as it was.
        Evidence(token=honest[0].token.replace(read_claims(honest[0]).encryption_key, bytes(1216))),
        # Signed anew by whoever holds no platform.
        Evidence(token=cose.sign(payload, own.certificates, stranger.sign)),
        _claiming(trio, 0, replace(own, key=stranger), statement=swapped),
        # Of a platform that speaks for another.
        _claiming(trio, 0, own, node=NODES[1]),
        Evidence(token=cose.sign(payload, own.certificates[:1], own.key.sign)),
        Evidence(),
    ):
        with pytest.raises(EvidenceError):
            _attempt(trio, safe_primes, [forged, *honest[1:]])


def test_nothing_is_dealt_to_a_platform_of_another_root(
    trio: Trio, safe_primes: tuple[int, int], tmp_path: Path
) -> None:
    """Nor to one that a certified platform, or a holder of a TLS certificate, vouches for."""
    foreign = Authority.new("another CA").subordinate("another root")
    write_platform(tmp_path / "platform", NODES[0], foreign)
    evidence = Identity.of(SimulatedBackend.load(tmp_path / "platform")).evidence
    with pytest.raises(EvidenceError):
        _attempt(trio, safe_primes, [evidence, *_evidence(trio)[1:]])
    own = SimulatedBackend.load(trio.folder / NODES[1] / "platform")
    for issuer, key in ((own.certificates[0], own.key), (own.certificates[1], own.key)):
        platform = SimulatedBackend.load(tmp_path / "platform")
        chain = (platform.certificates[0], issuer)
        vouched = _claiming(trio, 0, replace(platform, certificates=chain, key=key))
        with pytest.raises(EvidenceError):
            _attempt(trio, safe_primes, [vouched, *_evidence(trio)[1:]])


def test_nothing_is_dealt_to_other_code(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """Signed by the right platform: the measurement itself is what differs."""
    platform = SimulatedBackend.load(trio.folder / NODES[0] / "platform")
    evidence = _claiming(trio, 0, platform, measurement=bytes(32))
    with pytest.raises(EvidenceError, match="not the reference") as refused:
        _attempt(trio, safe_primes, [evidence, *_evidence(trio)[1:]])
    assert refused.value.code == MEASUREMENT


def test_nothing_is_dealt_under_a_suite_of_yesterday(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """A host that keeps what is sealed could read its share once X25519 is broken."""
    old = Identity.of(SimulatedBackend.load(trio.folder / NODES[0] / "platform"), suite=CLASSICAL)
    with pytest.raises(EvidenceError) as refused:
        _attempt(trio, safe_primes, [old.evidence, *_evidence(trio)[1:]])
    assert refused.value.code == DOWNGRADED


def test_nothing_is_dealt_to_a_key_that_is_none(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """A point of small order: its secret is known to everybody."""
    own = SimulatedBackend.load(trio.folder / NODES[0] / "platform")
    statement = replace(read_claims(_evidence(trio)[0]).statement, encryption_key=bytes(1216))
    evidence = _claiming(trio, 0, own, statement=statement)
    with pytest.raises(EvidenceError, match="nothing can be sealed") as refused:
        _attempt(trio, safe_primes, [evidence, *_evidence(trio)[1:]])
    assert refused.value.code == KEYS


def test_nothing_is_dealt_to_an_enclave_of_yesterday(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """Its evidence was true once: whether that enclave still runs, it does not say."""
    platform = SimulatedBackend.load(trio.folder / NODES[0] / "platform")
    evidence = _claiming(trio, 0, platform, issued=1_000_000, expires=1_086_400)
    with pytest.raises(EvidenceError) as refused:
        _attempt(trio, safe_primes, [evidence, *_evidence(trio)[1:]])
    assert refused.value.code == STALE


@pytest.mark.parametrize("threshold", [0, 4])
def test_an_impossible_threshold_is_refused(trio: Trio, safe_primes: tuple[int, int], threshold: int) -> None:
    """Before anything is dealt."""
    request = KeyCeremonyRequest(epoch=1, threshold=threshold, enclaves=_evidence(trio))
    with pytest.raises(BadKeyError):
        hold_ceremony(request, safe_primes, _dealer(trio), trio.ca_pem)


def test_an_epoch_that_a_node_dealt_is_none(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """Only the dealer's enclave makes epochs: a node's could know the key."""
    request = KeyCeremonyRequest(epoch=1, threshold=THRESHOLD, enclaves=_evidence(trio))
    result = hold_ceremony(request, safe_primes, trio.enclaves[0].identity, trio.ca_pem)
    with pytest.raises(EvidenceError, match="not the dealer"):
        verify_key_epoch(result.key_epoch, trio.ca_pem)


def test_the_dealers_process_leaves_nothing_on_disk(trio: Trio, tmp_path: Path) -> None:
    """The real process, at a small modulus; two ceremonies never make the same key."""
    ca = tmp_path / "ca.crt"
    ca.write_bytes(trio.ca_pem)
    request = io.BytesIO()
    write_frame(
        request,
        KeyCeremonyRequest(
            epoch=1, threshold=THRESHOLD, modulus_bits=256, enclaves=_evidence(trio)
        ).SerializeToString(),
    )
    before = sorted(trio.folder.rglob("*"))
    command = [sys.executable, "-m", "enclave_sim.ceremony", str(trio.folder / DEALER), str(ca), "--bits", "256"]
    done = subprocess.run(command, input=request.getvalue(), capture_output=True, timeout=60, check=True)
    result = KeyCeremonyResult.FromString(read_frame(io.BytesIO(done.stdout)) or b"")
    epoch = verify_key_epoch(result.key_epoch, trio.ca_pem)
    assert [share.node for share in result.shares] == list(NODES)
    assert int.from_bytes(epoch.modulus, "big").bit_length() == 256
    assert sorted(trio.folder.rglob("*")) == before


def test_other_authorities_change_nothing(trio: Trio, safe_primes: tuple[int, int]) -> None:
    """Evidence is checked against the CA that the dealer was given, not one that comes along."""
    other = certificate_pem(Authority.new("test CA").certificate)
    request = KeyCeremonyRequest(epoch=1, threshold=THRESHOLD, enclaves=_evidence(trio))
    with pytest.raises(EvidenceError):
        hold_ceremony(request, safe_primes, _dealer(trio), other)
