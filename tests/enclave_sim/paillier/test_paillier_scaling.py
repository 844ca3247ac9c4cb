"""From one key holder to fifty: what grows with their number, what does not, and that the total opens."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from enclave_sim.paillier import plaintext_proof, share_proof, threshold
from enclave_sim.paillier.dealer import MODULUS_BITS, deal
from enclave_sim.paillier.encoding import to_bytes
from enclave_sim.paillier.encryption import Encryption, add, encrypt
from enclave_sim.paillier.exponent import FixedBase
from enclave_sim.paillier.keys import KeyShare, ThresholdKey
from enclave_sim.paillier.opening import check_opening
from enclave_sim.paillier.packing import Layout, pack, slot_bits_for, unpack
from enclave_sim.paillier.plaintext_proof import Claim, PlaintextProof, check_plaintexts, prove_plaintexts
from enclave_sim.paillier.share_proof import ShareProof, check_partials, prove_partials
from enclave_sim.paillier.threshold import TooFewSharesError, combine, majority, partial_decrypt
from enclave_sim.plan.layout import layout_of
from gateway.planning.query import plan_query
from tests.attacks.three_enclaves import DELTA, QUERY, visits_declaration

HOLDERS = (1, 2, 3, 10, 50)
LARGEST = 10**6
CELLS = 60

Powers = Counter[tuple[str, int]]
"""How many numbers were raised to a power, by function and bits of the modulus."""


@contextmanager
def counted() -> Iterator[Powers]:
    """Counts the powers that are computed meanwhile."""
    powers: Powers = Counter()

    def counting(name: str, function: Callable[..., Any], modulus_of: Callable[..., int]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            numbers = arguments[1] if name == "mask" else arguments[0]
            powers[name, modulus_of(*arguments).bit_length()] += len(numbers)
            return function(*arguments)

        return call

    def of_mask(base: FixedBase, _: Sequence[int]) -> int:
        return base.modulus

    def last(*arguments: Any) -> int:
        return int(arguments[-1])

    with ExitStack() as patches:
        patches.enter_context(patch.object(FixedBase, "powers", counting("mask", FixedBase.powers, of_mask)))
        for module in (plaintext_proof, share_proof, threshold):
            for name in ("powers", "powers_to_secret", "product_of_powers"):
                if hasattr(module, name):
                    patches.enter_context(patch.object(module, name, counting(name, getattr(module, name), last)))
        yield powers


@dataclass(frozen=True)
class Contributed:
    """What one holder makes for a job."""

    encryption: Encryption
    proof: PlaintextProof
    powers: Powers


@dataclass(frozen=True)
class Job:
    """One job of a number of holders, opened by as many as the threshold."""

    key: ThresholdKey
    shares: tuple[KeyShare, ...]
    layout: Layout
    vectors: list[list[int]]
    contributed: list[Contributed]
    checking: Powers
    total: list[int]
    parts: list[list[int]]
    proofs: list[ShareProof]
    opening_powers: list[Powers]


def run(primes: tuple[int, int], holders: int) -> Job:
    """Every holder contributes, the first checks all others, a threshold of them open."""
    key, shares = deal(*primes, parties=holders, threshold=majority(holders), epoch=0)
    # Room for the total of the most holders, so that one layout serves all.
    layout = Layout(slot_bits_for(max(HOLDERS) * LARGEST), CELLS, key.public.bits)
    vectors = [[(-1) ** cell * (LARGEST - 7 * holder - cell) for cell in range(CELLS)] for holder in range(holders)]
    contributed = [contribute(key, index, pack(vector, layout)) for index, vector in enumerate(vectors, 1)]
    with counted() as checking:
        claims = [Claim(index, one.encryption.ciphertexts, one.proof) for index, one in enumerate(contributed[1:], 2)]
        check_plaintexts(key, claims, b"job")
    total = add(key.public, [one.encryption.ciphertexts for one in contributed])
    parts, proofs, opening_powers = [], [], []
    for share in shares[: key.threshold]:
        with counted() as powers:
            parts.append(partial_decrypt(key, share, total))
            proofs.append(prove_partials(key, share, total, parts[-1], b"job"))
        opening_powers.append(powers)
    return Job(key, shares, layout, vectors, contributed, checking, total, parts, proofs, opening_powers)


def contribute(key: ThresholdKey, index: int, plaintexts: list[int]) -> Contributed:
    """Encrypt and prove."""
    with counted() as powers:
        encryption = encrypt(key.public, plaintexts)
        proof = prove_plaintexts(key, index, encryption, b"job")
    return Contributed(encryption, proof, powers)


@pytest.fixture(scope="module")
def jobs(primes: tuple[int, int]) -> dict[int, Job]:
    return {holders: run(primes, holders) for holders in HOLDERS}


def test_what_a_holder_makes_does_not_depend_on_how_many_there_are(jobs: dict[int, Job]) -> None:
    """As many masks as ciphertexts, and two powers for the proof."""
    made = [one for job in jobs.values() for one in job.contributed]
    assert len(made) == sum(HOLDERS)
    ciphertexts = jobs[1].layout.plaintexts
    assert ciphertexts > 1
    bits = jobs[1].key.public.bits
    nsquare_bits = jobs[1].key.public.nsquare.bit_length()
    expected = {("mask", nsquare_bits): ciphertexts, ("mask", bits): 2}
    assert all(one.powers == expected for one in made)
    assert {len(one.encryption.ciphertexts) for one in made} == {ciphertexts}


def test_a_plan_for_fifty_fills_as_many_ciphertexts_as_for_one() -> None:
    """Its slots are longer by the bits that fifty shares of noise need, less than one a doubling."""
    plans = [
        plan_query(QUERY, visits_declaration(), dataset_version=bytes(32), parties=holders, epsilon=1.0, delta=DELTA)
        for holders in HOLDERS
    ]
    assert {layout_of(plan, MODULUS_BITS).plaintexts for plan in plans} == {1}
    for holders, plan in zip(HOLDERS, plans, strict=True):
        assert plan.slot_bits <= plans[0].slot_bits + holders.bit_length()


def test_checking_the_others_grows_with_their_number(jobs: dict[int, Job]) -> None:
    assert jobs[2].checking
    for holders, job in jobs.items():
        assert job.checking == Counter({kind: (holders - 1) * count for kind, count in jobs[2].checking.items()})


def test_the_threshold_opens_the_sum_and_one_fewer_does_not(jobs: dict[int, Job]) -> None:
    for job in jobs.values():
        checked = [
            check_partials(job.key, share.index, job.total, part, proof, b"job")
            for share, part, proof in zip(job.shares, job.parts, job.proofs, strict=False)
        ]
        assert len(checked) == job.key.threshold
        opening = combine(job.key, checked)
        check_opening(job.key.public, job.total, opening)
        assert unpack(opening.residues, job.layout, job.key.n) == [
            sum(cells) for cells in zip(*job.vectors, strict=True)
        ]
        with pytest.raises(TooFewSharesError):
            combine(job.key, checked[1:])


def test_a_part_and_its_proof_are_as_long_and_take_as_many_powers_for_fifty_as_for_one(jobs: dict[int, Job]) -> None:
    """What grows are the exponents: a part's by the bits of holders!, 214 of them for fifty."""
    sizes, powers = set(), []
    for job in jobs.values():
        for part, proof in zip(job.parts, job.proofs, strict=True):
            encoded = [*to_bytes(part, job.key.n), *proof.to_bytes(job.key)]
            sizes.add(tuple(map(len, encoded)))
        powers += job.opening_powers
    assert len(sizes) == 1
    assert powers
    assert all(one == powers[0] for one in powers)
