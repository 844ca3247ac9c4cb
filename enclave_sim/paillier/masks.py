"""Masks: the random half of a ciphertext, from short exponents of one fixed base.

A ciphertext is c = (1 + m n) H**a mod n**2 with H = h**n mod n**2, h = -x**2 mod n, and a uniform of half the bits
of n: Damgård, Jurik & Nielsen, "A generalization of Paillier's public-key system with applications to electronic
voting", Int. J. Inf. Secur. 9 (2010). It is a Paillier ciphertext like any other, with r = h**a mod n: H**a =
(h**a)**n mod n**2, since an n-th power modulo n**2 depends on its base modulo n alone. So phe opens it.

Why c hides m, for n = p q with safe primes p, q, and J the group of the units modulo n of Jacobi symbol 1. J is
{1, -1} times the squares, since -1 is no square modulo p nor modulo q. Whoever tells an encryption of m from one of
m' tells two neighbours in this row of distributions apart:

1. r = h**a as it is made.
2. r uniform in J. Write a = 2 b + s with a uniform bit s: r = (x**4)**b (-x**2)**s. Goldreich & Rosen, "On the
   security of modular exponentiation with application to the construction of pseudorandom generators", J. Cryptology
   16 (2003), after Håstad, Schrift & Shamir, J. Comput. Syst. Sci. 47 (1993): powers of a random square with
   exponents of half the bits of n cannot be told from those with exponents of all bits, or n can be factored; and
   those are uniform among the squares but for a negligible distance. x**4 is a random square because x is a hash of
   n. A uniform square times (-x**2)**s is uniform in J.
3. The mask r**n uniform among the units modulo n**2 whose Jacobi symbol over n is 1. That is the decisional composite
   residuosity assumption (Paillier, Eurocrypt 1999), restricted to half of the units; anybody can see which half, so
   whoever succeeds on this half succeeds on all with half the advantage. c has now one distribution for every m.

x is a hash of n: nobody can have chosen it, and it needs no field in a message. What the argument takes from the
dealer is that p and q are safe primes. A mask must be used once: c / c' of one mask is 1 + (m - m') n.
"""

import os
import secrets
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Condition, Thread

from enclave_sim.paillier.challenge import CHALLENGE_BITS
from enclave_sim.paillier.exponent import FixedBase, powers
from enclave_sim.paillier.keys import PublicKey

POOL_BOUND = 2048
"""Masks that a pool prepares unless told otherwise: about 2 MB at 3072 bits."""

_BATCH = 32


@dataclass(frozen=True)
class Mask:
    """Secret: an exponent a and `value` = H**a mod n**2. `repr` shows neither."""

    exponent: int = field(repr=False)
    value: int = field(repr=False)


def exponent_bits(public: PublicKey) -> int:
    """Bits of a mask's exponent: half of those of n, rounded up."""
    return (public.bits + 1) // 2


def make_masks(public: PublicKey, count: int) -> list[Mask]:
    """`count` fresh masks. The first call for a key also makes the table of powers of H."""
    exponents = [secrets.randbits(exponent_bits(public)) for _ in range(count)]
    values = _powers_of_mask_base(public).powers(exponents)
    return [Mask(exponent, value) for exponent, value in zip(exponents, values, strict=True)]


class MaskPool:
    """Masks made ahead by a background thread, up to `bound`, while nobody waits for any: from `prepare` on.

    Each is used once by construction: `take` removes what it returns under a lock, nothing is written to disk, and a
    forked process takes nothing from its parent's pool. A copy of a whole running machine would repeat masks: an
    enclave that can be copied while it runs must not have a pool. `close` ends the thread; so does the process's end.
    """

    def __init__(self, public: PublicKey, bound: int = POOL_BOUND) -> None:
        self.public = public
        self._bound = bound
        self._ready: deque[Mask] = deque()
        self._changed = Condition()
        self._takers = 0
        self._closed = False
        self._process = os.getpid()

    def prepare(self) -> None:
        """Begin to make masks ahead. Call it once."""
        Thread(target=self._fill, name="paillier masks", daemon=True).start()

    def take(self, count: int) -> list[Mask]:
        """`count` masks that nobody else gets: prepared ones first, the rest made now."""
        # A fork copies the pool, lock and all: the child must not even ask.
        if os.getpid() != self._process:
            return make_masks(self.public, count)
        with self._changed:
            self._takers += 1
            ready = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
        try:
            return ready + make_masks(self.public, count - len(ready))
        finally:
            with self._changed:
                self._takers -= 1
                self._changed.notify_all()

    def wait_until_full(self, timeout_s: float) -> bool:
        """Whether the pool has `bound` masks, after waiting at most `timeout_s` seconds for them."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._ready) >= self._bound, timeout_s)

    def close(self) -> None:
        """Forget the prepared masks and make no more. `take` still works, without any head start."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def _fill(self) -> None:
        # The tables of the proofs that go with masks take as long to make as some masks.
        for tables in (commitment_powers(self.public), root_powers(self.public)):
            tables.powers([0])
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._idle_with_room())
                if self._closed:
                    return
                wanted = min(_BATCH, self._bound - len(self._ready))
            masks = make_masks(self.public, wanted)
            with self._changed:
                if self._closed:
                    return
                self._ready.extend(masks)
                self._changed.notify_all()

    def _idle_with_room(self) -> bool:
        return self._takers == 0 and len(self._ready) < self._bound


def proof_exponent_bits(public: PublicKey) -> int:
    """Bits of the exponents in a proof about masks: 128 + 128 more than those of 2**32 masks' sum have, and one."""
    return exponent_bits(public) + 32 + 2 * CHALLENGE_BITS + 1


@lru_cache(maxsize=4)
def commitment_powers(public: PublicKey) -> FixedBase:
    """Powers of h**n modulo n, for the exponents of proofs."""
    (base,) = powers([public.mask_base], public.n, public.n)
    return FixedBase(base, public.n, proof_exponent_bits(public))


@lru_cache(maxsize=4)
def root_powers(public: PublicKey) -> FixedBase:
    """Powers of h modulo n, for the exponents of proofs."""
    return FixedBase(public.mask_base, public.n, proof_exponent_bits(public))


@lru_cache(maxsize=4)
def _powers_of_mask_base(public: PublicKey) -> FixedBase:
    (base,) = powers([public.mask_base], public.n, public.nsquare)
    return FixedBase(base, public.nsquare, exponent_bits(public))
