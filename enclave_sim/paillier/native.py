"""`powers.c`, where it was compiled and the processor can run it: modular powers of eight numbers at a time, or of one.

Optional: `enclave_sim.paillier.exponent` asks `is_there` and does without. Results are the same to the bit. Part of the
enclave's measurement, being code that runs in it. YINGBI_NATIVE_POWERS=off in the environment turns it off.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from enclave_sim.compiled import load

SOURCE = Path(__file__).with_name("powers.c")
LIBRARY = Path(__file__).with_name("powers.so")
SWITCH = "YINGBI_NATIVE_POWERS"

LANES = 8
"""Numbers that one call works on."""

MOST_BITS = 16384
"""Of a modulus; powers.c has room for more."""

FEW = 3
"""Up to so many numbers are faster one after another, each across all lanes, than in a lane each: measured."""

# Of powers.c: eight times its MOST_VECTORS.
_MOST_LIMBS_ALONE = 128
_LIMB_BITS = 52
_TOGETHER = 4
_WORD_BYTES = 8
_DONE = 0

_INTEGER, _ARRAY, _WORD = ctypes.c_int64, ctypes.c_void_p, ctypes.c_uint64
_MODULUS = (_INTEGER, _INTEGER, _ARRAY, _ARRAY, _WORD)


@dataclass(frozen=True)
class Modulus:
    """An odd modulus as powers.c takes it. R is 2**(52 limbs), at least four times n; `inverse` is -1/n mod 2**52."""

    n: int
    limbs: int
    words: int
    n_words: bytes
    square: bytes
    inverse: int

    @property
    def arguments(self) -> tuple[int, int, bytes, bytes, int]:
        """The first arguments of every function."""
        return self.limbs, self.words, self.n_words, self.square, self.inverse

    def one_by_one(self, count: int) -> bool:
        """Whether so many numbers are worked on one after another, each across all lanes."""
        return count <= FEW and self.limbs <= _MOST_LIMBS_ALONE

    @property
    def r(self) -> int:
        """R."""
        return 1 << (_LIMB_BITS * self.limbs)


@dataclass(frozen=True)
class Table:
    """Powers of one base: for every window of `width` bits all 2**width digits."""

    modulus: Modulus
    width: int
    windows: int
    numbers: ctypes.Array[ctypes.c_char]


def is_there() -> bool:
    """Whether the functions below can be called."""
    return os.environ.get(SWITCH, "").lower() not in {"off", "0", "no"} and _library() is not None


def takes(modulus: int) -> bool:
    """Whether the functions below work modulo this: it is odd, from 3 on, not longer than `MOST_BITS`."""
    return modulus >= 3 and modulus % 2 == 1 and modulus.bit_length() <= MOST_BITS


@lru_cache(maxsize=32)
def modulus_of(n: int) -> Modulus:
    """For an n that `takes` is true of, else ValueError."""
    if not takes(n):
        raise ValueError(f"a modulus is odd and has 2 to {MOST_BITS} bits here")
    bits = n.bit_length()
    limbs = _TOGETHER * -(-(bits + 2) // (_TOGETHER * _LIMB_BITS))
    words = -(-bits // 64)
    square = (1 << (2 * _LIMB_BITS * limbs)) % n
    inverse = -pow(n, -1, 1 << _LIMB_BITS) % (1 << _LIMB_BITS)
    return Modulus(n, limbs, words, _bytes([n], words), _bytes([square], words), inverse)


def powers(modulus: Modulus, bases: Sequence[int], exponent: int) -> list[int]:
    """base**exponent mod n, of 1 to 8 bases in 0 to n - 1 and an exponent of 0 or more.

    Time and addresses depend on the number of bases, the modulus's length and the exponent's in words of 64 bits.
    """
    count, length = len(bases), _words(exponent.bit_length())
    if modulus.one_by_one(count):
        return [_power_of_one(modulus, base, exponent, length) for base in bases]
    out = _room(count * modulus.words)
    numbers = _bytes(bases, modulus.words)
    failed = _loaded().powers_of(*modulus.arguments, count, numbers, length, _bytes([exponent], length), out)
    return _numbers(failed, out, modulus.words)


def _power_of_one(modulus: Modulus, base: int, exponent: int, length: int) -> int:
    out = _room(modulus.words)
    number = _bytes([base], modulus.words)
    failed = _loaded().power_of_one(*modulus.arguments, number, length, _bytes([exponent], length), out)
    return _numbers(failed, out, modulus.words)[0]


def table_of(modulus: Modulus, base: int, width: int, windows: int) -> Table:
    """What `powers_of_fixed` needs: 2**width * windows numbers for exponents of width * windows bits."""
    numbers = _room((windows << width) * modulus.limbs)
    _check(_loaded().powers_table(*modulus.arguments, _bytes([base], modulus.words), width, windows, numbers))
    return Table(modulus, width, windows, numbers)


def powers_of_fixed(table: Table, exponents: Sequence[int]) -> list[int]:
    """base**exponent mod n, of 1 to 8 exponents of at most width * windows bits.

    Time and addresses depend on how many exponents there are and on the table's size: every entry is read.
    """
    modulus, count, length = table.modulus, len(exponents), _words(table.width * table.windows)
    if modulus.one_by_one(count):
        return [_power_of_fixed_one(table, exponent, length) for exponent in exponents]
    shape = table.numbers, table.width, table.windows, count, length
    out = _room(count * modulus.words)
    failed = _loaded().powers_of_fixed(*modulus.arguments, *shape, _bytes(exponents, length), out)
    return _numbers(failed, out, modulus.words)


def _power_of_fixed_one(table: Table, exponent: int, length: int) -> int:
    modulus = table.modulus
    out = _room(modulus.words)
    shape = table.numbers, table.width, table.windows, length
    failed = _loaded().power_of_fixed_one(*modulus.arguments, *shape, _bytes([exponent], length), out)
    return _numbers(failed, out, modulus.words)[0]


@dataclass(frozen=True)
class Factors:
    """Bases in 0 to n - 1 and their public exponents, as `bucket_products` takes them."""

    modulus: Modulus
    count: int
    bases: bytes
    exponent_words: int
    exponents: bytes

    @classmethod
    def of(cls, modulus: Modulus, bases: Sequence[int], exponents: Sequence[int]) -> Factors:
        """As many exponents as bases; each at least 0."""
        length = _words(max(exponents, default=0).bit_length())
        return cls(modulus, len(bases), _bytes(bases, modulus.words), length, _bytes(exponents, length))


def bucket_products(factors: Factors, shift: int, width: int) -> list[int]:
    """Of eight digits of `width` bits, from bit `shift` on: the product of (base / R)**digit mod n over all bases."""
    modulus = factors.modulus
    out = _room(LANES * modulus.words)
    numbers = factors.count, factors.bases, factors.exponent_words, factors.exponents
    return _numbers(_loaded().powers_buckets(*modulus.arguments, *numbers, shift, width, out), out, modulus.words)


def _words(bits: int) -> int:
    return max(1, -(-bits // 64))


def _bytes(numbers: Sequence[int], words: int) -> bytes:
    return b"".join(number.to_bytes(_WORD_BYTES * words, "little") for number in numbers)


def _room(words: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_WORD_BYTES * words)


def _numbers(failed: int, out: ctypes.Array[ctypes.c_char], words: int) -> list[int]:
    _check(failed)
    size = _WORD_BYTES * words
    raw = out.raw
    return [int.from_bytes(raw[first : first + size], "little") for first in range(0, len(raw), size)]


def _check(failed: int) -> None:
    if failed != _DONE:
        raise MemoryError("powers.c had no memory, or was given what it does not take")


def _loaded() -> ctypes.CDLL:
    library = _library()
    if library is None:
        raise RuntimeError("the native library is not there")
    return library


def declare(library: ctypes.CDLL) -> None:
    """What the functions of powers.c take."""
    library.powers_of.argtypes = [*_MODULUS, _INTEGER, _ARRAY, _INTEGER, _ARRAY, _ARRAY]
    library.power_of_one.argtypes = [*_MODULUS, _ARRAY, _INTEGER, _ARRAY, _ARRAY]
    library.power_of_fixed_one.argtypes = [*_MODULUS, _ARRAY, *[_INTEGER] * 3, _ARRAY, _ARRAY]
    library.powers_table.argtypes = [*_MODULUS, _ARRAY, _INTEGER, _INTEGER, _ARRAY]
    library.powers_of_fixed.argtypes = [*_MODULUS, _ARRAY, *[_INTEGER] * 4, _ARRAY, _ARRAY]
    library.powers_buckets.argtypes = [*_MODULUS, _INTEGER, _ARRAY, _INTEGER, _ARRAY, _INTEGER, _INTEGER, _ARRAY]


@cache
def _library() -> ctypes.CDLL | None:
    library = load(LIBRARY, SOURCE, "powers_source")
    if library is None or not library.powers_supported():
        return None
    declare(library)
    return library
