"""Every vector of powers is what Python's own `pow` gives, one at a time, in both forms that it can be made in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.paillier import exponent as exponent_module
from enclave_sim.paillier import native
from enclave_sim.paillier.exponent import FixedBase, powers, powers_to_secret, product_of_powers

numbers = st.integers(0, 2**300)
moduli = st.integers(1, 2**260)


@pytest.fixture(params=["native", "gmpy2"], autouse=True, scope="module")
def form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test below runs twice; once where there is nothing but gmpy2."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "gmpy2":
            patch.setenv(native.SWITCH, "off")
        elif not native.is_there():
            pytest.skip("powers.c was not compiled, or this processor has no AVX-512 IFMA")
        yield


@given(st.lists(numbers, max_size=12), st.integers(0, 2**80), moduli)
def test_powers_are_pythons(bases: list[int], exponent: int, modulus: int) -> None:
    assert powers(bases, exponent, modulus) == [pow(base, exponent, modulus) for base in bases]


@given(st.lists(numbers, max_size=12), st.integers(1, 2**80), moduli.map(lambda n: n | 1))
def test_powers_to_a_secret_are_pythons(bases: list[int], exponent: int, modulus: int) -> None:
    assert powers_to_secret(bases, exponent, modulus) == [pow(base, exponent, modulus) for base in bases]


@given(numbers, moduli, st.integers(1, 90), st.data())
def test_powers_of_a_fixed_base_are_pythons(base: int, modulus: int, bits: int, data: st.DataObject) -> None:
    exponents = data.draw(st.lists(st.sampled_from([0, 1, 2**bits - 1]) | st.integers(0, 2**bits - 1), max_size=12))
    assert FixedBase(base, modulus, bits).powers(exponents) == [pow(base, e, modulus) for e in exponents]


@given(st.lists(st.tuples(numbers, st.sampled_from([0, 1, 2**128 - 1]) | st.integers(0, 2**128)), max_size=40), moduli)
def test_a_product_of_powers_is_pythons(pairs: list[tuple[int, int]], modulus: int) -> None:
    expected = math.prod(pow(base, e, modulus) for base, e in pairs) % modulus
    assert product_of_powers([base for base, _ in pairs], [e for _, e in pairs], modulus) == expected


@settings(max_examples=3)
@given(st.integers(0, 2**32), st.sampled_from([300, 1500]))
def test_a_product_of_many_powers_is_pythons(seed: int, count: int) -> None:
    modulus = 2**127 - 1
    pairs = [(pow(3, seed + i, modulus), pow(5, seed + i, 2**128)) for i in range(count)]
    expected = math.prod(pow(base, e, modulus) for base, e in pairs) % modulus
    assert product_of_powers([base for base, _ in pairs], [e for _, e in pairs], modulus) == expected


@pytest.mark.parametrize("exponent", [-1, 2**20])
def test_a_fixed_base_refuses_an_exponent_that_its_table_does_not_cover(exponent: int) -> None:
    with pytest.raises(ValueError, match="exponent 1 "):
        FixedBase(3, 101, 20).powers([5, exponent])


@pytest.mark.parametrize(("modulus", "bits"), [(0, 8), (-3, 8), (101, 0)])
def test_a_fixed_base_of_impossible_shape_is_refused(modulus: int, bits: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FixedBase(3, modulus, bits)


@pytest.mark.parametrize(("bases", "exponents"), [([2], []), ([2, 3], [1]), ([2, 3], [1, -1])])
def test_a_product_without_one_exponent_a_base_is_refused(bases: list[int], exponents: list[int]) -> None:
    with pytest.raises(ValueError, match="exponent"):
        product_of_powers(bases, exponents, 101)


@pytest.mark.parametrize(("exponent", "modulus"), [(0, 101), (-1, 101), (5, 100), (5, 0), (5, -7)])
def test_what_has_no_constant_time_power_is_refused(exponent: int, modulus: int) -> None:
    with pytest.raises(ValueError, match="secret exponent"):
        powers_to_secret([3], exponent, modulus)


def test_threads_share_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(make: Callable[..., Any]) -> Callable[..., Any]:
        def making(*shape: int) -> Any:
            made.append(shape)
            return make(*shape)

        return making

    for name in ("_gmp_fixed", "_native_fixed"):
        monkeypatch.setattr(exponent_module, name, counted(getattr(exponent_module, name)))
    fixed = FixedBase(3, 2**127 - 1, 100)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda e: fixed.powers([e])[0], range(50)))
    assert found == [pow(3, e, 2**127 - 1) for e in range(50)]
    assert len(made) == 1
