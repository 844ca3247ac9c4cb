"""Read by every Python process of a test zone, before its program: the dealer takes the primes that it is given.

It checks them, deals and seals as ever; only the search for them is left out, which takes longer than the rest of
`yingbi init`. Nothing but a test's environment leads here: no option of any program does.
"""

from __future__ import annotations

import os
import sys


def give_primes(p: int, q: int) -> None:
    """Let the dealer find these two."""
    from enclave_sim.paillier import dealer

    def generate_modulus(bits: int = dealer.MODULUS_BITS) -> tuple[int, int]:
        assert (p * q).bit_length() == bits
        return p, q

    dealer.generate_modulus = generate_modulus


if "enclave_sim.ceremony" in sys.orig_argv:
    give_primes(*map(int, os.environ["YINGBI_TEST_PRIMES"].split()))
