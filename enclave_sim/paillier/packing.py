"""Many small signed integers in one Paillier plaintext.

Slot i of a plaintext holds v_i as a balanced digit: the plaintext is the signed integer
sum(v_i * 2**(slot_bits * i)). Adding plaintexts adds slots, and carries out of negative slots cancel when the
offset sum(2**(slot_bits - 1) * 2**(slot_bits * i)) is added back before the digits are cut out, so a slot is
exact as long as its *total* has |v| < 2**(slot_bits - 1). Packing of this kind: Ge & Zdonik, "Answering
Aggregation Queries in a Secure System Model" (VLDB 2007); here with signed digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD_BITS = 64
_SPARE_BITS = 2
"""Kept free above the slots: one for the sign, one so that every total stays below n/4 in absolute value."""


class LayoutError(ValueError):
    """A layout that cannot exist, or data of another shape than the layout says."""


class SlotOverflowError(ValueError):
    """A value, or an opened total, does not fit the slots that the layout gives it."""


@dataclass(frozen=True)
class Layout:
    """How `count` integers lie in plaintexts: public, and fixed before any data is read.

    `slot_bits` (bits, at least 2) must hold the total over all parties with its noise, not one party's value
    (`slot_bits_for`). `count` is at least 1. `modulus_bits` is the exact bit length of the Paillier modulus.
    Raises `LayoutError` when not even one slot fits.
    """

    slot_bits: int
    count: int
    modulus_bits: int

    def __post_init__(self) -> None:
        if self.slot_bits < 2:
            raise LayoutError(f"a slot needs 2 bits or more to hold a sign, not {self.slot_bits}")
        if self.count < 1:
            raise LayoutError(f"a layout holds 1 value or more, not {self.count}")
        if self.slots_per_plaintext < 1:
            raise LayoutError(f"no slot of {self.slot_bits} bits fits a modulus of {self.modulus_bits} bits")

    @property
    def slots_per_plaintext(self) -> int:
        """Slots in every plaintext but perhaps the last."""
        return (self.modulus_bits - _SPARE_BITS) // self.slot_bits

    @property
    def plaintexts(self) -> int:
        """Number of plaintexts, so of ciphertexts, that hold all `count` values."""
        return -(-self.count // self.slots_per_plaintext)

    @property
    def largest(self) -> int:
        """Largest absolute value that a slot holds exactly: 2**(slot_bits - 1) - 1."""
        return (1 << (self.slot_bits - 1)) - 1


def slot_bits_for(largest: int) -> int:
    """Fewest bits of a slot whose totals all have |v| <= `largest` (at least 0)."""
    if largest < 0:
        raise LayoutError(f"the largest absolute value cannot be {largest}")
    return max(2, largest.bit_length() + 1)


def pack(values: Sequence[int], layout: Layout) -> list[int]:
    """Pack `layout.count` integers into `layout.plaintexts` signed integers of absolute value below n/4.

    Raises `LayoutError` for another number of values, `SlotOverflowError` for a value with
    |v| >= 2**(slot_bits - 1). It cannot see other parties: that totals fit is the layout's promise.
    """
    if len(values) != layout.count:
        raise LayoutError(f"the layout holds {layout.count} values, {len(values)} were given")
    numbers = np.asarray(values) if layout.slot_bits <= _WORD_BITS else None
    if numbers is None or numbers.dtype != np.int64:
        return _pack_long(values, layout)
    outside = (numbers > layout.largest) | (numbers < -layout.largest)
    if outside.any():
        raise _overflow(int(outside.argmax()), layout)
    return _pack_words(numbers, layout)


def unpack(residues: Sequence[int], layout: Layout, n: int) -> list[int]:
    """Cut decrypted residues, each in [0, n), back into `layout.count` signed integers.

    Exact for totals with |v| < 2**(slot_bits - 1). A total beyond that spills into the next slot and cannot
    be told from honest data, unless it leaves the plaintext's last slot: then `SlotOverflowError`.
    Raises `LayoutError` for another number of residues, a residue outside [0, n), or an n whose length is not
    `layout.modulus_bits`.
    """
    if n.bit_length() != layout.modulus_bits:
        raise LayoutError(f"the layout is for {layout.modulus_bits} bits, the modulus has {n.bit_length()}")
    if len(residues) != layout.plaintexts:
        raise LayoutError(f"the layout has {layout.plaintexts} plaintexts, {len(residues)} were given")
    shifted = [_shifted(_centred(residue, n), slots, layout.slot_bits) for residue, slots in _slots(residues, layout)]
    if layout.slot_bits <= _WORD_BITS:
        return _unpack_words(shifted, layout)
    half, mask = 1 << (layout.slot_bits - 1), (1 << layout.slot_bits) - 1
    places = range(0, layout.slot_bits * layout.slots_per_plaintext, layout.slot_bits)
    return [((number >> place) & mask) - half for number in shifted for place in places][: layout.count]


def _overflow(position: int, layout: Layout) -> SlotOverflowError:
    return SlotOverflowError(f"value {position} does not fit a slot of {layout.slot_bits} bits")


def _pack_long(values: Sequence[int], layout: Layout) -> list[int]:
    """`pack` for slots, or for values, that are longer than a word: one plaintext at a time."""
    for position, value in enumerate(values):
        if not -layout.largest <= value <= layout.largest:
            raise _overflow(position, layout)
    width = layout.slots_per_plaintext
    return [_join(values[first : first + width], layout.slot_bits) for first in range(0, layout.count, width)]


def _pack_words(values: NDArray[np.int64], layout: Layout) -> list[int]:
    """`pack` for slots of up to 64 bits: slot after slot, all plaintexts at once.

    A slot holds v + half, which is at least 0, so that slots do not touch each other; then the same is taken away from
    the whole plaintext as `unpack` adds to it. A slot lies in the word where it starts and perhaps in the next.
    """
    digits = np.zeros(layout.plaintexts * layout.slots_per_plaintext, np.uint64)
    digits[: layout.count] = values.view(np.uint64)
    digits += np.uint64(1 << (layout.slot_bits - 1))
    columns = digits.reshape(layout.plaintexts, -1)
    words = np.zeros((layout.plaintexts, _words(layout)), np.uint64)
    for slot, (word, shift) in enumerate(_places(layout)):
        words[:, word] |= columns[:, slot] << np.uint64(shift)
        if shift + layout.slot_bits > _WORD_BITS:
            words[:, word + 1] |= columns[:, slot] >> np.uint64(_WORD_BITS - shift)
    offset = _offset(layout.slots_per_plaintext, layout.slot_bits)
    return [int.from_bytes(row.tobytes(), "little") - offset for row in words.astype("<u8", copy=False)]


def _unpack_words(shifted: Sequence[int], layout: Layout) -> list[int]:
    """Of plaintexts whose slots hold v + half, the values, for slots of up to 64 bits."""
    length = _words(layout)
    raw = b"".join(number.to_bytes(length * _WORD_BITS // 8, "little") for number in shifted)
    words = np.frombuffer(raw, "<u8").reshape(len(shifted), length).astype(np.uint64, copy=False)
    digits = np.empty((len(shifted), layout.slots_per_plaintext), np.uint64)
    for slot, (word, shift) in enumerate(_places(layout)):
        digits[:, slot] = words[:, word] >> np.uint64(shift)
        if shift + layout.slot_bits > _WORD_BITS:
            digits[:, slot] |= words[:, word + 1] << np.uint64(_WORD_BITS - shift)
    digits &= np.uint64((1 << layout.slot_bits) - 1)
    digits -= np.uint64(1 << (layout.slot_bits - 1))
    values: list[Any] = digits.view(np.int64).ravel()[: layout.count].tolist()
    return values


def _words(layout: Layout) -> int:
    return -(-layout.slot_bits * layout.slots_per_plaintext // _WORD_BITS)


def _places(layout: Layout) -> list[tuple[int, int]]:
    """Word and bit where each slot of a plaintext starts."""
    return [divmod(slot * layout.slot_bits, _WORD_BITS) for slot in range(layout.slots_per_plaintext)]


def _slots(residues: Sequence[int], layout: Layout) -> list[tuple[int, int]]:
    """Every residue with how many slots of it are used: all, but perhaps of the last."""
    full = layout.slots_per_plaintext
    return [(residue, min(full, layout.count - place * full)) for place, residue in enumerate(residues)]


@lru_cache(maxsize=16)
def _offset(slots: int, slot_bits: int) -> int:
    """Half of a slot's range in every slot."""
    return (((1 << (slot_bits * slots)) - 1) // ((1 << slot_bits) - 1)) << (slot_bits - 1)


def _join(digits: Sequence[int], slot_bits: int) -> int:
    plaintext = 0
    for digit in reversed(digits):
        plaintext = (plaintext << slot_bits) + digit
    return plaintext


def _centred(residue: int, n: int) -> int:
    if not 0 <= residue < n:
        raise LayoutError("a decrypted residue lies in [0, n)")
    return residue if residue <= n // 2 else residue - n


def _shifted(plaintext: int, slots: int, slot_bits: int) -> int:
    """The plaintext with half of a slot's range added to each, so that no slot is negative."""
    shifted = plaintext + _offset(slots, slot_bits)
    if not 0 <= shifted < 1 << (slot_bits * slots):
        raise SlotOverflowError(f"an opened plaintext does not fit {slots} slots of {slot_bits} bits")
    return shifted
