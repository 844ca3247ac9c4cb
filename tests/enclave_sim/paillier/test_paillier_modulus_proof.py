"""A modulus is certified by roots that only a fit one has; each way to be unfit is found."""

import gmpy2
import pytest

from enclave_sim.paillier.challenge import number_below, seed
from enclave_sim.paillier.modulus_proof import (
    ROOTS,
    BadModulusError,
    ModulusProof,
    check_modulus,
    prove_modulus,
)


@pytest.fixture(scope="module")
def proof(primes: tuple[int, int]) -> ModulusProof:
    return prove_modulus(*primes)


def next_prime(start: int) -> int:
    return int(gmpy2.next_prime(start))


def test_a_fit_modulus_is_certified(primes: tuple[int, int], proof: ModulusProof) -> None:
    assert len(proof.roots) == ROOTS == 8
    check_modulus(primes[0] * primes[1], proof, 512)


def test_the_length_that_protects_is_certified(long_primes: tuple[int, int]) -> None:
    check_modulus(long_primes[0] * long_primes[1], prove_modulus(*long_primes), 3072)


def test_the_proof_is_the_same_every_time(primes: tuple[int, int], proof: ModulusProof) -> None:
    """It depends on nothing that its maker could choose."""
    assert prove_modulus(primes[1], primes[0]) == proof


def test_the_roots_are_of_numbers_hashed_from_the_modulus(primes: tuple[int, int], proof: ModulusProof) -> None:
    """A maker who knew them before the modulus could choose it to have roots of them."""
    n = primes[0] * primes[1]
    hashed = [number_below(seed("modulus", n, number), n) for number in range(8)]
    assert [pow(root, n, n) for root in proof.roots] == hashed


@pytest.mark.parametrize("position", range(ROOTS))
def test_one_wrong_root_is_rejected(primes: tuple[int, int], proof: ModulusProof, position: int) -> None:
    n = primes[0] * primes[1]
    root = proof.roots[position]
    for wrong in (root + 1, n - root, root * 2 % n, 1, 0, root + n, root - n, primes[0]):
        roots = (*proof.roots[:position], wrong, *proof.roots[position + 1 :])
        with pytest.raises(BadModulusError):
            check_modulus(n, ModulusProof(roots), 512)


def test_every_root_is_needed_in_its_place(primes: tuple[int, int], proof: ModulusProof) -> None:
    for roots in (proof.roots[:-1], (*proof.roots, 1), (), proof.roots[::-1], (proof.roots[0],) * ROOTS):
        with pytest.raises(BadModulusError):
            check_modulus(primes[0] * primes[1], ModulusProof(roots), 512)


@pytest.mark.parametrize("bits", [511, 513, 3072])
def test_another_length_is_refused(primes: tuple[int, int], proof: ModulusProof, bits: int) -> None:
    with pytest.raises(BadModulusError, match="bits"):
        check_modulus(primes[0] * primes[1], proof, bits)


def test_a_proof_is_of_one_modulus(primes: tuple[int, int], proof: ModulusProof) -> None:
    other = primes[0] * next_prime(primes[1])
    with pytest.raises(BadModulusError):
        check_modulus(other, proof, other.bit_length())


def all_roots_that_exist(n: int, phi: int) -> ModulusProof:
    """What a maker does who knows the factors: a root where one exists, else the best that it can give."""
    from enclave_sim.paillier.modulus_proof import _targets

    common = gmpy2.gcd(n, phi)
    part = phi
    while gmpy2.gcd(part, n) != 1:
        part //= gmpy2.gcd(part, n)
    assert common > 1
    return ModulusProof(tuple(pow(target, int(gmpy2.invert(n, part)), n) for target in _targets(n)))


def test_a_modulus_with_a_common_factor_with_phi_is_refused(primes: tuple[int, int]) -> None:
    """p divides q - 1: ciphertexts would have many plaintexts."""
    p = next_prime(1 << 100)
    q = next(q for k in range(2, 10_000, 2) if gmpy2.is_prime(q := k * p + 1))
    with pytest.raises(BadModulusError, match="common factor"):
        prove_modulus(p, q)
    n = p * q
    with pytest.raises(BadModulusError, match="root"):
        check_modulus(n, all_roots_that_exist(n, (p - 1) * (q - 1)), n.bit_length())


def test_a_square_is_refused(primes: tuple[int, int]) -> None:
    p = primes[0]
    n = p * p
    with pytest.raises(BadModulusError, match="root"):
        check_modulus(n, all_roots_that_exist(n, p * (p - 1)), n.bit_length())


@pytest.mark.parametrize("small", [2, 3, 251, 65_521])
def test_a_small_factor_is_refused_whatever_the_roots(primes: tuple[int, int], small: int) -> None:
    """CVE-2023-33241: small factors let a maker read others' secrets piece by piece."""
    n = small * primes[0]
    roots = prove_modulus(small, primes[0]).roots if gmpy2.gcd(n, (small - 1) * (primes[0] - 1)) == 1 else (1,) * ROOTS
    with pytest.raises(BadModulusError, match="prime factor"):
        check_modulus(n, ModulusProof(roots), n.bit_length())


def test_the_smallest_factor_that_passes_is_beyond_the_bound(primes: tuple[int, int]) -> None:
    """What the proof does not promise: factors of any useful size. That is the dealer's word."""
    smallest = next_prime(1 << 16)
    n = smallest * primes[0]
    check_modulus(n, prove_modulus(smallest, primes[0]), n.bit_length())


def test_a_prime_is_refused(primes: tuple[int, int]) -> None:
    """Every number has an n-th root modulo a prime n, yet whoever sees it knows phi(n)."""
    from enclave_sim.paillier.modulus_proof import _targets

    p = primes[0]
    roots = tuple(pow(target, int(gmpy2.invert(p, p - 1)), p) for target in _targets(p))
    with pytest.raises(BadModulusError, match="is a prime"):
        check_modulus(p, ModulusProof(roots), p.bit_length())
