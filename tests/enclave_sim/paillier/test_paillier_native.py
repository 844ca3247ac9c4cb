"""The compiled form of modular powers: the same numbers as Python's, whatever the length, the edge or the lane.

Where it was not compiled, or the processor cannot run it, there is nothing to compare.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.attestation.measurement import measured
from enclave_sim.paillier import native
from enclave_sim.paillier.exponent import FixedBase, powers, powers_to_secret, product_of_powers

pytestmark = pytest.mark.skipif(not native.is_there(), reason="powers.c was not compiled, or cannot run here")

# Around multiples of 52 bits, of four limbs, and of 64.
LENGTHS = [2, 51, 52, 63, 64, 65, 128, 205, 206, 207, 208, 209, 256, 413, 414, 415, 512, 1023, 1024, 1025, 2048]
LONG = [3071, 3072, 6144, 8192]


def moduli(bits: int) -> list[int]:
    """The smallest and the largest odd number of this length, one with long runs of ones and zeros, one without."""
    runs = ((1 << bits) - 1) ^ ((1 << (bits // 2)) - (1 << (bits // 4)))
    drawn = random.Random(bits).getrandbits(bits)
    return [n | 1 | (1 << (bits - 1)) for n in (0, (1 << bits) - 1, runs, drawn)]


def edges(n: int) -> list[int]:
    """Bases at which a carry, a borrow or the last subtraction could go wrong."""
    bits = n.bit_length()
    r = native.modulus_of(n).r
    return [0, 1, 2, n - 1, n - 2, n // 2, n // 2 + 1, n, n + 1, 2 * n - 1, n**2 + 5, r % n, -r % n, (1 << bits) - 1]


@pytest.mark.parametrize("bits", LENGTHS)
def test_powers_of_edges_are_pythons(bits: int) -> None:
    for n in moduli(bits):
        if n > 1:
            for exponent in (1, 2, 31, 32, 2**64 - 1, 2**64, 2**65 + 1, min(n - 1, 2**400 - 1)):
                expected = [pow(base, exponent, n) for base in edges(n)]
                assert powers_to_secret(edges(n), exponent, n) == expected, (n, exponent)
                assert powers(edges(n), exponent, n) == expected


@pytest.mark.parametrize("bits", LONG)
def test_powers_modulo_long_numbers_are_pythons(bits: int) -> None:
    exponent = random.Random(bits).getrandbits(130) | 1 << 129
    for n in moduli(bits)[1:3]:
        bases = [*edges(n), random.Random(n).randrange(n)]
        assert powers_to_secret(bases, exponent, n) == [pow(base, exponent, n) for base in bases]


@pytest.mark.parametrize("bits", [*LENGTHS, *LONG, 6654, 6655, 6656])
def test_single_numbers_are_worked_on_across_the_lanes_with_the_same_results(bits: int) -> None:
    """Up to 128 limbs; longer ones take a lane each, as many numbers do."""
    for n in moduli(bits):
        if n > 1:
            exponents = [0, 1, 2, 31, 32, 2**64, 2**65 + 1, random.Random(bits).getrandbits(100)]
            for base in [base % n for base in edges(n)]:
                for exponent in exponents if bits < 3000 else exponents[-1:]:
                    assert native.powers(native.modulus_of(n), [base], exponent) == [pow(base, exponent, n)]


def test_which_numbers_are_single() -> None:
    assert native.modulus_of(2**6653 + 1).one_by_one(native.FEW)
    assert not native.modulus_of(2**6653 + 1).one_by_one(native.FEW + 1)
    assert not native.modulus_of(2**6655 + 1).one_by_one(1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 40])
def test_every_number_of_bases_is_served_in_order(count: int) -> None:
    n, exponent = moduli(512)[3], 2**100 + 12345
    bases = [5**i * 7 for i in range(count)]
    assert powers(bases, exponent, n) == [pow(base, exponent, n) for base in bases]
    fixed, exponents = FixedBase(3, n, 100), [i * 2**95 // 3 for i in range(count)]
    assert fixed.powers(exponents) == [pow(3, e, n) for e in exponents]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 700), st.data())
def test_powers_are_pythons_at_any_length(bits: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1 << (bits - 1), (1 << bits) - 1)) | 1
    bases = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=8))
    exponent = data.draw(st.integers(0, 2**200))
    assert native.powers(native.modulus_of(n), bases, exponent) == [pow(base, exponent, n) for base in bases]


@pytest.mark.parametrize("bits", [2, 64, 205, 206, 207, 1024, 3072, 6144])
def test_a_fixed_base_gives_pythons_powers(bits: int) -> None:
    length = 157  # neither a multiple of the window nor of 64
    for n in moduli(bits)[-2:]:
        for base in (0, 1, n - 1, n + 1, random.Random(n).randrange(n)):
            exponents = [0, 1, 31, 32, 2**64, 2**155, 2**length - 1, random.Random(n).getrandbits(length), 5]
            assert FixedBase(base, n, length).powers(exponents) == [pow(base, e, n) for e in exponents]


@pytest.mark.parametrize(("bits", "count"), [(2, 1), (2, 150), (206, 1), (206, 8), (206, 700), (3072, 8), (6144, 20)])
def test_products_of_powers_are_pythons(bits: int, count: int) -> None:
    n, drawn = moduli(bits)[3], random.Random(count)
    bases = [*edges(n), *(drawn.randrange(n) for _ in range(count))][-count:]
    exponents = [0, 1, 2**128 - 1, *(drawn.getrandbits(128) for _ in range(count))][-count:]
    expected = 1
    for base, exponent in zip(bases, exponents, strict=True):
        expected = expected * pow(base, exponent, n) % n
    assert product_of_powers(bases, exponents, n) == expected


@pytest.mark.parametrize("width", range(1, 13))
def test_every_width_of_bucket_gives_the_same_product(width: int) -> None:
    n = moduli(256)[3]
    modulus, drawn = native.modulus_of(n), random.Random(width)
    pairs = [(drawn.randrange(n), drawn.getrandbits(200)) for _ in range(20)]
    factors = native.Factors.of(modulus, [base for base, _ in pairs], [e for _, e in pairs])
    inverse = pow(modulus.r, -1, n)
    for shift in (0, 3, 190):
        for lane, found in enumerate(native.bucket_products(factors, shift, width)):
            expected = 1
            for base, e in pairs:
                digit = (e >> (shift + lane * width)) % (1 << width)
                expected = expected * pow(base * inverse, digit, n) % n
            assert found == expected


@pytest.mark.parametrize("modulus", [-3, 0, 1, 2, 2**512, 2 * 3**300, 2**native.MOST_BITS + 1], ids=int.bit_length)
def test_a_modulus_that_has_no_montgomery_form_goes_to_gmpy2(modulus: int) -> None:
    assert not native.takes(modulus)
    with pytest.raises(ValueError, match="a modulus is odd"):
        native.modulus_of(modulus)
    if modulus > 0:
        assert powers([3, modulus + 2], 2**70 + 1, modulus) == [pow(3, 2**70 + 1, modulus), pow(2, 2**70 + 1, modulus)]
        assert FixedBase(3, modulus, 9).powers([0, 500]) == [1 % modulus, pow(3, 500, modulus)]
        assert product_of_powers([3, 5], [7, 2**70], modulus) == 3**7 * pow(5, 2**70, modulus) % modulus


@pytest.mark.parametrize("width", [0, 9])
def test_shapes_that_have_no_table_are_refused(width: int) -> None:
    with pytest.raises(MemoryError):
        native.table_of(native.modulus_of(101), 3, width, 1)


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(native.SWITCH, word)
    monkeypatch.setattr(native, "powers", None)
    assert not native.is_there()
    assert powers_to_secret([3], 2**70, 101) == [pow(3, 2**70, 101)]


def test_it_is_what_the_functions_use(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    real = native.powers

    def watched(modulus: native.Modulus, bases: Sequence[int], exponent: int) -> list[int]:
        lengths.append(len(bases))
        return real(modulus, bases, exponent)

    monkeypatch.setattr(native, "powers", watched)
    assert powers([3] * 20, 2**70, 101) == [pow(3, 2**70, 101)] * 20
    assert powers_to_secret([3] * 20, 2, 101) == [9] * 20
    assert sorted(lengths) == [4, 4, 8, 8, 8, 8]


@pytest.fixture
def forgotten() -> Iterator[None]:
    native._library.cache_clear()
    yield
    native._library.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_library_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "powers.c"
    changed.write_bytes(native.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(native, "SOURCE", changed)
    assert not native.is_there()
    assert powers_to_secret([3], 2**70, 101) == [pow(3, 2**70, 101)]


def test_it_is_part_of_the_measurement() -> None:
    names = [line.split()[0] for line in measured()]
    assert "enclave_sim/paillier/powers.c" in names
    assert "enclave_sim/paillier/powers.so" in names
