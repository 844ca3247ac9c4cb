"""Open ciphertexts with a threshold of key shares, never with a whole key, and with the randomness that proves it.

Paillier's trapdoor permutation (Eurocrypt 1999, section 5) and Shoup's threshold RSA (Eurocrypt 2000) with the public
exponent n: for c = (1 + m n) r**n mod n**2, x = c mod n is r**n mod n, so openers take an n-th root together, as they
would sign x. Given r, the plaintext follows by a division. delta is parties!, d = n**-1 mod p' q'.

    part of party i:  D_i = x**(2 delta s_i) mod n
    together:         w = prod D_i**(2 lambda_i) = x**(4 delta**2 d), lambda_i = delta times Lagrange's coefficient
    root:             r = w**a x**b mod n, with a 4 delta**2 + b n = 1

What opening a total reveals: its plaintext M, and nothing else about the contributions in it, to an adversary with
fewer than `threshold` shares who sees every message. In two steps.

1. Parts and verification keys follow from (M, r) of the total. Let S be threshold - 1 shares that the adversary has;
   they are as good as uniform below n/4. For integers l_0, l_j: delta s_i = l_0 d + sum of l_j s_j over S, modulo
   p' q'. So D_i = r**(2 (l_0 + n sum l_j s_j)): x**2 is a square, whose exponents count modulo p' q', and x**(2 d) is
   r**2. And v = y**(2 delta n) with a public y, so v_i = y**(2 (l_0 + n sum l_j s_j)) by the same equation: a
   verification key is what party i would give to open the n-th power of y. Proofs of parts are zero knowledge.
2. r of a total over all contributors reveals nothing beyond M. A corrupt contributor knows its own m_j and r_j, since
   `plaintext_proof` lets nobody take part who does not; divide them out. With one honest contributor left, its
   plaintext follows from M anyway, and r from its plaintext and ciphertext. With two or more: replace the r_1 of one by
   a uniform element of the group of Jacobi symbol 1, as in step 2 of the argument in `masks`. Then the product r of
   all is uniform there too, and independent of the others' r_2, ...: so what the adversary sees is M, a uniform r, the
   ciphertexts c_2, ... with independent masks, and c_1 = (1 + M n) r**n / (c_2 ...), which all follow from M and from
   ciphertexts that hide their plaintexts.

So a share may only be used on totals whose contributions all came with such proofs: a part for a ciphertext of
somebody's choice would be a part of an n-th root of a number of their choice.
"""

import math
from collections.abc import Sequence

import gmpy2

from enclave_sim.paillier.exponent import powers, powers_to_secret
from enclave_sim.paillier.keys import KeyShare, ThresholdKey, check_ciphertexts
from enclave_sim.paillier.opening import Opening
from enclave_sim.paillier.share_proof import Parts


class TooFewSharesError(ValueError):
    """Fewer partial decryptions than the threshold: `given` of `needed`."""

    def __init__(self, given: int, needed: int) -> None:
        super().__init__(f"{needed} partial decryptions are needed, {given} were given")
        self.given = given
        self.needed = needed


class DifferentStatementsError(ValueError):
    """Partial decryptions of different ciphertexts, or under different keys."""


class WrongPartsError(ValueError):
    """Partial decryptions do not open ciphertext `position`: one is wrong, as `share_proof` tells, or the dealing."""

    def __init__(self, position: int) -> None:
        super().__init__(f"these partial decryptions do not open ciphertext {position}")
        self.position = position


def majority(parties: int) -> int:
    """The default threshold: more than half of the parties."""
    return parties // 2 + 1


def partial_decrypt(key: ThresholdKey, share: KeyShare, ciphertexts: Sequence[int]) -> list[int]:
    """One party's part of opening: x**(2 delta s_i) mod n with x = c mod n for every ciphertext c, in order.

    `threshold` parts open a ciphertext: decide whether it may be opened before calling this. Raises
    `BadCiphertextError` for a ciphertext that is none, before the share touches any, and `BadKeyError` for a share of
    no party.
    """
    key.check_index(share.index)
    check_ciphertexts(key.public, ciphertexts)
    roots = [ciphertext % key.n for ciphertext in ciphertexts]
    return powers_to_secret(roots, 2 * key.delta * share.value, key.n)


def combine(key: ThresholdKey, partials: Sequence[Parts]) -> Opening:
    """Open ciphertexts from partial decryptions of `threshold` different parties or more, proven right or not.

    What comes out is right whatever the parts were: r is taken as the n-th root of c only if r**n = c mod n, which one
    r in (0, n) does, n being prime to phi(n); and then c - r**n mod n**2 is a multiple of n, m n r**n for one m in
    [0, n). Of more parts than needed, those of the smallest indexes are used. Raises `TooFewSharesError`,
    `DifferentStatementsError` for parts that are not all of the same ciphertexts under this key, and
    `WrongPartsError` if they do not open.
    """
    by_index = {part.index: part for part in partials}
    if len(by_index) < key.threshold:
        raise TooFewSharesError(given=len(by_index), needed=key.threshold)
    ciphertexts = partials[0].ciphertexts
    if any(part.key != key or part.ciphertexts != ciphertexts for part in partials):
        raise DifferentStatementsError("the partial decryptions are not of the same ciphertexts under this key")
    indexes = sorted(by_index)[: key.threshold]
    inverses = [int(gmpy2.invert(ciphertext, key.n)) for ciphertext in ciphertexts]
    randomness = _roots(key, inverses, _joined(key, [by_index[index] for index in indexes]))
    return Opening(_residues(key, ciphertexts, inverses, randomness), randomness)


def lagrange(key: ThresholdKey, index: int, indexes: Sequence[int]) -> int:
    """delta times the Lagrange coefficient of `index` at 0 over `indexes`: an integer, perhaps negative."""
    others = [other for other in indexes if other != index]
    numerator = key.delta * math.prod(others)
    return numerator // math.prod(other - index for other in others)


def _joined(key: ThresholdKey, partials: Sequence[Parts]) -> list[int]:
    """w = x**(4 delta**2 d) mod n for every ciphertext."""
    indexes = [part.index for part in partials]
    total = [1] * len(partials[0].values)
    for part in partials:
        exponent = 2 * lagrange(key, part.index, indexes)
        # Negative exponents are powers of inverses, so that `powers` sees positive ones alone.
        bases = part.values if exponent > 0 else [int(gmpy2.invert(value, key.n)) for value in part.values]
        total = [
            so_far * power % key.n for so_far, power in zip(total, powers(bases, abs(exponent), key.n), strict=True)
        ]
    return total


def _roots(key: ThresholdKey, inverses: Sequence[int], joined: Sequence[int]) -> tuple[int, ...]:
    """r with r**n = x mod n for every x, given as inverses, from w = x**(4 delta**2 d)."""
    scale = 4 * key.delta**2
    a = int(gmpy2.invert(scale, key.n))
    minus_b = (a * scale - 1) // key.n
    large, small = powers(joined, a, key.n), powers(inverses, minus_b, key.n)
    return tuple(one * other % key.n for one, other in zip(large, small, strict=True))


def _residues(
    key: ThresholdKey, ciphertexts: Sequence[int], inverses: Sequence[int], randomness: Sequence[int]
) -> tuple[int, ...]:
    """m of every c = (1 + m n) r**n mod n**2: c - r**n is m n r**n, and r**n is x modulo n."""
    masks = powers(randomness, key.n, key.public.nsquare)
    residues = []
    for position, (ciphertext, inverse, mask) in enumerate(zip(ciphertexts, inverses, masks, strict=True)):
        quotient, rest = divmod(ciphertext - mask, key.n)
        if rest:
            raise WrongPartsError(position)
        residues.append(quotient * inverse % key.n)
    return tuple(residues)
