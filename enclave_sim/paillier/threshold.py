"""Open ciphertexts with a threshold of key shares, never with a whole key.

Damgård & Jurik, "A Generalisation, a Simplification and Some Applications of Paillier's Probabilistic
Public-Key System", PKC 2001, section 4.1 with s = 1.
"""

import math
from collections.abc import Mapping, Sequence

import gmpy2

from enclave_sim.paillier.encryption import check_equal_lengths
from enclave_sim.paillier.exponent import powers_to_secret
from enclave_sim.paillier.keys import (
    BadCiphertextError,
    BadKeyError,
    KeyShare,
    PublicKey,
    ThresholdKey,
    check_ciphertext,
)


class TooFewSharesError(ValueError):
    """Fewer partial decryptions than the threshold: `given` of `needed`."""

    def __init__(self, given: int, needed: int) -> None:
        super().__init__(f"{needed} partial decryptions are needed, {given} were given")
        self.given = given
        self.needed = needed


class InconsistentSharesError(ValueError):
    """The partial decryptions of `indexes` do not open ciphertext `position`: at least one is wrong."""

    def __init__(self, indexes: tuple[int, ...], position: int) -> None:
        super().__init__(f"shares {indexes} do not open ciphertext {position}: at least one of them is wrong")
        self.indexes = indexes
        self.position = position


def majority(parties: int) -> int:
    """The default threshold: more than half of the parties."""
    return parties // 2 + 1


def partial_decrypt(key: ThresholdKey, share: KeyShare, ciphertexts: Sequence[int]) -> list[int]:
    """One party's part of opening: c**(2 delta s_i) mod n**2 for every ciphertext, in order.

    The factor 2 keeps the result among squares whatever the ciphertext. `threshold` parts open a ciphertext:
    decide whether it may be opened before calling this. Raises `BadCiphertextError` for a ciphertext that is
    none, before the share touches any, and `BadKeyError` for a share of no party.
    """
    _check_index(key, share.index)
    for ciphertext in ciphertexts:
        check_ciphertext(key.public, ciphertext)
    return powers_to_secret(ciphertexts, 2 * key.delta * share.value, key.public.nsquare)


def combine(key: ThresholdKey, partials: Mapping[int, Sequence[int]]) -> list[int]:
    """Open ciphertexts from partial decryptions by share index: residues in [0, n), one a ciphertext.

    Of more than `threshold` parties the smallest `threshold` indexes are used and the others not looked at.
    Raises `TooFewSharesError`, `BadKeyError` for an index of no party, `UnequalLengthsError`, and
    `InconsistentSharesError` when the parts do not fit together.

    Catches rubbish, not malice: a party that multiplies its part by a power of n + 1 shifts the result
    unseen. Zero-knowledge proofs of correct parts, which also name the liar (Damgård & Jurik 2001,
    section 4.1), come with a later issue.
    """
    for index in partials:
        _check_index(key, index)
    if len(partials) < key.threshold:
        raise TooFewSharesError(given=len(partials), needed=key.threshold)
    indexes = tuple(sorted(partials)[: key.threshold])
    check_equal_lengths([partials[index] for index in indexes])
    exponents = [2 * _lagrange(key, index, indexes) for index in indexes]
    columns = zip(*(partials[index] for index in indexes), strict=True)
    unscale = int(gmpy2.invert(4 * key.delta**2, key.n))
    opened: list[int] = []
    for position, column in enumerate(columns):
        power = _join(key.public, column, exponents)
        if power is None:
            raise InconsistentSharesError(indexes, position)
        opened.append((power - 1) // key.n * unscale % key.n)
    return opened


def _check_index(key: ThresholdKey, index: int) -> None:
    if not 1 <= index <= key.parties:
        raise BadKeyError(f"share indexes run from 1 to {key.parties}, {index} is none of them")


def _lagrange(key: ThresholdKey, index: int, indexes: Sequence[int]) -> int:
    """delta times the Lagrange coefficient of `index` at 0 over `indexes`: an integer, perhaps negative."""
    others = [other for other in indexes if other != index]
    numerator = key.delta * math.prod(others)
    return numerator // math.prod(other - index for other in others)


def _join(public: PublicKey, parts: Sequence[int], exponents: Sequence[int]) -> int | None:
    """The product of parts to their exponents, or None if it is not (1 + n)**x mod n**2 for any x."""
    nsquare = gmpy2.mpz(public.nsquare)
    product = gmpy2.mpz(1)
    for part, exponent in zip(parts, exponents, strict=True):
        try:
            check_ciphertext(public, part)
        except BadCiphertextError:
            return None
        product = product * gmpy2.powmod(part, exponent, nsquare) % nsquare
    return int(product) if product % public.n == 1 else None
