"""A share of the key reaches its enclave, under its key epoch, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from yingbi.api.eat import Claims
from yingbi.api.evidence import EvidenceError, read_claims
from yingbi.api.v1.attestation_pb2 import KeyEpoch, SealedKeyShare, SignedKeyEpoch

from enclave_sim.enclave import load_enclave
from enclave_sim.key_share import seal_share, unseal_share
from enclave_sim.paillier.keys import KeyShare
from tests.attacks.three_enclaves import NODES, Trio

SHARE = KeyShare(2, 2**1535 + 12345)
EPOCH = KeyEpoch(epoch=1, threshold=2).SerializeToString(deterministic=True)


def _evidence(trio: Trio, node: int) -> Claims:
    return read_claims(trio.enclaves[node].identity.evidence)


@pytest.mark.parametrize("share", [SHARE, KeyShare(1, 1), KeyShare(255, 256), KeyShare(70_000, 2**6000)])
def test_the_enclave_it_was_sealed_to_unseals_it(trio: Trio, share: KeyShare) -> None:
    """Whatever its length."""
    sealed = seal_share(_evidence(trio, 0), share, EPOCH)
    assert sealed.node == NODES[0]
    opened = unseal_share(trio.enclaves[0].identity, sealed.ciphertext, EPOCH)
    assert (opened.index, opened.value) == (share.index, share.value)


def test_no_other_enclave_unseals_it(trio: Trio) -> None:
    """Section 3: the gateway, the host and the other providers hold no share of it."""
    sealed = seal_share(_evidence(trio, 0), SHARE, EPOCH)
    with pytest.raises(InvalidTag):
        unseal_share(trio.enclaves[1].identity, sealed.ciphertext, EPOCH)


def test_it_belongs_to_one_key_epoch(trio: Trio) -> None:
    """A share cannot be presented under another modulus, threshold or circle of holders."""
    sealed = seal_share(_evidence(trio, 0), SHARE, EPOCH)
    other = KeyEpoch(epoch=1, threshold=1).SerializeToString(deterministic=True)
    with pytest.raises(InvalidTag):
        unseal_share(trio.enclaves[0].identity, sealed.ciphertext, other)


def test_one_flipped_byte_is_noticed(trio: Trio) -> None:
    """Authenticated encryption, every byte."""
    ciphertext = seal_share(_evidence(trio, 0), SHARE, EPOCH).ciphertext
    for position in range(0, len(ciphertext), 7):
        flipped = ciphertext[:position] + bytes([ciphertext[position] ^ 1]) + ciphertext[position + 1 :]
        with pytest.raises((InvalidTag, ValueError)):
            unseal_share(trio.enclaves[0].identity, flipped, EPOCH)


def test_an_enclave_does_not_start_with_anothers_share(trio: Trio) -> None:
    """The files of two nodes swapped."""
    trio.close()
    share = (trio.folder / NODES[1] / "key_share.pb").read_bytes()
    (trio.folder / NODES[0] / "key_share.pb").write_bytes(share)
    with pytest.raises(InvalidTag):
        load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_an_enclave_does_not_start_with_an_altered_epoch(trio: Trio) -> None:
    """A host cannot swap the modulus, the threshold or a holder's key."""
    trio.close()
    path = trio.folder / NODES[0] / "key_epoch.pb"
    signed = SignedKeyEpoch.FromString(path.read_bytes())
    for field, value in (("threshold", 1), ("epoch", 2), ("modulus", b"\x0f" * 96)):
        epoch = KeyEpoch.FromString(signed.body)
        setattr(epoch, field, value)
        path.write_bytes(
            SignedKeyEpoch(
                body=epoch.SerializeToString(), signature=signed.signature, dealer=signed.dealer
            ).SerializeToString()
        )
        with pytest.raises(EvidenceError):
            load_enclave(trio.folder / NODES[0], trio.ca_pem)


def test_a_sealed_share_tells_nothing_by_its_printed_form(trio: Trio) -> None:
    """A share in a log or a traceback shows its index only."""
    path: Path = trio.folder / NODES[0] / "key_share.pb"
    sealed = SealedKeyShare.FromString(path.read_bytes())
    enclave = trio.enclaves[0]
    assert str(enclave.key_share.value) not in repr(enclave)
    assert sealed.node == NODES[0]
