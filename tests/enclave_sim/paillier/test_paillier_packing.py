"""Packing keeps every signed total that its slots promise to hold, at each boundary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier.packing import Layout, LayoutError, SlotOverflowError, pack, slot_bits_for, unpack

BITS = 512
SMALLEST_N = (1 << (BITS - 1)) + 1
LARGEST_N = (1 << BITS) - 1

layouts = st.builds(Layout, st.integers(2, BITS - 2), st.integers(1, 40), st.just(BITS))
moduli = st.sampled_from([SMALLEST_N, LARGEST_N])


def vectors(layout: Layout, largest: int) -> st.SearchStrategy[list[int]]:
    edge = st.sampled_from([-largest, -largest + 1, -1, 0, 1, largest - 1, largest])
    value = edge.map(lambda v: max(-largest, min(largest, v))) | st.integers(-largest, largest)
    return st.lists(value, min_size=layout.count, max_size=layout.count)


@settings(deadline=None)
@given(st.data(), layouts, moduli)
def test_unpack_inverts_pack(data: st.DataObject, layout: Layout, n: int) -> None:
    values = data.draw(vectors(layout, layout.largest))
    assert unpack([plaintext % n for plaintext in pack(values, layout)], layout, n) == values


@settings(deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(0, 1 << 60), st.integers(1, 40), moduli)
def test_the_sum_of_packed_vectors_is_the_packed_sum(
    data: st.DataObject, parties: int, largest: int, count: int, n: int
) -> None:
    layout = Layout(slot_bits_for(parties * largest), count, BITS)
    contributions = [data.draw(vectors(layout, largest)) for _ in range(parties)]
    packed = [pack(contribution, layout) for contribution in contributions]
    residues = [sum(column) % n for column in zip(*packed, strict=True)]
    assert unpack(residues, layout, n) == [sum(column) for column in zip(*contributions, strict=True)]


@pytest.mark.parametrize("slot_bits", [2, 3, 8, 63, 64, 65, 255, 509, 510])
@pytest.mark.parametrize("n", [SMALLEST_N, LARGEST_N])
@pytest.mark.parametrize("pattern", [(1, 1), (-1, -1), (1, -1), (-1, 1)])
def test_full_plaintexts_at_both_extremes(slot_bits: int, n: int, pattern: tuple[int, int]) -> None:
    count = 2 * Layout(slot_bits, 1, BITS).slots_per_plaintext
    layout = Layout(slot_bits, count, BITS)
    values = [pattern[i % 2] * layout.largest for i in range(count)]
    plaintexts = pack(values, layout)
    assert max(map(abs, plaintexts)) < SMALLEST_N // 4
    assert unpack([plaintext % n for plaintext in plaintexts], layout, n) == values


@settings(deadline=None)
@given(st.data(), st.integers(2, 70), st.integers(1, 50))
def test_a_plaintext_is_the_sum_of_its_slots(data: st.DataObject, slot_bits: int, count: int) -> None:
    layout = Layout(slot_bits, count, BITS)
    values = data.draw(vectors(layout, layout.largest))
    width = layout.slots_per_plaintext
    groups = [values[first : first + width] for first in range(0, count, width)]
    assert pack(values, layout) == [sum(v << (slot_bits * i) for i, v in enumerate(group)) for group in groups]


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 70), moduli)
def test_every_edge_of_a_slot_beside_every_other(data: st.DataObject, slot_bits: int, n: int) -> None:
    layout = Layout(slot_bits, 100, BITS)
    edge = st.sampled_from([-layout.largest, -1, 0, 1, layout.largest])
    values = data.draw(st.lists(edge, min_size=100, max_size=100))
    plaintexts = pack(values, layout)
    assert unpack([plaintext % n for plaintext in plaintexts], layout, n) == values
    assert {type(number) for number in [*plaintexts, *unpack([0] * layout.plaintexts, layout, n)]} == {int}


@pytest.mark.parametrize("values", [[0, 2**63, 0], [0, -(2**63), 0], [0, 2**64, -1], [1, -(2**200), 2]])
@pytest.mark.parametrize("slot_bits", [8, 63, 64])
def test_pack_refuses_what_no_word_holds(slot_bits: int, values: list[int]) -> None:
    with pytest.raises(SlotOverflowError, match="value 1 "):
        pack(values, Layout(slot_bits, 3, BITS))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("slot_bits", [2, 8, 63, 64, 65])
def test_pack_refuses_the_first_value_too_large(sign: int, slot_bits: int) -> None:
    layout = Layout(slot_bits, 3, BITS)
    pack([0, sign * layout.largest, 0], layout)
    with pytest.raises(SlotOverflowError, match="value 1 "):
        pack([0, sign * (layout.largest + 1), 0], layout)


@pytest.mark.parametrize("count", [1, 5, 62, 63])
def test_a_total_that_leaves_the_last_slot_is_noticed(count: int) -> None:
    layout = Layout(8, count, BITS)
    (plaintext,) = pack([0] * (count - 1) + [127], layout)
    with pytest.raises(SlotOverflowError):
        unpack([(plaintext + (1 << 8 * (count - 1))) % LARGEST_N], layout, LARGEST_N)


def test_a_plaintext_that_was_never_packed_is_noticed() -> None:
    layout = Layout(8, 5, BITS)
    with pytest.raises(SlotOverflowError):
        unpack([LARGEST_N // 3], layout, LARGEST_N)


def test_a_hundred_thousand_values() -> None:
    layout = Layout(40, 100_000, 3072)
    values = [(-1) ** i * i * 1_000_003 for i in range(layout.count)]
    n = (1 << 3072) - 1
    assert unpack([plaintext % n for plaintext in pack(values, layout)], layout, n) == values


def test_layout_counts_slots_and_plaintexts() -> None:
    layout = Layout(64, 100, 3072)
    assert (layout.slots_per_plaintext, layout.plaintexts) == (47, 3)
    assert Layout(64, 94, 3072).plaintexts == 2
    assert Layout(64, 95, 3072).plaintexts == 3
    assert len(pack([7] * 100, layout)) == 3


@pytest.mark.parametrize(("slot_bits", "count", "modulus_bits"), [(1, 1, 512), (8, 0, 512), (511, 1, 512)])
def test_impossible_layouts_are_refused(slot_bits: int, count: int, modulus_bits: int) -> None:
    with pytest.raises(LayoutError):
        Layout(slot_bits, count, modulus_bits)


@settings(deadline=None)
@given(st.integers(0, 1 << 200))
def test_slot_bits_are_enough_and_no_bit_more(largest: int) -> None:
    bits = slot_bits_for(largest)
    assert largest < 1 << (bits - 1)
    assert bits == 2 or largest >= 1 << (bits - 2)


def test_slot_bits_for_a_negative_bound_is_refused() -> None:
    with pytest.raises(LayoutError):
        slot_bits_for(-1)


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]])
def test_pack_refuses_another_number_of_values(values: list[int]) -> None:
    with pytest.raises(LayoutError):
        pack(values, Layout(8, 2, BITS))


@pytest.mark.parametrize(
    ("residues", "n"),
    [
        ([], LARGEST_N),
        ([0, 0], LARGEST_N),
        ([-1], LARGEST_N),
        ([LARGEST_N], LARGEST_N),
        ([0], SMALLEST_N >> 1),
        ([0], LARGEST_N << 1),
    ],
)
def test_unpack_refuses_another_shape(residues: list[int], n: int) -> None:
    with pytest.raises(LayoutError):
        unpack(residues, Layout(8, 2, BITS), n)
