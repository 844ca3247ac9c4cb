"""Opening without proofs, as jobs still do it. To be deleted when they use `threshold` and `share_proof`.

Damgård & Jurik, "A Generalisation, a Simplification and Some Applications of Paillier's Probabilistic
Public-Key System", PKC 2001, section 4.1 with s = 1. Nobody outside can check what was opened, and a wrong part is
noticed at best, not blamed.
"""

from collections.abc import Mapping, Sequence

import gmpy2

from enclave_sim.paillier.dealer import check_primes, share_out
from enclave_sim.paillier.encryption import check_equal_lengths
from enclave_sim.paillier.exponent import powers_to_secret
from enclave_sim.paillier.keys import BadCiphertextError, KeyShare, PublicKey, ThresholdKey, check_ciphertext
from enclave_sim.paillier.threshold import TooFewSharesError, lagrange


class InconsistentSharesError(ValueError):
    """The partial decryptions of `indexes` do not open ciphertext `position`: at least one is wrong."""

    def __init__(self, indexes: tuple[int, ...], position: int) -> None:
        super().__init__(f"shares {indexes} do not open ciphertext {position}: at least one of them is wrong")
        self.indexes = indexes
        self.position = position


def deal(p: int, q: int, parties: int, threshold: int, epoch: int) -> tuple[ThresholdKey, tuple[KeyShare, ...]]:
    """Split the decryption exponent of n = p q into shares 1..parties, any `threshold` of which open.

    After Fouque, Poupard & Stern, FC 2000: with m = (p-1)(q-1)/4, the exponent d is 0 mod m and 1 mod n, and share i
    is f(i) for a random polynomial f over Z_{n m} of degree threshold - 1 with f(0) = d. The key has no verification
    keys. Raises `BadKeyError` as `dealer.deal` does.
    """
    check_primes(p, q)
    n, m = p * q, (p // 2) * (q // 2)
    key = ThresholdKey(n=n, parties=parties, threshold=threshold, epoch=epoch)
    return key, share_out(m * int(gmpy2.invert(m, n)), parties, threshold, n * m)


def partial_decrypt(key: ThresholdKey, share: KeyShare, ciphertexts: Sequence[int]) -> list[int]:
    """One party's part of opening: c**(2 delta s_i) mod n**2 for every ciphertext, in order.

    The factor 2 keeps the result among squares whatever the ciphertext. `threshold` parts open a ciphertext:
    decide whether it may be opened before calling this. Raises `BadCiphertextError` for a ciphertext that is
    none, before the share touches any, and `BadKeyError` for a share of no party.
    """
    key.check_index(share.index)
    for ciphertext in ciphertexts:
        check_ciphertext(key.public, ciphertext)
    return powers_to_secret(ciphertexts, 2 * key.delta * share.value, key.public.nsquare)


def combine(key: ThresholdKey, partials: Mapping[int, Sequence[int]]) -> list[int]:
    """Open ciphertexts from partial decryptions by share index: residues in [0, n), one a ciphertext.

    Of more than `threshold` parties the smallest `threshold` indexes are used and the others not looked at.
    Raises `TooFewSharesError`, `BadKeyError` for an index of no party, `UnequalLengthsError`, and
    `InconsistentSharesError` when the parts do not fit together.

    Catches rubbish, not malice: a party that multiplies its part by a power of n + 1 shifts the result
    unseen.
    """
    for index in partials:
        key.check_index(index)
    if len(partials) < key.threshold:
        raise TooFewSharesError(given=len(partials), needed=key.threshold)
    indexes = tuple(sorted(partials)[: key.threshold])
    check_equal_lengths([partials[index] for index in indexes])
    exponents = [2 * lagrange(key, index, indexes) for index in indexes]
    columns = zip(*(partials[index] for index in indexes), strict=True)
    unscale = int(gmpy2.invert(4 * key.delta**2, key.n))
    opened: list[int] = []
    for position, column in enumerate(columns):
        power = _join(key.public, column, exponents)
        if power is None:
            raise InconsistentSharesError(indexes, position)
        opened.append((power - 1) // key.n * unscale % key.n)
    return opened


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
