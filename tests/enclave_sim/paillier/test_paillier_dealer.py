"""The dealer's primes are safe, its sieve right, and its shares lie on the polynomial of the paper."""

import math
from dataclasses import replace
from fractions import Fraction

import gmpy2
import pytest

from enclave_sim.paillier import dealer
from enclave_sim.paillier.challenge import number_below, seed
from enclave_sim.paillier.dealer import deal, generate_modulus, generate_safe_prime
from enclave_sim.paillier.keys import BadKeyError, KeyShare


def assert_safe(p: int, bits: int) -> None:
    assert type(p) is int
    assert p >> (bits - 2) == 0b11
    assert p % 2 == 1
    assert gmpy2.is_prime(p, 50)
    assert gmpy2.is_prime((p - 1) // 2, 50)


@pytest.mark.parametrize("bits", [64, 65, 128, 256])
def test_safe_primes_are_safe_and_of_the_length_asked(bits: int) -> None:
    assert_safe(generate_safe_prime(bits), bits)


def test_safe_primes_never_fall_short_nor_repeat() -> None:
    primes = [generate_safe_prime(64) for _ in range(30)]
    for p in primes:
        assert_safe(p, 64)
    assert len(set(primes)) == 30


def test_a_window_that_runs_over_the_top_gives_no_longer_prime(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_top = 2**63 - 2**63 % 6 - 1
    random_start = dealer._random_start
    first = [at_the_top]
    monkeypatch.setattr(dealer, "_random_start", lambda bits: first.pop() if first else random_start(bits))
    assert any(dealer._is_safe(2 * (at_the_top + 6 * k) + 1) for k in range(1024))
    assert_safe(generate_safe_prime(64), 64)
    assert not first


def test_a_modulus_has_two_safe_primes_and_exactly_the_bits_asked() -> None:
    p, q = generate_modulus(512)
    assert_safe(p, 256)
    assert_safe(q, 256)
    assert p != q
    assert (p * q).bit_length() == 512


@pytest.mark.parametrize("bits", [0, 126, 513])
def test_lengths_without_a_modulus_are_refused(bits: int) -> None:
    with pytest.raises(BadKeyError):
        generate_modulus(bits)


def test_too_short_safe_primes_are_refused() -> None:
    with pytest.raises(BadKeyError):
        generate_safe_prime(63)


def test_the_sieve_strikes_exactly_what_has_a_small_factor() -> None:
    start, length, limit = 6 * 10**40 + 5, 3000, 2000
    product = math.prod(prime for prime in range(2, limit) if gmpy2.is_prime(prime))
    expected = [k for k in range(length) if math.gcd((start + 6 * k) * (2 * (start + 6 * k) + 1), product) == 1]
    assert dealer._sieve(start, length, limit) == expected
    assert len(expected) > 10


def test_the_sieve_is_right_when_primes_outgrow_the_window() -> None:
    start, length, limit = 6 * 10**40 + 5, 100, 2000
    longer = dealer._sieve(start, 3000, limit)
    assert dealer._sieve(start, length, limit) == [k for k in longer if k < length]


def test_no_small_safe_prime_of_the_right_class_is_struck() -> None:
    start, limit = 6 * 2**30 + 5, 1000
    alive = set(dealer._sieve(start, 5000, limit))
    safe = {k for k in range(5000) if dealer._is_safe(2 * (start + 6 * k) + 1)}
    assert safe
    assert safe <= alive


def interpolate_at_zero(shares: tuple[KeyShare, ...], modulus: int) -> int:
    total = 0
    for share in shares:
        others = [other.index for other in shares if other.index != share.index]
        weight = math.prod((Fraction(i, i - share.index) for i in others), start=Fraction(1))
        total += share.value * weight.numerator * pow(weight.denominator, -1, modulus)
    return total % modulus


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (3, 1), (3, 2), (3, 3), (7, 4)])
def test_threshold_shares_meet_in_the_exponent_of_the_paper(
    primes: tuple[int, int], parties: int, threshold: int
) -> None:
    p, q = primes
    n, m = p * q, (p - 1) * (q - 1) // 4
    key, shares = deal(p, q, parties, threshold, epoch=4)
    assert (key.n, key.parties, key.threshold, key.epoch) == (n, parties, threshold, 4)
    assert [share.index for share in shares] == list(range(1, parties + 1))
    assert all(0 < share.value < m for share in shares)
    assert interpolate_at_zero(shares[-threshold:], m) * n % m == 1


def test_one_share_too_few_meets_elsewhere(primes: tuple[int, int]) -> None:
    p, q = primes
    n, m = p * q, (p - 1) * (q - 1) // 4
    _, shares = deal(p, q, parties=5, threshold=3, epoch=0)
    assert interpolate_at_zero(shares[:2], m) * n % m != 1


def test_every_share_has_its_verification_key(primes: tuple[int, int]) -> None:
    key, shares = deal(*primes, parties=5, threshold=3, epoch=0)
    assert key.verification_keys == tuple(pow(key.verification_base, share.value, key.n) for share in shares)
    assert gmpy2.jacobi(key.verification_base, primes[0]) == gmpy2.jacobi(key.verification_base, primes[1]) == 1


def test_verification_keys_are_openings_of_a_public_root(primes: tuple[int, int]) -> None:
    """So they reveal nothing: any threshold of them gives 4 delta**2 times the exponent of a root that all know."""
    key, _ = deal(*primes, parties=3, threshold=2, epoch=0)
    scaled = pow(key.verification_keys[0], 2 * 6 * 2, key.n) * pow(key.verification_keys[1], -2 * 6, key.n) % key.n
    # v = y**(2 delta n) with y hashed from n, so v**(delta d) = y**(2 delta**2), where delta = 3!.
    root = number_below(seed("verification base", key.n), key.n)
    assert scaled == pow(root, 2 * 2 * 36, key.n)


@pytest.mark.parametrize("keys", [(2,), (2, 2, 2, 2), (2, 0, 2), (2, -1, 2)])
def test_impossible_verification_keys_are_refused(primes: tuple[int, int], keys: tuple[int, ...]) -> None:
    key, _ = deal(*primes, parties=3, threshold=2, epoch=0)
    for bad in (keys, (*key.verification_keys[:2], key.n), (*key.verification_keys[:2], primes[0])):
        with pytest.raises(BadKeyError):
            replace(key, verification_keys=bad)


def test_every_dealing_is_fresh(primes: tuple[int, int]) -> None:
    _, first = deal(*primes, parties=3, threshold=2, epoch=0)
    _, second = deal(*primes, parties=3, threshold=2, epoch=1)
    assert not {share.value for share in first} & {share.value for share in second}


def test_deal_refuses_primes_that_are_not_safe(primes: tuple[int, int]) -> None:
    p, q = primes
    ordinary = int(gmpy2.next_prime(p))
    for bad in [(ordinary, q), (p, ordinary), (p, p), (p + 2, q), (p, 23), (p // 2, q)]:
        with pytest.raises(BadKeyError):
            deal(*bad, parties=3, threshold=2, epoch=0)


@pytest.mark.parametrize(("parties", "threshold", "epoch"), [(0, 0, 0), (3, 0, 0), (3, 4, 0), (3, 2, -1)])
def test_deal_refuses_impossible_shapes(primes: tuple[int, int], parties: int, threshold: int, epoch: int) -> None:
    with pytest.raises(BadKeyError):
        deal(*primes, parties=parties, threshold=threshold, epoch=epoch)


def test_a_share_keeps_its_value_out_of_its_repr(primes: tuple[int, int]) -> None:
    _, shares = deal(*primes, parties=2, threshold=2, epoch=0)
    assert repr(shares[0]) == "KeyShare(index=1)"


@pytest.mark.parametrize(("index", "value"), [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_impossible_shares_are_refused(index: int, value: int) -> None:
    with pytest.raises(BadKeyError):
        KeyShare(index, value)
