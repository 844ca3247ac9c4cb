"""Known answers: ciphertexts made by phe for a published key, which phe and a threshold of shares open alike."""

import hashlib

import pytest
from phe.paillier import PaillierPrivateKey

from enclave_sim.paillier.encoding import to_bytes
from enclave_sim.paillier.encryption import add
from enclave_sim.paillier.keys import KeyShare, PublicKey, ThresholdKey
from enclave_sim.paillier.opening import Opening
from enclave_sim.paillier.share_proof import check_partials, prove_partials
from enclave_sim.paillier.threshold import combine, partial_decrypt

VECTORS = {
    # Plaintext, randomness, and the start of SHA-256 over the ciphertext's bytes.
    "zero": (0, 2, "e310615940514e16"),
    "one, not hidden": (1, 1, "a78b2ebc6bbe207c"),
    "a small number": (41, 0x10001, "88998884810b3d0a"),
    "a long number": (3**320, 7**150, "2ee8bd263531e5ab"),
    "minus one": (-1, 5**200, "2c9e32430546d4ea"),
}


def ciphertext_of(public: PublicKey, name: str) -> int:
    plaintext, randomness, _ = VECTORS[name]
    return int(public.raw.raw_encrypt(plaintext % public.n, r_value=randomness % public.n))


def opened(shared: tuple[ThresholdKey, tuple[KeyShare, ...]], ciphertexts: list[int]) -> Opening:
    """What the last three of five shares open them to."""
    key, shares = shared
    checked = []
    for share in shares[2:]:
        parts = partial_decrypt(key, share, ciphertexts)
        proof = prove_partials(key, share, ciphertexts, parts, b"known")
        checked.append(check_partials(key, share.index, ciphertexts, parts, proof, b"known"))
    return combine(key, checked)


@pytest.mark.parametrize("name", VECTORS)
def test_a_ciphertext_of_phe_is_the_known_one(public: PublicKey, name: str) -> None:
    (encoded,) = to_bytes([ciphertext_of(public, name)], public.nsquare)
    assert hashlib.sha256(encoded).hexdigest()[:16] == VECTORS[name][2]


@pytest.mark.parametrize("name", VECTORS)
def test_it_opens_to_the_same_here_and_there(
    public: PublicKey, whole_key: PaillierPrivateKey, shared: tuple[ThresholdKey, tuple[KeyShare, ...]], name: str
) -> None:
    plaintext, randomness, _ = VECTORS[name]
    ciphertext = ciphertext_of(public, name)
    assert whole_key.raw_decrypt(ciphertext) == plaintext % public.n
    opening = opened(shared, [ciphertext])
    assert (opening.residues, opening.randomness) == ((plaintext % public.n,), (randomness % public.n,))


def test_the_sum_of_all_opens_to_the_same_here_and_there(
    public: PublicKey, whole_key: PaillierPrivateKey, shared: tuple[ThresholdKey, tuple[KeyShare, ...]]
) -> None:
    total = add(public, [[ciphertext_of(public, name)] for name in VECTORS])
    expected = sum(plaintext for plaintext, _, _ in VECTORS.values()) % public.n
    assert whole_key.raw_decrypt(total[0]) == expected
    assert opened(shared, total).residues == (expected,)
