"""An opened vector that proves itself: anybody who has the ciphertexts can check it, without any key.

Whoever knows the randomness r of a ciphertext shows what is inside: c = (1 + m n) r**n mod n**2 holds for one m in
[0, n) only, and for one r in (0, n), when n and phi(n) have no common factor (`modulus_proof`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from enclave_sim.paillier.challenge import seed, short_numbers
from enclave_sim.paillier.exponent import powers, product_of_powers
from enclave_sim.paillier.keys import PublicKey, check_ciphertexts, is_unit


class BadOpeningError(ValueError):
    """An opening that is not one of these ciphertexts."""


@dataclass(frozen=True)
class Opening:
    """Of every ciphertext the plaintext's residue in [0, n), and the randomness in (0, n) that proves it."""

    residues: tuple[int, ...]
    randomness: tuple[int, ...]


def check_opening(public: PublicKey, ciphertexts: Sequence[int], opening: Opening) -> None:
    """Raise `BadOpeningError` unless every ciphertext c_j holds the residue m_j; `BadCiphertextError` where none can.

    One equation for the whole vector, with e_1 = 1 and further 128-bit exponents e_j hashed from n, the ciphertexts and
    the opening (Bellare, Garay & Rabin, Eurocrypt 1998, the small exponents test):

        prod c_j**e_j = (1 + n sum e_j m_j) (prod r_j**e_j mod n)**n  mod n**2.

    Soundness. Every unit modulo n**2 is (1 + n)**a y**n for one a mod n and one y mod n (Paillier, Eurocrypt 1999,
    section 3; needs gcd(n, phi(n)) = 1). Let c_j / ((1 + m_j n) r_j**n) be (1 + n)**a_j y_j**n: m_j is right exactly
    if a_j = 0. The equation implies sum e_j a_j = 0 mod n. If some a_j with j > 1 is not 0 mod n, it is not 0 modulo a
    prime factor of n; that factor is longer than 128 bits, so whatever the other exponents are, one value of e_j at
    most satisfies the equation: it does by chance with probability 2**-128 at most, for every hash that a cheater
    tries. If only a_1 could differ from 0, the equation says that it does not.

    So residues are certain, and the randomness nearly: a y_j of small order, such as -1, may hide where its exponent
    is even. That changes no residue: an n-th power of it has a = 0, whatever y_j is.
    """
    _check_ranges(public, ciphertexts, opening)
    n, nsquare = public.n, public.nsquare
    if not ciphertexts:
        return
    start = seed("opening", n, ciphertexts, opening.residues, opening.randomness)
    exponents = [1, *short_numbers(start, len(ciphertexts) - 1)]
    left = product_of_powers(ciphertexts, exponents, nsquare)
    residue = sum(e * m for e, m in zip(exponents, opening.residues, strict=True)) % n
    root = product_of_powers(opening.randomness, exponents, n)
    (mask,) = powers([root], n, nsquare)
    if left != (1 + n * residue) * mask % nsquare:
        raise BadOpeningError("the opened numbers are not what the ciphertexts hold")


def _check_ranges(public: PublicKey, ciphertexts: Sequence[int], opening: Opening) -> None:
    if not len(ciphertexts) == len(opening.residues) == len(opening.randomness):
        raise BadOpeningError("an opening has one residue and one randomness for every ciphertext")
    check_ciphertexts(public, ciphertexts)
    if not all(0 <= residue < public.n for residue in opening.residues):
        raise BadOpeningError("an opened residue is not between 0 and n")
    if not all(is_unit(root, public.n) for root in opening.randomness):
        raise BadOpeningError("the randomness of an opening is no unit modulo n")
