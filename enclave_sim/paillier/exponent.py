"""Modular powers of a whole vector, on all cores.

Two forms of each function, with the same results. `powers.c` works on eight numbers at a time, or on the limbs of one,
where it was compiled and the processor has AVX-512 IFMA (`enclave_sim.paillier.native`): a sixth of the time, for one
number a quarter. Otherwise gmpy2: GMP does one exponentiation on one core. Both let go of Python's lock meanwhile, so
plain threads are enough: measured 1.9 times faster on two cores at a 6144-bit modulus. What gmpy2 does multiplication
by multiplication, with a fixed base and in products of powers, stays on one core: threads would spend on the lock what
they gain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import gmpy2

from enclave_sim.paillier import native

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_SHORT_BITS = 64
"""Public exponents below this length are not worth the table that the native form makes of each base."""

_FEW = 4
"""Up to so many bases a product of powers is made of one power after another, which is faster than buckets then."""

_NATIVE_WINDOW_BITS = 5
_GMP_WINDOW_BITS = 8
"""Bits of an exponent that one entry of a fixed base's table stands for. The native form reads all of the table."""


def powers(bases: Sequence[int], exponent: int, modulus: int) -> list[int]:
    """base**exponent mod `modulus` for every base, in order. The exponent is public: timing may tell it."""
    if exponent.bit_length() >= _SHORT_BITS and exponent > 0 and _is_native(modulus):
        return _native_powers(bases, exponent, modulus)
    return _plain_ints(_map(lambda base: gmpy2.powmod(base, exponent, modulus), bases))


def powers_to_secret(bases: Sequence[int], exponent: int, modulus: int) -> list[int]:
    """The same for a secret positive exponent and an odd modulus; else ValueError.

    Time and memory addresses depend on the lengths of the numbers only, those in units of 64 bits: by reading whole
    tables in the native form; by GMP's mpz_powm_sec (GMP manual, section 5.7) otherwise, a fifth to a third slower
    than `powers`. Python around it gives no such promise.
    """
    if exponent < 1 or modulus < 1 or modulus % 2 == 0:
        raise ValueError("a secret exponent is at least 1, its modulus positive and odd")
    if _is_native(modulus):
        return _native_powers(bases, exponent, modulus)
    return _plain_ints(_map(lambda base: gmpy2.powmod_sec(base, exponent, modulus), bases))


def product_of_powers(bases: Sequence[int], exponents: Sequence[int], modulus: int) -> int:
    """The product of base**exponent over all pairs, mod `modulus`; 1 mod `modulus` if there are none.

    Exponents are public and at least 0; short ones (128 bits) are what this is for. It costs about
    len(bases) * bits / c multiplications with c growing like log2(len(bases)): buckets as in Pippenger, "On the
    evaluation of powers and monomials", SIAM J. Comput. 9 (1980). Raises ValueError for a negative exponent, for
    sequences of unequal length and for a modulus below 1.
    """
    if len(bases) != len(exponents):
        raise ValueError(f"every base has one exponent: {len(bases)} bases, {len(exponents)} exponents")
    if min(exponents, default=0) < 0 or modulus < 1:
        raise ValueError("an exponent is at least 0, a modulus at least 1")
    if len(bases) <= _FEW:
        product = gmpy2.mpz(1) % modulus
        for base, exponent in zip(bases, exponents, strict=True):
            (power,) = powers([base], exponent, modulus)
            product = product * power % modulus
        return int(product)
    bits = max(1, max(exponents, default=0).bit_length())
    if _is_native(modulus):
        return _native_product(bases, exponents, modulus, bits)
    width = min(range(1, 16), key=lambda c: -(-bits // c) * (len(bases) + 2 * 2**c))
    numbers, n = [gmpy2.mpz(base) for base in bases], gmpy2.mpz(modulus)
    products = [_bucket_product(numbers, exponents, shift, width, n) for shift in range(0, bits, width)]
    return _joined(products, width, modulus)


class FixedBase:
    """Powers of one base, from a table that is made at the first use and kept.

    `modulus` is at least 1, `exponent_bits` at least 1, else ValueError. The table is of about 10 MB for 1536 bits
    modulo 6144, of 40 MB in gmpy2's form. Threads may share it: the first makes the table, the others wait.
    """

    def __init__(self, base: int, modulus: int, exponent_bits: int) -> None:
        if modulus < 1 or exponent_bits < 1:
            raise ValueError("the modulus and the length of the exponents are at least 1")
        self.base, self.modulus, self.exponent_bits = base % modulus, modulus, exponent_bits
        self._lock = Lock()
        self._with_table: Callable[[Sequence[int]], list[int]] | None = None

    def powers(self, exponents: Sequence[int]) -> list[int]:
        """base**exponent mod `modulus` for every exponent, in order.

        The exponents are secret. In the native form time and memory addresses are independent of them. What leaks in
        gmpy2's: which entries of the table are read, and so every digit of an exponent, to whoever shares the
        processor's caches with this process; and a little of the numbers' sizes in the time. It is kept because GMP's
        constant-time power takes several times as long; an enclave that shares its processor with others needs the
        native form.
        Raises ValueError for an exponent below 0 or longer than `exponent_bits`; the message does not tell it.
        """
        for position, exponent in enumerate(exponents):
            if exponent < 0 or exponent.bit_length() > self.exponent_bits:
                raise ValueError(f"exponent {position} does not lie in 0 to 2**{self.exponent_bits} - 1")
        return self._prepared()(exponents)

    def _prepared(self) -> Callable[[Sequence[int]], list[int]]:
        with self._lock:
            if self._with_table is None:
                make = _native_fixed if _is_native(self.modulus) else _gmp_fixed
                self._with_table = make(self.base, self.modulus, self.exponent_bits)
            return self._with_table


def _is_native(modulus: int) -> bool:
    return native.takes(modulus) and native.is_there()


def _native_powers(bases: Sequence[int], exponent: int, modulus: int) -> list[int]:
    known = native.modulus_of(modulus)
    return _in_lanes(lambda group: native.powers(known, group, exponent), [base % modulus for base in bases])


def _native_fixed(base: int, modulus: int, exponent_bits: int) -> Callable[[Sequence[int]], list[int]]:
    windows = -(-exponent_bits // _NATIVE_WINDOW_BITS)
    table = native.table_of(native.modulus_of(modulus), base, _NATIVE_WINDOW_BITS, windows)
    return partial(_in_lanes, partial(native.powers_of_fixed, table))


def _native_product(bases: Sequence[int], exponents: Sequence[int], modulus: int, bits: int) -> int:
    known, cores = native.modulus_of(modulus), os.cpu_count() or 1

    def cost(width: int) -> int:
        calls = -(-bits // (native.LANES * width))
        return -(-calls // cores) * (len(bases) + (2 << width))

    width = min(range(1, 13), key=cost)
    factors = native.Factors.of(known, [base % modulus for base in bases], exponents)
    shifts = range(0, bits, native.LANES * width)
    found = _map(lambda shift: native.bucket_products(factors, shift, width), shifts)
    product = _joined([product for products in found for product in products], width, modulus)
    # Every factor was taken as base / R: one R back for each.
    return int(product * gmpy2.powmod(known.r, sum(exponents), modulus) % modulus)


def _gmp_fixed(base: int, modulus: int, exponent_bits: int) -> Callable[[Sequence[int]], list[int]]:
    step, n = gmpy2.mpz(base), gmpy2.mpz(modulus)
    table = []
    for _ in range(-(-exponent_bits // _GMP_WINDOW_BITS)):
        entries = [gmpy2.mpz(1) % n]
        for _ in range((1 << _GMP_WINDOW_BITS) - 1):
            entries.append(entries[-1] * step % n)
        table.append(entries)
        step = entries[-1] * step % n
    return lambda exponents: _plain_ints(_gmp_power(table, exponent, n) for exponent in exponents)


def _gmp_power(table: Sequence[Sequence[Any]], exponent: int, modulus: Any) -> Any:
    product, mask = table[0][exponent % len(table[0])], len(table[0]) - 1
    for window, entries in enumerate(table[1:], 1):
        product = product * entries[(exponent >> (_GMP_WINDOW_BITS * window)) & mask] % modulus
    return product


def _bucket_product(bases: Sequence[Any], exponents: Sequence[int], shift: int, width: int, modulus: Any) -> Any:
    """The product of base**digit, where a digit is `width` bits of the exponent from bit `shift` on.

    Bases of one digit are multiplied into one bucket; then bucket_1 * bucket_2**2 * bucket_3**3 ... is the product of
    all the running products from the top, since bucket d is in d of them.
    """
    buckets: list[Any] = [None] * (1 << width)
    for base, exponent in zip(bases, exponents, strict=True):
        digit = (exponent >> shift) & (len(buckets) - 1)
        if digit:
            so_far = buckets[digit]
            buckets[digit] = base % modulus if so_far is None else so_far * base % modulus
    running = product = gmpy2.mpz(1) % modulus
    for bucket in reversed(buckets[1:]):
        if bucket is not None:
            running = running * bucket % modulus
        product = product * running % modulus
    return product


def _joined(products: Sequence[Any], width: int, modulus: int) -> int:
    """The product of products[i]**(2**(width i))."""
    total = gmpy2.mpz(1) % modulus
    for product in reversed(products):
        total = gmpy2.powmod(total, 1 << width, modulus) * product % modulus
    return int(total)


def _in_lanes(power: Callable[[Sequence[int]], list[int]], items: Sequence[int]) -> list[int]:
    size = 1 if len(items) <= native.FEW else native.LANES
    groups = [items[first : first + size] for first in range(0, len(items), size)]
    return [result for results in _map(power, groups) for result in results]


def _map(power: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    cores = os.cpu_count() or 1
    if cores == 1 or len(items) < 2:
        return [power(item) for item in items]
    with ThreadPoolExecutor(min(cores, len(items)), initializer=_release_gil) as pool:
        return list(pool.map(power, items))


def _plain_ints(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values]


def _release_gil() -> None:
    # gmpy2 contexts belong to a thread, so this stays inside the pool and dies with it.
    gmpy2.get_context().allow_release_gil = True
