"""Public key, shared key and key share; the check that every outside ciphertext passes first."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import gmpy2
from phe.paillier import PaillierPublicKey


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


@dataclass(frozen=True)
class ThresholdKey:
    """All that is public about a shared key: any `threshold` of `parties` shares open, fewer learn nothing.

    Shares carry indexes 1..parties. `epoch` (0, 1, ...) counts dealings: shares of different epochs do not
    combine. Raises `BadKeyError` unless 1 <= threshold <= parties and epoch >= 0.
    """

    n: int
    parties: int
    threshold: int
    epoch: int

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.parties:
            raise BadKeyError(f"a threshold of {self.threshold} is impossible among {self.parties} parties")
        if self.epoch < 0:
            raise BadKeyError(f"epochs count from 0, not {self.epoch}")
        # Refuses a bad n now, not at first use.
        _ = self.public

    @cached_property
    def public(self) -> PublicKey:
        """The key to encrypt under."""
        return PublicKey(self.n)

    @property
    def delta(self) -> int:
        """parties!, which clears the denominators of every Lagrange coefficient (Shoup, Eurocrypt 2000)."""
        return math.factorial(self.parties)


@dataclass(frozen=True)
class KeyShare:
    """Secret: the point f(index) = `value` of the dealer's polynomial. `repr` leaves the value out.

    `index` is in 1..parties; `value` in [1, n m), m = (p-1)(q-1)/4, so about twice as long as n.
    Raises `BadKeyError` below these ranges.
    """

    index: int
    value: int = field(repr=False)

    def __post_init__(self) -> None:
        if self.index < 1 or self.value < 1:
            raise BadKeyError("the index and the value of a key share are at least 1")


def check_ciphertext(public: PublicKey, ciphertext: int) -> None:
    """Raise `BadCiphertextError` unless 0 < `ciphertext` < n**2 and it shares no factor with n.

    Not a formality: decrypting 0 with phe gives a number from which n can be factored. The check says nothing
    about what is inside, nor who made it.
    """
    if not 0 < ciphertext < public.nsquare:
        raise BadCiphertextError("a ciphertext lies strictly between 0 and n squared")
    if gmpy2.gcd(ciphertext, public.n) != 1:
        raise BadCiphertextError("a ciphertext has no factor in common with the modulus")
