"""Who encrypts proves that it knows what is inside; copies of others' ciphertexts, however disguised, are rejected."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier.challenge import short_numbers
from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import Encryption, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, KeyShare, ThresholdKey
from enclave_sim.paillier.plaintext_proof import (
    Claim,
    PlaintextProof,
    UnknownPlaintextError,
    check_plaintexts,
    prove_plaintexts,
)

Shared = tuple[ThresholdKey, tuple[KeyShare, ...]]
PLAINTEXTS = [7, 0, -1, 2**500]


@dataclass(frozen=True)
class Statement:
    """Everything that a proof of plaintexts is checked against."""

    key: ThresholdKey
    holder: int
    ciphertexts: tuple[int, ...]
    proof: PlaintextProof
    context: bytes

    def check(self) -> None:
        check_plaintexts(self.key, [Claim(self.holder, self.ciphertexts, self.proof)], self.context)

    def but(self, **changes: Any) -> "Statement":
        return replace(self, **changes)


def prove(key: ThresholdKey, plaintexts: Sequence[int], holder: int = 2, context: bytes = b"job") -> Statement:
    made = encrypt(key.public, plaintexts)
    proof = prove_plaintexts(key, holder, made, context)
    return Statement(key, holder, made.ciphertexts, proof, context)


def rejected(statement: Statement) -> bool:
    try:
        statement.check()
    except UnknownPlaintextError as error:
        return error.holder == statement.holder
    return False


@pytest.fixture(scope="module")
def key(shared: Shared) -> ThresholdKey:
    return shared[0]


@pytest.fixture(scope="module")
def honest(key: ThresholdKey) -> Statement:
    return prove(key, PLAINTEXTS)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_who_encrypts_can_prove_it(data: st.DataObject, key: ThresholdKey) -> None:
    half = key.n // 2
    plaintexts = data.draw(st.lists(st.sampled_from([-half, 0, half]) | st.integers(-half, half), max_size=6))
    prove(key, plaintexts, data.draw(st.integers(1, 5)), data.draw(st.binary(max_size=40))).check()


def test_the_length_that_protects_checks_too(long_primes: tuple[int, int]) -> None:
    statement = prove(deal(*long_primes, parties=3, threshold=2, epoch=0)[0], [2**3000, -1])
    statement.check()
    assert rejected(statement.but(ciphertexts=statement.ciphertexts[::-1]))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_bit_anywhere_is_rejected(data: st.DataObject, honest: Statement) -> None:
    proof, bits = honest.proof, honest.key.public.bits
    flipped = bytearray(proof.challenge)
    flipped[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
    root = proof.root ^ 1 << data.draw(st.integers(0, bits + 1))
    for wrong in (replace(proof, challenge=bytes(flipped)), replace(proof, root=root)):
        assert rejected(honest.but(proof=wrong))
    position = data.draw(st.integers(0, len(PLAINTEXTS) - 1))
    factor = data.draw(st.sampled_from([1 + honest.key.n, honest.key.n**2 - 1]) | st.integers(2, honest.key.n - 1))
    ciphertexts = list(honest.ciphertexts)
    ciphertexts[position] = ciphertexts[position] * factor % honest.key.n**2
    assert rejected(honest.but(ciphertexts=tuple(ciphertexts)))


def test_a_proof_is_of_one_encoding(honest: Statement, primes: tuple[int, int]) -> None:
    proof, n = honest.proof, honest.key.n
    for wrong in (
        replace(proof, root=proof.root + n),
        replace(proof, root=n - proof.root),
        replace(proof, root=0),
        replace(proof, root=primes[0]),
        replace(proof, challenge=proof.challenge + b"\0"),
        replace(proof, challenge=proof.challenge[:31]),
        replace(proof, challenge=b""),
    ):
        assert rejected(honest.but(proof=wrong))


def test_a_proof_is_good_for_its_holder_job_and_epoch_alone(honest: Statement) -> None:
    for changed in (
        honest.but(holder=3),
        honest.but(context=b"another job"),
        honest.but(context=b""),
        honest.but(key=replace(honest.key, epoch=1)),
        honest.but(ciphertexts=honest.ciphertexts[:3]),
        honest.but(ciphertexts=(*honest.ciphertexts, 1)),
        honest.but(ciphertexts=honest.ciphertexts[::-1]),
        honest.but(ciphertexts=()),
    ):
        assert rejected(changed)


def powers_of(ciphertexts: Sequence[int], k: int, n: int) -> tuple[int, ...]:
    return tuple(pow(c, k, n * n) for c in ciphertexts)


@pytest.mark.parametrize("k", [1, -1, 2, 3, -5])
def test_a_power_of_anothers_ciphertexts_is_not_proven_by_bending_its_proof(honest: Statement, k: int) -> None:
    """A linear protocol bends: rho to the k answers for the k-th power, but the hash does not follow."""
    n, proof = honest.key.n, honest.proof
    bent = PlaintextProof(proof.challenge, pow(proof.root, k, n))
    ciphertexts = powers_of(honest.ciphertexts, k, n)
    assert answers(honest.key, honest.ciphertexts, proof, commitment_of(honest), 1)
    assert answers(honest.key, ciphertexts, bent, commitment_of(honest), k)
    thief = honest.but(holder=3, ciphertexts=ciphertexts)
    for stolen in (proof, bent):
        assert rejected(thief.but(proof=stolen))


def commitment_of(statement: Statement) -> int:
    """A = rho**n / prod x_j**e_j."""
    n, proof = statement.key.n, statement.proof
    value = pow(proof.root, n, n)
    exponents = short_numbers(proof.challenge, len(statement.ciphertexts))
    for ciphertext, exponent in zip(statement.ciphertexts, exponents, strict=True):
        value = value * pow(ciphertext, -exponent, n) % n
    return value


def answers(key: ThresholdKey, ciphertexts: Sequence[int], proof: PlaintextProof, commitment: int, k: int) -> bool:
    """Whether the equation of the protocol holds for the k-th power of a commitment, whatever the hash."""
    n = key.n
    right = pow(commitment, k, n)
    for ciphertext, exponent in zip(ciphertexts, short_numbers(proof.challenge, len(ciphertexts)), strict=True):
        right = right * pow(ciphertext, exponent, n) % n
    return pow(proof.root, n, n) == right


def test_a_rerandomised_copy_is_not_proven_by_who_made_the_copy(honest: Statement) -> None:
    """The thief knows the masks and plaintexts that it added, and claims those masks."""
    key, n = honest.key, honest.key.n
    own = encrypt(key.public, [5, 6, 7, 8])
    for k in (1, -1, 2):
        copies = tuple(
            mask * stolen % n**2
            for mask, stolen in zip(own.ciphertexts, powers_of(honest.ciphertexts, k, n), strict=True)
        )
        proof = prove_plaintexts(key, 3, Encryption(copies, own.exponents), b"job")
        assert rejected(Statement(key, 3, copies, proof, b"job"))


def test_a_shifted_copy_is_not_proven_by_the_owners_proof(honest: Statement) -> None:
    """Modulo n it is the same number; the hash binds it modulo n**2."""
    n = honest.key.n
    shifted = tuple(c * (1 + n) % n**2 for c in honest.ciphertexts)
    assert [c % n for c in shifted] == [c % n for c in honest.ciphertexts]
    assert rejected(honest.but(ciphertexts=shifted))


def test_one_stolen_ciphertext_among_own_ones_is_rejected(honest: Statement) -> None:
    key = honest.key
    own = encrypt(key.public, [1, 2, 3])
    mixed = Encryption((*own.ciphertexts[:2], honest.ciphertexts[0]), own.exponents)
    proof = prove_plaintexts(key, 3, mixed, b"job")
    assert rejected(Statement(key, 3, mixed.ciphertexts, proof, b"job"))


def test_a_wrong_exponent_proves_nothing(key: ThresholdKey) -> None:
    made = encrypt(key.public, [1, 2])
    proof = prove_plaintexts(key, 1, replace(made, exponents=made.exponents[::-1]), b"job")
    assert rejected(Statement(key, 1, made.ciphertexts, proof, b"job"))


def test_two_answers_to_one_commitment_reveal_the_plaintext(key: ThresholdKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor of the argument, for one ciphertext: so a prover that can answer twice knows what is inside."""
    n, plaintext = key.n, 123456789
    made = encrypt(key.public, [plaintext])
    monkeypatch.setattr("secrets.randbits", lambda _: 10**9)
    # Two contexts, one commitment: two challenges.
    first, second = (prove_plaintexts(key, 1, made, context) for context in (b"a", b"b"))
    (e_1,), (e_2,) = short_numbers(first.challenge, 1), short_numbers(second.challenge, 1)
    # (rho_1 / rho_2)**n = x**(e_1 - e_2), and u (e_1 - e_2) + v n = 1.
    (c,) = made.ciphertexts
    u = pow(e_1 - e_2, -1, n)
    v = (1 - u * (e_1 - e_2)) // n
    root = pow(first.root * pow(second.root, -1, n), u, n) * pow(c, v, n) % n
    assert pow(root, n, n) == c % n
    assert (c * pow(root, -n, n * n) % n**2 - 1) // n == plaintext


@pytest.mark.parametrize("count", [1, 4, 1000])
def test_the_commitment_is_long_enough_to_hide_the_masks(
    key: ThresholdKey, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """It drowns sum e_j a_j, which has 128 + 256 bits for each of `count` masks, by 128 bits."""
    made = encrypt(key.public, [0] * count)
    asked: list[int] = []
    monkeypatch.setattr("secrets.randbits", lambda bits: asked.append(bits) or 1)  # type: ignore[func-returns-value]
    prove_plaintexts(key, 1, made, b"job")
    (bits,) = asked
    assert count << (128 + 256) <= 1 << (bits - 128)


def test_a_proof_hides_the_plaintexts_and_differs_every_time(key: ThresholdKey) -> None:
    made = encrypt(key.public, [0])
    proofs = [prove_plaintexts(key, 1, made, b"job") for _ in range(40)]
    assert len({proof.challenge for proof in proofs}) == len({proof.root for proof in proofs}) == 40
    # The root is spread over all of Z_n, though the plaintext is 0: it is above and below n / 2.
    assert {2 * proof.root > key.n for proof in proofs} == {True, False}


def test_what_is_no_ciphertext_or_no_party_is_refused(honest: Statement) -> None:
    with pytest.raises(BadCiphertextError):
        honest.but(ciphertexts=(honest.key.n, *honest.ciphertexts[1:])).check()
    for holder in (0, -1, 6):
        with pytest.raises(BadKeyError):
            honest.but(holder=holder).check()
        with pytest.raises(BadKeyError):
            prove_plaintexts(honest.key, holder, encrypt(honest.key.public, []), b"job")


def test_of_several_claims_the_wrong_one_is_named(key: ThresholdKey) -> None:
    """Checked together, and each for itself: right ones do not lend a wrong one anything."""
    claims = []
    for holder in (1, 2, 3):
        made = encrypt(key.public, [holder, -holder])
        proof = prove_plaintexts(key, holder, made, b"job")
        claims.append(Claim(holder, made.ciphertexts, proof))
    check_plaintexts(key, claims, b"job")
    check_plaintexts(key, [], b"job")
    swapped = [claims[0], replace(claims[1], proof=claims[2].proof), claims[2]]
    with pytest.raises(UnknownPlaintextError) as caught:
        check_plaintexts(key, swapped, b"job")
    assert caught.value.holder == 2
