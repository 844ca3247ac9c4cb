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
        check_plaintexts(self.key, self.holder, self.ciphertexts, self.proof, self.context)

    def but(self, **changes: Any) -> "Statement":
        return replace(self, **changes)


def prove(key: ThresholdKey, plaintexts: Sequence[int], holder: int = 2, context: bytes = b"job") -> Statement:
    made = encrypt(key.public, plaintexts)
    proof = prove_plaintexts(key, holder, plaintexts, made, context)
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
    response = proof.response ^ 1 << data.draw(st.integers(0, bits + 1))
    randomness = proof.randomness ^ 1 << data.draw(st.integers(0, bits + 1))
    for wrong in (
        replace(proof, challenge=bytes(flipped)),
        replace(proof, response=response),
        replace(proof, randomness=randomness),
    ):
        assert rejected(honest.but(proof=wrong))
    position = data.draw(st.integers(0, len(PLAINTEXTS) - 1))
    factor = data.draw(st.sampled_from([1 + honest.key.n, honest.key.n**2 - 1]) | st.integers(2, honest.key.n - 1))
    ciphertexts = list(honest.ciphertexts)
    ciphertexts[position] = ciphertexts[position] * factor % honest.key.n**2
    assert rejected(honest.but(ciphertexts=tuple(ciphertexts)))


def test_a_proof_is_of_one_encoding(honest: Statement, primes: tuple[int, int]) -> None:
    proof, n = honest.proof, honest.key.n
    for wrong in (
        replace(proof, response=proof.response + n),
        replace(proof, response=proof.response - n),
        replace(proof, randomness=proof.randomness + n),
        replace(proof, randomness=n - proof.randomness),
        replace(proof, randomness=0),
        replace(proof, randomness=primes[0]),
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
    """A linear protocol bends: z times k and rho to the k answer for the k-th power, but the hash does not follow."""
    n, proof = honest.key.n, honest.proof
    bent = PlaintextProof(proof.challenge, proof.response * k % n, pow(proof.randomness, k, n))
    ciphertexts = powers_of(honest.ciphertexts, k, n)
    assert answers(honest.key, honest.ciphertexts, proof, commitment_of(honest), 1)
    assert answers(honest.key, ciphertexts, bent, commitment_of(honest), k)
    thief = honest.but(holder=3, ciphertexts=ciphertexts)
    for stolen in (proof, bent):
        assert rejected(thief.but(proof=stolen))


def commitment_of(statement: Statement) -> int:
    """a = (1 + z n) rho**n / prod c_j**e_j."""
    n, proof = statement.key.n, statement.proof
    value = (1 + proof.response * n) * pow(proof.randomness, n, n * n)
    exponents = short_numbers(proof.challenge, len(statement.ciphertexts))
    for ciphertext, exponent in zip(statement.ciphertexts, exponents, strict=True):
        value = value * pow(ciphertext, -exponent, n * n) % n**2
    return value


def answers(key: ThresholdKey, ciphertexts: Sequence[int], proof: PlaintextProof, commitment: int, k: int) -> bool:
    """Whether the equation of the protocol holds for the k-th power of a commitment, whatever the hash."""
    n = key.n
    left = (1 + proof.response * n) * pow(proof.randomness, n, n * n) % n**2
    right = pow(commitment, k, n * n)
    for ciphertext, exponent in zip(ciphertexts, short_numbers(proof.challenge, len(ciphertexts)), strict=True):
        right = right * pow(ciphertext, exponent, n * n) % n**2
    return left == right


def test_a_rerandomised_copy_is_not_proven_by_who_made_the_copy(honest: Statement) -> None:
    """The thief knows the masks and plaintexts that it added, and claims theirs or guesses zeros."""
    key, n = honest.key, honest.key.n
    added = [5, 6, 7, 8]
    own = encrypt(key.public, added)
    for k in (1, -1, 2):
        copies = tuple(
            mask * stolen % n**2
            for mask, stolen in zip(own.ciphertexts, powers_of(honest.ciphertexts, k, n), strict=True)
        )
        claimed = Encryption(copies, own.exponents)
        for plaintexts in (added, [0] * 4):
            proof = prove_plaintexts(key, 3, plaintexts, claimed, b"job")
            assert rejected(Statement(key, 3, copies, proof, b"job"))


def test_one_stolen_ciphertext_among_own_ones_is_rejected(honest: Statement) -> None:
    key = honest.key
    own = encrypt(key.public, [1, 2, 3])
    mixed = Encryption((*own.ciphertexts[:2], honest.ciphertexts[0]), own.exponents)
    proof = prove_plaintexts(key, 3, [1, 2, 3], mixed, b"job")
    assert rejected(Statement(key, 3, mixed.ciphertexts, proof, b"job"))


def test_a_wrong_plaintext_or_exponent_proves_nothing(key: ThresholdKey) -> None:
    made = encrypt(key.public, [1, 2])
    wrong_exponents = replace(made, exponents=made.exponents[::-1])
    for plaintexts, encryption in (([1, 3], made), ([2, 1], made), ([1, 2], wrong_exponents)):
        proof = prove_plaintexts(key, 1, plaintexts, encryption, b"job")
        assert rejected(Statement(key, 1, made.ciphertexts, proof, b"job"))


def test_two_answers_to_one_commitment_reveal_the_plaintext(key: ThresholdKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor of the argument, for one ciphertext: so a prover that can answer twice knows what is inside."""
    plaintext = 123456789
    made = encrypt(key.public, [plaintext])
    secret = iter([99, 10**9] * 2)
    monkeypatch.setattr("secrets.randbelow", lambda _: next(secret))
    monkeypatch.setattr("secrets.randbits", lambda _: next(secret))
    # Two contexts, one commitment: two challenges.
    first, second = (prove_plaintexts(key, 1, [plaintext], made, context) for context in (b"a", b"b"))
    (e_1,), (e_2,) = short_numbers(first.challenge, 1), short_numbers(second.challenge, 1)
    assert (first.response - second.response) * pow(e_1 - e_2, -1, key.n) % key.n == plaintext


@pytest.mark.parametrize("count", [1, 4, 1000])
def test_the_commitment_is_long_enough_to_hide_the_masks(
    key: ThresholdKey, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """It drowns sum e_j a_j, which has 128 + 256 bits for each of `count` masks, by 128 bits."""
    made = encrypt(key.public, [0] * count)
    asked: list[int] = []
    monkeypatch.setattr("secrets.randbits", lambda bits: asked.append(bits) or 1)  # type: ignore[func-returns-value]
    prove_plaintexts(key, 1, [0] * count, made, b"job")
    (bits,) = asked
    assert count << (128 + 256) <= 1 << (bits - 128)


def test_a_proof_hides_the_plaintexts_and_differs_every_time(key: ThresholdKey) -> None:
    made = encrypt(key.public, [0])
    proofs = [prove_plaintexts(key, 1, [0], made, b"job") for _ in range(40)]
    assert len({proof.response for proof in proofs}) == len({proof.randomness for proof in proofs}) == 40
    # The response is uniform mod n, though the plaintext is 0: it is above and below n / 2.
    assert {2 * proof.response > key.n for proof in proofs} == {True, False}


def test_what_is_no_ciphertext_or_no_party_is_refused(honest: Statement) -> None:
    with pytest.raises(BadCiphertextError):
        honest.but(ciphertexts=(honest.key.n, *honest.ciphertexts[1:])).check()
    for holder in (0, -1, 6):
        with pytest.raises(BadKeyError):
            honest.but(holder=holder).check()
        with pytest.raises(BadKeyError):
            prove_plaintexts(honest.key, holder, [], encrypt(honest.key.public, []), b"job")
