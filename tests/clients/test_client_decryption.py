"""Whether a total holds the cells that a receipt shows: for the right ones alone, however many there are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from phe.paillier import PaillierPublicKey
from yingbi.decryption import holds

from enclave_sim.paillier.packing import Layout, pack
from tests.clients.client_scene import MODULUS, decryption_of

SLOT_BITS = 40
LARGEST = 2 ** (SLOT_BITS - 1) - 1


def _numbers(encoded: list[bytes]) -> list[int]:
    return [int.from_bytes(number, "big") for number in encoded]


def _holds(cells: list[int], shown: list[int], slot_bits: int = SLOT_BITS) -> bool:
    made = decryption_of(cells, SLOT_BITS)
    return holds(MODULUS, _numbers(list(made.total)), shown, slot_bits, _numbers(list(made.randomness)))


@settings(max_examples=50)
@given(st.lists(st.integers(-LARGEST, LARGEST), min_size=1, max_size=40))
def test_right_cells_of_any_number_and_size(cells: list[int]) -> None:
    assert _holds(cells, cells)


@settings(max_examples=100)
@given(st.data())
def test_one_wrong_cell_is_noticed(data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.integers(-LARGEST, LARGEST), min_size=1, max_size=20))
    place = data.draw(st.integers(0, len(cells) - 1))
    other = data.draw(st.integers(-LARGEST, LARGEST).filter(lambda cell: cell != cells[place]))
    assert not _holds(cells, [*cells[:place], other, *cells[place + 1 :]])


def test_other_shapes_are_noticed() -> None:
    cells = [5] * 13
    assert not _holds(cells, cells[:6])
    assert not _holds(cells, cells * 2)
    assert not _holds(cells, [])
    assert not _holds(cells, cells, slot_bits=41)
    assert not _holds(cells, cells, slot_bits=4000)


def test_what_phe_encrypts_is_read_as_the_enclaves_pack_it() -> None:
    """Known answer: phe's ciphertext of the packed cells, with the randomness that it was given."""
    cells = [3, -1, LARGEST, -LARGEST, 0, 77]
    (plaintext,) = pack(cells, Layout(slot_bits=SLOT_BITS, count=6, modulus_bits=MODULUS.bit_length()))
    number = PaillierPublicKey(MODULUS).raw_encrypt(plaintext % MODULUS, r_value=12345)
    assert holds(MODULUS, [number], cells, SLOT_BITS, [12345])
    assert not holds(MODULUS, [number], [3, -1, LARGEST, -LARGEST, 0, 78], SLOT_BITS, [12345])


def test_numbers_that_are_no_units_prove_nothing() -> None:
    """Zero times anything is zero: a total of zeros would hold whatever one likes."""
    for total, root in ((0, 0), (MODULUS, 1), (MODULUS**2, 1), (1, MODULUS), (-1, 1)):
        assert not holds(MODULUS, [total], [0], SLOT_BITS, [root])
