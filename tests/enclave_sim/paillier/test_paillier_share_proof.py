"""Right parts are proven; a wrong one, anywhere, or right ones for something else, name the party that sent them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier import share_proof
from enclave_sim.paillier.challenge import short_numbers
from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, KeyShare, ThresholdKey
from enclave_sim.paillier.share_proof import (
    Parts,
    ShareProof,
    WrongShareError,
    check_partials,
    prove_partials,
)
from enclave_sim.paillier.threshold import partial_decrypt

Shared = tuple[ThresholdKey, tuple[KeyShare, ...]]


@dataclass(frozen=True)
class Statement:
    """Everything that a proof of partial decryptions is checked against."""

    key: ThresholdKey
    index: int
    ciphertexts: tuple[int, ...]
    partials: tuple[int, ...]
    proof: ShareProof
    context: bytes

    def check(self) -> Parts:
        return check_partials(self.key, self.index, self.ciphertexts, self.partials, self.proof, self.context)

    def but(self, **changes: Any) -> "Statement":
        return replace(self, **changes)


def prove(shared: Shared, index: int, plaintexts: Sequence[int], context: bytes = b"job") -> Statement:
    key, shares = shared
    ciphertexts = encrypt(key.public, plaintexts).ciphertexts
    partials = tuple(partial_decrypt(key, shares[index - 1], ciphertexts))
    proof = prove_partials(key, shares[index - 1], ciphertexts, partials, context)
    return Statement(key, index, ciphertexts, partials, proof, context)


def put(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


@pytest.fixture(scope="module")
def honest(shared: Shared) -> Statement:
    return prove(shared, 2, [1, -2, 3])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.binary(max_size=40))
def test_right_parts_check(shared: Shared, index: int, count: int, context: bytes) -> None:
    statement = prove(shared, index, range(count), context)
    assert statement.check() == Parts(shared[0], index, statement.ciphertexts, statement.partials)


def test_right_parts_of_what_phe_encrypts_check(shared: Shared) -> None:
    key, shares = shared
    # Randomness of Jacobi symbol 1 and of -1: not all of these are squares up to sign.
    ciphertexts = [key.public.raw.raw_encrypt(5, r_value=r) for r in range(1, 12)]
    partials = partial_decrypt(key, shares[0], ciphertexts)
    proof = prove_partials(key, shares[0], ciphertexts, partials, b"")
    assert check_partials(key, 1, ciphertexts, partials, proof, b"").values == tuple(partials)


def test_the_length_that_protects_checks_too(long_primes: tuple[int, int]) -> None:
    statement = prove(deal(*long_primes, parties=3, threshold=2, epoch=0), 3, [2**3000])
    statement.check()
    wrong = statement.partials[0] * 4 % statement.key.n
    with pytest.raises(WrongShareError, match="party 3"):
        statement.but(partials=(wrong,)).check()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_part_names_its_party(data: st.DataObject, honest: Statement) -> None:
    n = honest.key.n
    position = data.draw(st.integers(0, 2))
    factor = data.draw(st.sampled_from([2, n - 2, n - 1]) | st.integers(2, n - 1))
    wrong = put(honest.partials, position, honest.partials[position] * factor % n)
    with pytest.raises(WrongShareError) as refusal:
        honest.but(partials=wrong).check()
    assert refusal.value.index == 2


def test_a_cheater_who_proves_its_wrong_parts_itself_is_named(shared: Shared) -> None:
    """It knows its share and runs the prover on parts that are not what the share gives."""
    key, shares = shared
    ciphertexts = encrypt(key.public, [1, 2]).ciphertexts
    right = partial_decrypt(key, shares[1], ciphertexts)
    foreign = partial_decrypt(key, shares[2], ciphertexts)
    other_share = KeyShare(2, shares[1].value + 1)
    for share, partials in [
        (shares[1], [right[0], right[1] * 4 % key.n]),
        # Errors that cancel in a plain product of the vector.
        (shares[1], [right[0] * 4 % key.n, right[1] * pow(4, -1, key.n) % key.n]),
        (shares[1], right[::-1]),
        (shares[1], foreign),
        (KeyShare(2, shares[2].value), foreign),
        (other_share, partial_decrypt(key, other_share, ciphertexts)),
    ]:
        proof = prove_partials(key, share, ciphertexts, partials, b"job")
        with pytest.raises(WrongShareError):
            check_partials(key, 2, ciphertexts, partials, proof, b"job")


def test_errors_made_to_cancel_under_the_exponents_change_the_exponents(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cheater that bends two parts so that the batch of the right ones would not notice."""
    honest = prove(shared, 2, [1, 2])
    key, share, n = honest.key, shared[1][1], honest.key.n
    seen = recorded_exponents(monkeypatch)
    honest.check()
    one, other = seen[0]
    bent = (honest.partials[0] * pow(4, other, n) % n, honest.partials[1] * pow(4, -one, n) % n)
    cheat = honest.but(partials=bent)
    for proof in (honest.proof, prove_partials(key, share, honest.ciphertexts, bent, b"job")):
        with pytest.raises(WrongShareError):
            cheat.but(proof=proof).check()
    # The attack itself is sound: it passes where the exponents stay.
    monkeypatch.setattr(share_proof, "short_numbers", lambda *_: [one, other])
    cheat.but(proof=prove_partials(key, share, honest.ciphertexts, bent, b"job")).check()


def test_the_exponents_depend_on_the_verification_key(
    honest: Statement, primes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dealer in league with a party could else choose the key after the challenge."""
    seen = recorded_exponents(monkeypatch)
    honest.check()
    other = deal(*primes, parties=5, threshold=3, epoch=0)[0].verification_keys
    with pytest.raises(WrongShareError):
        honest.but(key=replace(honest.key, verification_keys=other)).check()
    assert seen[0] != seen[1]


def recorded_exponents(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    seen: list[list[int]] = []

    def recording(start: bytes, count: int) -> list[int]:
        seen.append(short_numbers(start, count))
        return seen[-1]

    monkeypatch.setattr(share_proof, "short_numbers", recording)
    return seen


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_bit_of_a_proof_is_rejected(data: st.DataObject, honest: Statement) -> None:
    proof = honest.proof
    challenge = proof.challenge ^ 1 << data.draw(st.integers(0, 140))
    response = proof.response ^ 1 << data.draw(st.integers(0, proof.response.bit_length() + 3))
    for wrong in (ShareProof(challenge, proof.response), ShareProof(proof.challenge, response)):
        with pytest.raises(WrongShareError):
            honest.but(proof=wrong).check()


def test_a_proof_is_of_one_encoding(honest: Statement, primes: tuple[int, int]) -> None:
    """Adding the order of the squares, or changing a sign, gives no second proof that would also check."""
    order = (primes[0] // 2) * (primes[1] // 2)
    challenge, response = honest.proof.challenge, honest.proof.response
    for wrong in (
        ShareProof(challenge, response + (order << 300)),
        ShareProof(challenge, response - (order << 300)),
        ShareProof(challenge + order, response),
        ShareProof(-challenge, response),
        ShareProof(0, 0),
        ShareProof(0, 1),
    ):
        with pytest.raises(WrongShareError):
            honest.but(proof=wrong).check()


def test_a_proof_is_good_for_its_statement_alone(honest: Statement, shared: Shared, primes: tuple[int, int]) -> None:
    key, ciphertexts, partials = honest.key, honest.ciphertexts, honest.partials
    other_keys = deal(*primes, parties=5, threshold=3, epoch=0)[0].verification_keys
    for changed in (
        honest.but(context=b"another job"),
        honest.but(context=b""),
        honest.but(index=3),
        honest.but(key=replace(key, epoch=1)),
        honest.but(key=replace(key, threshold=2)),
        honest.but(key=replace(key, parties=6, verification_keys=(*key.verification_keys, 4))),
        honest.but(key=replace(key, verification_keys=other_keys)),
        honest.but(ciphertexts=put(ciphertexts, 1, ciphertexts[1] * (1 + key.n) % key.public.nsquare)),
        honest.but(ciphertexts=encrypt(key.public, [1, -2, 3]).ciphertexts),
        honest.but(ciphertexts=ciphertexts[::-1], partials=partials[::-1]),
        honest.but(ciphertexts=ciphertexts[:2], partials=partials[:2]),
        honest.but(partials=partials[:2]),
        honest.but(partials=(*partials, 1)),
        honest.but(ciphertexts=(), partials=()),
    ):
        with pytest.raises(WrongShareError) as refusal:
            changed.check()
        assert refusal.value.index == changed.index


def test_parts_out_of_range_are_rejected(honest: Statement, primes: tuple[int, int]) -> None:
    for bad in (0, honest.partials[0] + honest.key.n, honest.partials[0] - honest.key.n, primes[0]):
        with pytest.raises(WrongShareError):
            honest.but(partials=put(honest.partials, 0, bad)).check()


def test_what_is_no_ciphertext_is_no_statement(honest: Statement) -> None:
    with pytest.raises(BadCiphertextError):
        honest.but(ciphertexts=put(honest.ciphertexts, 0, honest.key.n)).check()


@pytest.mark.parametrize("index", [0, -1, 6])
def test_indexes_of_no_party_are_refused(honest: Statement, index: int) -> None:
    with pytest.raises(BadKeyError):
        honest.but(index=index).check()


def test_a_key_without_verification_keys_checks_nothing(honest: Statement) -> None:
    with pytest.raises(BadKeyError):
        honest.but(key=replace(honest.key, verification_keys=())).check()


def test_no_two_statements_share_a_nonce_and_the_response_hides_the_share(shared: Shared, honest: Statement) -> None:
    """The hidden part is 128 bits longer than challenge times share: its top bits look the same for every share."""
    key, shares = shared
    jobs = [f"job-{number}".encode() for number in range(40)]
    proofs = [prove_partials(key, shares[1], honest.ciphertexts, honest.partials, job) for job in jobs]
    hidden = {proof.response - proof.challenge * shares[1].value for proof in proofs}
    assert len({proof.challenge for proof in proofs}) == len(hidden) == 40
    bits = key.public.bits + 256
    assert max(proof.response for proof in proofs) >> (bits - 1) == 1
    assert {proof.response >> (bits - 1) for proof in proofs} == {0, 1}


def test_two_parties_have_nonces_of_their_own_for_one_statement(shared: Shared, honest: Statement) -> None:
    """What is hashed into a nonce is secret: nobody else can compute it."""
    key, shares = shared
    hidden = set()
    for share in shares:
        proof = prove_partials(key, share, honest.ciphertexts, honest.partials, b"job")
        hidden.add(proof.response - proof.challenge * share.value)
    assert len(hidden) == len(shares)


def test_a_proof_that_is_asked_for_again_is_the_same(shared: Shared, honest: Statement) -> None:
    """A node repeats the same bytes for the same total."""
    key, shares = shared
    first, again = (prove_partials(key, shares[1], honest.ciphertexts, honest.partials, b"job") for _ in range(2))
    assert first == again
