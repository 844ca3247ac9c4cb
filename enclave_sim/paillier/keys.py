"""Public key, shared key and key share; the check that every outside ciphertext passes first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import gmpy2
from phe.paillier import PaillierPublicKey

from enclave_sim.paillier.challenge import number_below, seed


class BadKeyError(ValueError):
    """Numbers that cannot be a Paillier key or a share of one."""


class BadCiphertextError(ValueError):
    """A number that is no Paillier ciphertext under this key."""


@dataclass(frozen=True)
class PublicKey:
    """A Paillier modulus n = p q with generator g = n + 1 (Paillier, Eurocrypt 1999, section 4).

    Raises `BadKeyError` for an n that is even or below 3. It cannot tell whether n has two safe prime
    factors, nor does it ask for a length: both are the dealer's word.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 3 or self.n % 2 == 0:
            raise BadKeyError("a Paillier modulus is odd and at least 3")

    @cached_property
    def raw(self) -> PaillierPublicKey:
        """The same key as phe's type."""
        return PaillierPublicKey(self.n)

    @property
    def nsquare(self) -> int:
        """n**2: ciphertexts are units modulo it."""
        return int(self.raw.nsquare)

    @property
    def bits(self) -> int:
        """Bit length of n."""
        return self.n.bit_length()

    @cached_property
    def mask_base(self) -> int:
        """h = -x**2 mod n for an x hashed from n: what masks are powers of (see `masks`)."""
        return self.n - pow(number_below(seed("mask base", self.n), self.n), 2, self.n)


@dataclass(frozen=True)
class ThresholdKey:
    """All that is public about a shared key: any `threshold` of `parties` shares open, fewer learn nothing.

    Shares carry indexes 1..parties. `epoch` (0, 1, ...) counts dealings: shares of different epochs do not
    combine. `verification_keys` are v**s_1 .. v**s_parties mod n, one for each party in order, against which its
    parts of an opening are checked; only a key that is not opened with proofs may go without.

    Raises `BadKeyError` unless 1 <= threshold <= parties, epoch >= 0, and the verification keys, if any, are units
    modulo n, one a party.
    """

    n: int
    parties: int
    threshold: int
    epoch: int
    verification_keys: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.parties:
            raise BadKeyError(f"a threshold of {self.threshold} is impossible among {self.parties} parties")
        if self.epoch < 0:
            raise BadKeyError(f"epochs count from 0, not {self.epoch}")
        # Refuses a bad n now, not at first use.
        _ = self.public
        if self.verification_keys and len(self.verification_keys) != self.parties:
            raise BadKeyError(f"{self.parties} parties have {len(self.verification_keys)} verification keys")
        if not all(is_unit(key, self.n) for key in self.verification_keys):
            raise BadKeyError("a verification key has no factor in common with the modulus, and is smaller")

    @cached_property
    def public(self) -> PublicKey:
        """The key to encrypt under."""
        return PublicKey(self.n)

    @property
    def delta(self) -> int:
        """parties!, which clears the denominators of every Lagrange coefficient (Shoup, Eurocrypt 2000)."""
        return math.factorial(self.parties)

    @cached_property
    def verification_base(self) -> int:
        """v = y**(2 delta n) mod n for a y hashed from n: what verification keys are powers of (see `threshold`)."""
        y = number_below(seed("verification base", self.n), self.n)
        return int(gmpy2.powmod(y, 2 * self.delta * self.n, self.n))

    def check_index(self, index: int) -> None:
        """Raise `BadKeyError` for an index of no party."""
        if not 1 <= index <= self.parties:
            raise BadKeyError(f"share indexes run from 1 to {self.parties}, {index} is none of them")

    def verification_key(self, index: int) -> int:
        """v**s_index mod n. Raises `BadKeyError` for an index of no party and for a key without them."""
        self.check_index(index)
        if not self.verification_keys:
            raise BadKeyError("this key came without verification keys")
        return self.verification_keys[index - 1]


@dataclass(frozen=True)
class KeyShare:
    """Secret: the point f(index) = `value` of the dealer's polynomial. `repr` leaves the value out.

    `index` is in 1..parties; `value` is at least 1 and below m = (p-1)(q-1)/4, so shorter than n.
    Raises `BadKeyError` below these ranges.
    """

    index: int
    value: int = field(repr=False)

    def __post_init__(self) -> None:
        if self.index < 1 or self.value < 1:
            raise BadKeyError("the index and the value of a key share are at least 1")


def check_ciphertexts(public: PublicKey, ciphertexts: Sequence[int]) -> None:
    """Raise `BadCiphertextError` unless every one lies between 0 and n**2 and shares no factor with n.

    Not a formality: decrypting 0 with phe gives a number from which n can be factored. The check says nothing
    about what is inside, nor who made it. One greatest common divisor is taken, of n and the product of all: a factor
    that one of them shares with n the product shares, and no other.
    """
    n, product = gmpy2.mpz(public.n), gmpy2.mpz(1)
    nsquare = public.nsquare
    for ciphertext in ciphertexts:
        if not 0 < ciphertext < nsquare:
            raise BadCiphertextError("a ciphertext lies strictly between 0 and n squared")
        product = product * ciphertext % n
    if gmpy2.gcd(product, n) != 1:
        raise BadCiphertextError("a ciphertext has no factor in common with the modulus")


def is_unit(number: int, n: int) -> bool:
    """Whether 0 < `number` < n and it shares no factor with n."""
    return 0 < number < n and bool(gmpy2.gcd(number, n) == 1)
