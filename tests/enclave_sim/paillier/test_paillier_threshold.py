"""Every threshold of proven shares opens, what it opens proves itself, and no smaller number opens anything."""

import importlib
import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phe.paillier import PaillierPrivateKey

import enclave_sim.paillier
from enclave_sim.paillier.challenge import number_below, seed
from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import add, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, KeyShare, ThresholdKey
from enclave_sim.paillier.opening import check_opening
from enclave_sim.paillier.packing import Layout, pack, slot_bits_for, unpack
from enclave_sim.paillier.share_proof import Parts, check_partials, prove_partials
from enclave_sim.paillier.threshold import (
    DifferentStatementsError,
    TooFewSharesError,
    WrongPartsError,
    combine,
    lagrange,
    majority,
    partial_decrypt,
)

Shared = tuple[ThresholdKey, tuple[KeyShare, ...]]


def parts(shared: Shared, indexes: Iterable[int], ciphertexts: Sequence[int]) -> list[Parts]:
    """What these parties give, as it is after their proofs were checked."""
    key, shares = shared
    checked = []
    for index in indexes:
        values = partial_decrypt(key, shares[index - 1], ciphertexts)
        proof = prove_partials(key, shares[index - 1], ciphertexts, values, b"job")
        checked.append(check_partials(key, index, ciphertexts, values, proof, b"job"))
    return checked


def test_every_threshold_opens_what_phe_encrypts_with_the_randomness_that_phe_used(shared: Shared) -> None:
    key, _ = shared
    plaintexts = [0, 1, 2**400 + 17, key.n - 1]
    # phe's randomness is any unit, not only one of Jacobi symbol 1 as in our masks.
    randomness = [2, key.n - 1, 1, 3**300 % key.n]
    ciphertexts = [key.public.raw.raw_encrypt(m, r_value=r) for m, r in zip(plaintexts, randomness, strict=True)]
    everyone = parts(shared, range(1, 6), ciphertexts)
    subsets = list(combinations(everyone, key.threshold))
    assert len(subsets) == 10
    for subset in subsets:
        opening = combine(key, subset)
        assert (list(opening.residues), list(opening.randomness)) == (plaintexts, randomness)


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (2, 1), (2, 2), (3, 2), (9, 5), (20, 20)])
def test_every_shape_of_sharing_opens(primes: tuple[int, int], parties: int, threshold: int) -> None:
    shared = deal(*primes, parties=parties, threshold=threshold, epoch=0)
    key = shared[0]
    ciphertexts = encrypt(key.public, [-5, 2**300]).ciphertexts
    opening = combine(key, parts(shared, range(parties - threshold + 1, parties + 1), ciphertexts))
    assert opening.residues == (key.n - 5, 2**300)
    check_opening(key.public, ciphertexts, opening)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_packed_sums_open_exactly(data: st.DataObject, shared: Shared, whole_key: PaillierPrivateKey) -> None:
    key, _ = shared
    largest, count = 10**6, 12
    layout = Layout(slot_bits_for(3 * largest), count, key.public.bits)
    value = st.sampled_from([-largest, largest]) | st.integers(-largest, largest)
    contribution = st.lists(value, min_size=count, max_size=count)
    contributions = data.draw(st.lists(contribution, min_size=3, max_size=3))
    total = add(key.public, [encrypt(key.public, pack(values, layout)).ciphertexts for values in contributions])
    opening = combine(key, parts(shared, (1, 3, 4), total))
    check_opening(key.public, total, opening)
    assert unpack(opening.residues, layout, key.n) == [sum(column) for column in zip(*contributions, strict=True)]
    assert list(opening.residues) == [whole_key.raw_decrypt(ciphertext) for ciphertext in total]


def test_the_length_that_protects_opens_too(long_primes: tuple[int, int]) -> None:
    shared = deal(*long_primes, parties=3, threshold=2, epoch=0)
    key = shared[0]
    assert key.public.bits == 3072
    made = encrypt(key.public, [-(2**3000), 12345])
    opening = combine(key, parts(shared, (1, 3), made.ciphertexts))
    assert opening.residues == (key.n - 2**3000, 12345)
    assert opening.randomness == tuple(pow(key.public.mask_base, exponent, key.n) for exponent in made.exponents)
    check_opening(key.public, made.ciphertexts, opening)


def test_parts_follow_from_what_is_opened_and_fewer_shares_than_the_threshold(shared: Shared) -> None:
    """The argument of the module, step 1: whoever has the opening and two of three shares computes the third part."""
    key, shares = shared
    made = encrypt(key.public, [42])
    randomness = pow(key.public.mask_base, made.exponents[0], key.n)
    known = {1: shares[0].value, 4: shares[3].value}
    corners = (0, *known)
    for index in (2, 3, 5):
        assert simulated(key, index, corners, known, randomness) == partial_decrypt(
            key, shares[index - 1], made.ciphertexts
        )
        root = number_below(seed("verification base", key.n), key.n)
        assert simulated(key, index, corners, known, root) == [key.verification_keys[index - 1]]


def simulated(
    key: ThresholdKey, index: int, corners: Sequence[int], known: dict[int, int], randomness: int
) -> list[int]:
    """randomness**(2 (l_0 + n sum l_j s_j)): party `index`'s part for the n-th power of `randomness`."""
    weight = {}
    for corner in corners:
        others = [other for other in corners if other != corner]
        numerator = key.delta * math.prod(index - other for other in others)
        weight[corner] = numerator // math.prod(corner - other for other in others)
    exponent = weight[0] + key.n * sum(weight[j] * value for j, value in known.items())
    return [pow(randomness, 2 * exponent, key.n)]


def test_fewer_parts_than_the_threshold_are_refused(shared: Shared) -> None:
    key, _ = shared
    some = parts(shared, (2, 4), encrypt(key.public, [9]).ciphertexts)
    for given_parts in (some, [*some, some[0]]):
        with pytest.raises(TooFewSharesError) as refusal:
            combine(key, given_parts)
        assert (refusal.value.given, refusal.value.needed) == (2, 3)
    with pytest.raises(TooFewSharesError):
        combine(key, [])


def test_lying_about_the_threshold_does_not_open(shared: Shared) -> None:
    key, shares = shared
    lie = replace(key, threshold=2)
    with pytest.raises(WrongPartsError):
        combine(lie, parts((lie, shares), (2, 4), encrypt(key.public, [9]).ciphertexts))


def test_a_wrong_dealing_is_noticed_and_placed(shared: Shared) -> None:
    """The polynomial does not pass through n**-1: every proof is right, and nothing opens."""
    key, shares = shared
    wrong = [KeyShare(share.index, share.value + 1) for share in shares]
    keys = tuple(pow(key.verification_base, share.value, key.n) for share in wrong)
    dealt = (replace(key, verification_keys=keys), tuple(wrong))
    ciphertexts = [key.public.raw.raw_encrypt(3, r_value=1), *encrypt(key.public, [9]).ciphertexts]
    with pytest.raises(WrongPartsError) as refusal:
        combine(dealt[0], parts(dealt, (1, 2, 3), ciphertexts))
    assert refusal.value.position == 1


def test_parts_of_different_ciphertexts_or_keys_do_not_combine(primes: tuple[int, int], shared: Shared) -> None:
    key, shares = shared
    first, second = encrypt(key.public, [9]).ciphertexts, encrypt(key.public, [9]).ciphertexts
    other_epoch = deal(*primes, parties=5, threshold=3, epoch=1)
    for odd in (
        parts(shared, (3,), second),
        parts(shared, (3,), first + second),
        parts(other_epoch, (3,), first),
        parts((replace(key, epoch=7), shares), (3,), first),
    ):
        with pytest.raises(DifferentStatementsError):
            combine(key, parts(shared, (1, 2), first) + odd)
    with pytest.raises(DifferentStatementsError):
        combine(key, parts((replace(key, epoch=7), shares), (1, 2, 3), first))


def test_more_parts_than_needed_open_the_same(shared: Shared) -> None:
    key, _ = shared
    ciphertexts = encrypt(key.public, [9]).ciphertexts
    assert combine(key, parts(shared, (5, 4, 2, 1), ciphertexts)) == combine(key, parts(shared, (2, 3, 5), ciphertexts))


def test_a_share_of_no_party_is_refused(shared: Shared) -> None:
    key, _ = shared
    with pytest.raises(BadKeyError):
        partial_decrypt(key, KeyShare(6, 12345), encrypt(key.public, [1]).ciphertexts)


@pytest.mark.parametrize("name", ["zero", "n", "n squared", "multiple of p"])
def test_a_share_touches_no_number_that_is_no_ciphertext(shared: Shared, primes: tuple[int, int], name: str) -> None:
    key, shares = shared
    bad = {"zero": 0, "n": key.n, "n squared": key.n**2, "multiple of p": 77 * primes[0]}[name]
    (good,) = encrypt(key.public, [1]).ciphertexts
    with pytest.raises(BadCiphertextError):
        partial_decrypt(key, shares[0], [good, bad])


def test_a_part_is_the_power_of_the_paper(shared: Shared) -> None:
    key, shares = shared
    (ciphertext,) = encrypt(key.public, [1]).ciphertexts
    part = partial_decrypt(key, shares[3], [ciphertext])
    assert part == [pow(ciphertext, 2 * 120 * shares[3].value, key.n)]
    assert type(part[0]) is int


def test_nothing_to_open_opens_to_nothing(shared: Shared) -> None:
    key, _ = shared
    opening = combine(key, parts(shared, (1, 2, 3), []))
    assert (opening.residues, opening.randomness) == ((), ())


@pytest.mark.parametrize("indexes", [(1, 2, 3), (2, 3, 5), (1, 3, 5)])
def test_lagrange_coefficients_are_integers_that_interpolate_at_zero(shared: Shared, indexes: tuple[int, ...]) -> None:
    key, _ = shared

    def polynomial(x: int) -> int:
        return 7 - 11 * x + 13 * x**2

    assert sum(lagrange(key, i, indexes) * polynomial(i) for i in indexes) == key.delta * polynomial(0)


@pytest.mark.parametrize(("parties", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_default_threshold_is_a_majority(parties: int, expected: int) -> None:
    assert majority(parties) == expected


def test_nothing_in_the_package_decrypts_with_a_whole_key() -> None:
    package = enclave_sim.paillier
    names = [f"{package.__name__}.{file.stem}" for path in package.__path__ for file in Path(path).glob("[!_]*.py")]
    decrypting = {
        (name, function)
        for name in names
        for function, _ in inspect.getmembers(importlib.import_module(name), inspect.isfunction)
        if "decrypt" in function
    }
    assert decrypting == {("enclave_sim.paillier.threshold", "partial_decrypt")}
