"""Without proofs: every threshold of shares opens, no smaller number does, and rubbish does not pass."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier.encryption import UnequalLengthsError, add, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, KeyShare, ThresholdKey
from enclave_sim.paillier.packing import Layout, pack, slot_bits_for, unpack
from enclave_sim.paillier.threshold import TooFewSharesError
from enclave_sim.paillier.unproven import InconsistentSharesError, combine, deal, partial_decrypt

Partials = dict[int, list[int]]
Shared = tuple[ThresholdKey, tuple[KeyShare, ...]]


@pytest.fixture(scope="module")
def shared(primes: tuple[int, int]) -> Shared:
    return deal(*primes, parties=5, threshold=3, epoch=0)


def parts(shared: Shared, indexes: tuple[int, ...], ciphertexts: Sequence[int]) -> Partials:
    key, shares = shared
    return {index: partial_decrypt(key, shares[index - 1], ciphertexts) for index in indexes}


def test_every_subset_of_threshold_parties_opens_what_phe_encrypts(shared: Shared) -> None:
    key, _ = shared
    plaintexts = [0, 1, 2**400 + 17, key.n - 1]
    ciphertexts = [key.public.raw.raw_encrypt(m) for m in plaintexts]
    everyone = parts(shared, (1, 2, 3, 4, 5), ciphertexts)
    subsets = list(combinations(everyone, key.threshold))
    assert len(subsets) == 10
    for subset in subsets:
        assert combine(key, {index: everyone[index] for index in subset}) == plaintexts


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (2, 1), (2, 2), (3, 2), (9, 5), (20, 20)])
def test_every_shape_of_sharing_opens(primes: tuple[int, int], parties: int, threshold: int) -> None:
    shared = deal(*primes, parties=parties, threshold=threshold, epoch=0)
    key = shared[0]
    last = tuple(range(parties - threshold + 1, parties + 1))
    assert combine(key, parts(shared, last, encrypt(key.public, [-5, 2**300]).ciphertexts)) == [key.n - 5, 2**300]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_packed_sums_open_exactly(data: st.DataObject, shared: Shared) -> None:
    key, _ = shared
    largest, count = 10**6, 12
    layout = Layout(slot_bits_for(3 * largest), count, key.public.bits)
    value = st.sampled_from([-largest, largest]) | st.integers(-largest, largest)
    contribution = st.lists(value, min_size=count, max_size=count)
    contributions = data.draw(st.lists(contribution, min_size=3, max_size=3))
    total = add(key.public, [encrypt(key.public, pack(values, layout)).ciphertexts for values in contributions])
    opened = combine(key, parts(shared, (1, 3, 4), total))
    assert unpack(opened, layout, key.n) == [sum(column) for column in zip(*contributions, strict=True)]


def test_the_length_that_protects_opens_too(long_primes: tuple[int, int]) -> None:
    shared = deal(*long_primes, parties=3, threshold=2, epoch=0)
    key = shared[0]
    assert key.public.bits == 3072
    layout = Layout(64, 60, 3072)
    values = [(-1) ** i * (layout.largest // 2 - i) for i in range(60)]
    ciphertexts = encrypt(key.public, pack(values, layout)).ciphertexts
    total = add(key.public, [ciphertexts, ciphertexts])
    opened = combine(key, parts(shared, (1, 3), total))
    assert unpack(opened, layout, key.n) == [2 * value for value in values]


def test_fewer_parts_than_the_threshold_are_refused(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (2, 4), encrypt(key.public, [9]).ciphertexts)
    with pytest.raises(TooFewSharesError) as refusal:
        combine(key, everyone)
    assert (refusal.value.given, refusal.value.needed) == (2, 3)
    with pytest.raises(TooFewSharesError):
        combine(key, {})


def test_lying_about_the_threshold_does_not_open(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (2, 4), encrypt(key.public, [9]).ciphertexts)
    with pytest.raises(InconsistentSharesError):
        combine(replace(key, threshold=2), everyone)


def test_more_parts_than_needed_use_the_smallest_indexes(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (5, 4, 2, 1), encrypt(key.public, [9]).ciphertexts)
    assert combine(key, {**everyone, 5: [1]}) == [9]
    with pytest.raises(InconsistentSharesError) as refusal:
        combine(key, {**everyone, 4: [1]})
    assert refusal.value.indexes == (1, 2, 4)


def test_a_rubbish_part_is_noticed_and_placed(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1, 2, 3]).ciphertexts)
    everyone[2][1] = everyone[2][1] * 2 % key.public.nsquare
    with pytest.raises(InconsistentSharesError) as refusal:
        combine(key, everyone)
    assert (refusal.value.indexes, refusal.value.position) == ((1, 2, 3), 1)


@pytest.mark.parametrize("factor", [0, 1])
def test_a_part_that_is_no_unit_is_noticed(shared: Shared, primes: tuple[int, int], factor: int) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1]).ciphertexts)
    everyone[2][0] = factor * primes[0]
    with pytest.raises(InconsistentSharesError):
        combine(key, everyone)


def test_a_malicious_shift_changes_the_result_until_parts_carry_proofs(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1000]).ciphertexts)
    everyone[1][0] = everyone[1][0] * (key.n + 1) % key.public.nsquare
    assert combine(key, everyone) != [1000]


def test_shares_of_two_dealings_do_not_combine(primes: tuple[int, int], shared: Shared) -> None:
    key, _ = shared
    later = deal(*primes, parties=5, threshold=3, epoch=1)
    ciphertexts = encrypt(key.public, [9]).ciphertexts
    mixed = parts(shared, (1, 2), ciphertexts) | parts(later, (3,), ciphertexts)
    with pytest.raises(InconsistentSharesError):
        combine(key, mixed)


def test_parts_of_unequal_lengths_are_refused(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1, 2]).ciphertexts)
    with pytest.raises(UnequalLengthsError):
        combine(key, {**everyone, 3: everyone[3][:1]})


@pytest.mark.parametrize("index", [0, -1, 6])
def test_indexes_of_no_party_are_refused(shared: Shared, index: int) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1]).ciphertexts)
    with pytest.raises(BadKeyError):
        combine(key, {**everyone, index: [1]})


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


def test_partial_decryption_is_the_power_of_the_paper(shared: Shared) -> None:
    key, shares = shared
    (ciphertext,) = encrypt(key.public, [1]).ciphertexts
    part = partial_decrypt(key, shares[3], [ciphertext])
    assert part == [pow(ciphertext, 2 * 120 * shares[3].value, key.n**2)]
    assert type(part[0]) is int
