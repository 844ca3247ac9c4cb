"""Masks are n-th powers of known randomness, fresh each time, and nobody gets one twice."""

import os
from concurrent.futures import ThreadPoolExecutor

import gmpy2
import pytest
from phe.paillier import PaillierPrivateKey

from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.keys import BadKeyError, PublicKey
from enclave_sim.paillier.masks import Mask, MaskPool, exponent_bits, make_masks

PATIENCE_S = 60.0


def test_a_mask_is_the_nth_power_of_its_randomness(public: PublicKey) -> None:
    for mask in make_masks(public, 20):
        randomness = pow(public.mask_base, mask.exponent, public.n)
        assert mask.value == pow(randomness, public.n, public.nsquare)


def test_the_base_is_minus_a_square_and_follows_from_the_modulus(public: PublicKey, primes: tuple[int, int]) -> None:
    assert [gmpy2.jacobi(public.mask_base, p) for p in primes] == [-1, -1]
    assert PublicKey(public.n).mask_base == public.mask_base
    assert PublicKey(public.n - 2).mask_base != public.mask_base


def test_exponents_have_half_of_the_bits_of_the_modulus(public: PublicKey) -> None:
    assert exponent_bits(public) == 256
    assert exponent_bits(PublicKey((1 << 512) + 1)) == 257
    exponents = [mask.exponent for mask in make_masks(public, 400)]
    assert min(exponents) >= 0
    assert max(exponents).bit_length() == 256
    # Every bit is set in some and clear in others, but for a chance of 2**-391.
    assert all(0 < sum(exponent >> bit & 1 for exponent in exponents) < 400 for bit in range(256))


def test_a_mask_shows_nothing_by_its_repr(public: PublicKey) -> None:
    (mask,) = make_masks(public, 1)
    assert repr(mask) == "Mask()"


def test_what_a_pool_masks_opens(public: PublicKey, whole_key: PaillierPrivateKey) -> None:
    pool = MaskPool(public, bound=4)
    pool.prepare()
    assert pool.wait_until_full(PATIENCE_S)
    made = encrypt(public, list(range(10)), pool)
    assert [whole_key.raw_decrypt(c) for c in made.ciphertexts] == list(range(10))
    pool.close()


def test_no_mask_is_given_twice(public: PublicKey) -> None:
    pool = MaskPool(public, bound=50)
    pool.prepare()
    assert pool.wait_until_full(PATIENCE_S)
    with ThreadPoolExecutor(8) as threads:
        taken = [mask for masks in threads.map(pool.take, [7] * 40) for mask in masks]
    pool.close()
    assert len({mask.exponent for mask in taken}) == 280


def test_prepared_masks_are_what_is_taken_first_and_made_up_for_later(
    public: PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = MaskPool(public, bound=5)
    pool.prepare()
    assert pool.wait_until_full(PATIENCE_S)
    made: list[int] = []

    def none_made(_: PublicKey, count: int) -> list[Mask]:
        made.append(count)
        return []

    monkeypatch.setattr("enclave_sim.paillier.masks.make_masks", none_made)
    assert len(pool.take(3)) == 3
    assert made[0] == 0
    monkeypatch.undo()
    assert pool.wait_until_full(PATIENCE_S)
    pool.close()


def test_a_forked_process_takes_nothing_from_its_parents_pool(
    public: PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would have the same masks in memory: two ciphertexts of one mask reveal the plaintexts' difference."""
    pool = MaskPool(public, bound=20)
    pool.prepare()
    assert pool.wait_until_full(PATIENCE_S)
    prepared = {mask.exponent for mask in pool._ready}
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    child = pool.take(20)
    monkeypatch.undo()
    assert len(prepared) == len(child) == 20
    assert not {mask.exponent for mask in child} & prepared
    pool.close()


def test_a_closed_pool_forgets_its_masks_and_still_serves(public: PublicKey) -> None:
    pool = MaskPool(public, bound=5)
    pool.prepare()
    assert pool.wait_until_full(PATIENCE_S)
    pool.close()
    assert not pool.wait_until_full(0)
    assert len({mask.exponent for mask in pool.take(6)}) == 6


def test_a_pool_serves_its_own_key_alone(public: PublicKey) -> None:
    pool = MaskPool(PublicKey(public.n - 2), bound=1)
    with pytest.raises(BadKeyError):
        encrypt(public, [1], pool)
    pool.close()
