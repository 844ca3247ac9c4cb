"""Every threshold of shares opens, no smaller number does, and rubbish does not pass."""

import importlib
import inspect
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import enclave_sim.paillier
from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import UnequalLengthsError, add, encrypt
from enclave_sim.paillier.keys import BadCiphertextError, BadKeyError, KeyShare, ThresholdKey
from enclave_sim.paillier.packing import Layout, pack, slot_bits_for, unpack
from enclave_sim.paillier.threshold import (
    InconsistentSharesError,
    TooFewSharesError,
    combine,
    majority,
    partial_decrypt,
)

Partials = dict[int, list[int]]
Shared = tuple[ThresholdKey, tuple[KeyShare, ...]]

# Safe primes from generate_modulus(3072), generated for this test and published here.
P3072 = int(
    "c535f31f0dbc25d01478d4e2524d373a8fa5d9800a8ecbcd1d3d062f701067e3df3f544bee9abda19a0d043773f39ce8"
    "7cc1b1e8999c369febcb3fd1fcda7c7d2d68f13607c19299f4c3cd58db477b36960712b41d65a215d58bb4fb239a1049"
    "291f3f225df5e32712757dbe253c68bb209acaac7c9eeab88ab9768a81a81aec3430b2446bb2f76259b7dbb7ec08db3e"
    "819801d481151d5d1d6c6d4a25a055a4baff9ec634401dfa4303b502a7088da57c25a1be0ff0b038921770eb5db8fc9b",
    16,
)
Q3072 = int(
    "d5fd191a9fecd96e1d484feed0972731ce7f35dde39ad175757b8bef33f6f372f66b911972c6bc4976b4e440c47527fc"
    "dd930353ccbe0015bcef98ff5e6b43657848ea7771da7f565c9b64be683ca3f953bae29d8a6ff655de9a271e24440479"
    "53da32131c8edadf18d33d3ca136b42b186f888ba98d764731745bb205d4b256a58c1b060db750780badc63353002424"
    "7f847bdf47ad9855688d8a37b241aec93cd39d6521afa408a464dbba390cc28e05a1ce393192934a9587f87afd242afb",
    16,
)


def parts(shared: Shared, indexes: tuple[int, ...], ciphertexts: list[int]) -> Partials:
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
    assert combine(key, parts(shared, last, encrypt(key.public, [-5, 2**300]))) == [key.n - 5, 2**300]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_packed_sums_open_exactly(data: st.DataObject, shared: Shared) -> None:
    key, _ = shared
    largest, count = 10**6, 12
    layout = Layout(slot_bits_for(3 * largest), count, key.public.bits)
    value = st.sampled_from([-largest, largest]) | st.integers(-largest, largest)
    contribution = st.lists(value, min_size=count, max_size=count)
    contributions = data.draw(st.lists(contribution, min_size=3, max_size=3))
    total = add(key.public, [encrypt(key.public, pack(values, layout)) for values in contributions])
    opened = combine(key, parts(shared, (1, 3, 4), total))
    assert unpack(opened, layout, key.n) == [sum(column) for column in zip(*contributions, strict=True)]


def test_the_length_that_protects_opens_too() -> None:
    shared = deal(P3072, Q3072, parties=3, threshold=2, epoch=0)
    key = shared[0]
    assert key.public.bits == 3072
    layout = Layout(64, 60, 3072)
    values = [(-1) ** i * (layout.largest // 2 - i) for i in range(60)]
    ciphertexts = encrypt(key.public, pack(values, layout))
    total = add(key.public, [ciphertexts, ciphertexts])
    opened = combine(key, parts(shared, (1, 3), total))
    assert unpack(opened, layout, key.n) == [2 * value for value in values]


def test_fewer_parts_than_the_threshold_are_refused(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (2, 4), encrypt(key.public, [9]))
    with pytest.raises(TooFewSharesError) as refusal:
        combine(key, everyone)
    assert (refusal.value.given, refusal.value.needed) == (2, 3)
    with pytest.raises(TooFewSharesError):
        combine(key, {})


def test_lying_about_the_threshold_does_not_open(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (2, 4), encrypt(key.public, [9]))
    with pytest.raises(InconsistentSharesError):
        combine(replace(key, threshold=2), everyone)


def test_more_parts_than_needed_use_the_smallest_indexes(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (5, 4, 2, 1), encrypt(key.public, [9]))
    assert combine(key, {**everyone, 5: [1]}) == [9]
    with pytest.raises(InconsistentSharesError) as refusal:
        combine(key, {**everyone, 4: [1]})
    assert refusal.value.indexes == (1, 2, 4)


def test_a_rubbish_part_is_noticed_and_placed(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1, 2, 3]))
    everyone[2][1] = everyone[2][1] * 2 % key.public.nsquare
    with pytest.raises(InconsistentSharesError) as refusal:
        combine(key, everyone)
    assert (refusal.value.indexes, refusal.value.position) == ((1, 2, 3), 1)


@pytest.mark.parametrize("factor", [0, 1])
def test_a_part_that_is_no_unit_is_noticed(shared: Shared, primes: tuple[int, int], factor: int) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1]))
    everyone[2][0] = factor * primes[0]
    with pytest.raises(InconsistentSharesError):
        combine(key, everyone)


def test_a_malicious_shift_changes_the_result_until_parts_carry_proofs(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1000]))
    everyone[1][0] = everyone[1][0] * (key.n + 1) % key.public.nsquare
    assert combine(key, everyone) != [1000]


def test_shares_of_two_dealings_do_not_combine(primes: tuple[int, int], shared: Shared) -> None:
    key, _ = shared
    later = deal(*primes, parties=5, threshold=3, epoch=1)
    ciphertexts = encrypt(key.public, [9])
    mixed = parts(shared, (1, 2), ciphertexts) | parts(later, (3,), ciphertexts)
    with pytest.raises(InconsistentSharesError):
        combine(key, mixed)


def test_parts_of_unequal_lengths_are_refused(shared: Shared) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1, 2]))
    with pytest.raises(UnequalLengthsError):
        combine(key, {**everyone, 3: everyone[3][:1]})


@pytest.mark.parametrize("index", [0, -1, 6])
def test_indexes_of_no_party_are_refused(shared: Shared, index: int) -> None:
    key, _ = shared
    everyone = parts(shared, (1, 2, 3), encrypt(key.public, [1]))
    with pytest.raises(BadKeyError):
        combine(key, {**everyone, index: [1]})


def test_a_share_of_no_party_is_refused(shared: Shared) -> None:
    key, _ = shared
    with pytest.raises(BadKeyError):
        partial_decrypt(key, KeyShare(6, 12345), encrypt(key.public, [1]))


@pytest.mark.parametrize("name", ["zero", "n", "n squared", "multiple of p"])
def test_a_share_touches_no_number_that_is_no_ciphertext(shared: Shared, primes: tuple[int, int], name: str) -> None:
    key, shares = shared
    bad = {"zero": 0, "n": key.n, "n squared": key.n**2, "multiple of p": 77 * primes[0]}[name]
    (good,) = encrypt(key.public, [1])
    with pytest.raises(BadCiphertextError):
        partial_decrypt(key, shares[0], [good, bad])


def test_partial_decryption_is_the_power_of_the_paper(shared: Shared) -> None:
    key, shares = shared
    (ciphertext,) = encrypt(key.public, [1])
    part = partial_decrypt(key, shares[3], [ciphertext])
    assert part == [pow(ciphertext, 2 * 120 * shares[3].value, key.n**2)]
    assert type(part[0]) is int


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
