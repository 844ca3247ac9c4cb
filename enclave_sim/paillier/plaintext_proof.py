"""Proof that a contributor knows what it encrypted, one for a whole vector, bound to the contributor and the job.

Without it a contributor could send somebody else's ciphertext again, its inverse or another power, and learn from the
total what is inside. The protocol for one ciphertext is Cramer, Damgård & Nielsen's (Eurocrypt 2001), batched with
independent exponents as Gennaro, Leigh, Sundaram & Yerazunis (Asiacrypt 2004) batch Schnorr's. For ciphertexts
c_j = (1 + m_j n) r_j**n mod n**2, r_j = h**a_j mod n, the prover draws m_0 uniform mod n and a_0, computes a =
(1 + m_0 n) h**(a_0 n) mod n**2, 128-bit exponents e_j from the hash of the key, holder, epoch, context, all c_j and a,
and answers

    z = m_0 + sum e_j m_j mod n,   rho = h**(a_0 + sum e_j a_j) mod n.

The checker tests (1 + z n) rho**n = a prod c_j**e_j mod n**2. Sent are the hash, z and rho: a follows from them.

Knowledge. n has prime factors p, q longer than 128 bits. For one a, let V be the vectors (e_1, ..., e_k) that a prover
can answer. If all of V lay in a plane a_1 e_1 + ... + a_k e_k = a_0 modulo p, with a_j not 0, then the other exponents
would determine e_j: V would be 2**-128 of all vectors at most; the same modulo q. A prover who succeeds more often than
that by more than a negligible part answers, when it is rewound, k + 1 vectors in no common plane modulo p, and as many
modulo q. From these the Chinese remainder theorem gives integers t_i with sum t_i (1, e_i) = (0, ..., 1, ..., 0) modulo
n, for every position j: the product of the i-th equations to the power t_i reads c_j (a known number)**n =
(1 + known n) (known)**n. Exponents that are multiples of n do not disturb: u**n mod n**2, for any unit u, is an n-th
power of the known u mod n and holds the plaintext 0. So m_j and r_j of every c_j are known to who rewinds: whoever
makes a proof knows them.

Whoever knows the plaintext of a power, inverse or re-randomised product of somebody else's ciphertext knows that
ciphertext's plaintext, which encryption hides; and a proof of another's cannot be made into one for oneself, because
the holder, epoch, context and every ciphertext are in the hash.

Zero knowledge. z is uniform because m_0 is; a_0 is 128 bits longer than sum e_j a_j can be, so rho is within 2**-128 of
h**(a uniform exponent) whatever the a_j are. Choose z, rho and the hash at random, compute a, and set the hash.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import gmpy2

from enclave_sim.paillier.challenge import CHALLENGE_BITS, seed, short_numbers
from enclave_sim.paillier.encryption import Encryption
from enclave_sim.paillier.exponent import powers, powers_to_secret, product_of_powers
from enclave_sim.paillier.keys import ThresholdKey, check_ciphertexts, is_unit
from enclave_sim.paillier.masks import exponent_bits

_HIDING_BITS = 128


class UnknownPlaintextError(ValueError):
    """`holder` did not prove that it knows what is in its ciphertexts."""

    def __init__(self, holder: int) -> None:
        super().__init__(f"party {holder} did not prove that it knows what its ciphertexts hold")
        self.holder = holder


@dataclass(frozen=True)
class PlaintextProof:
    """The hash (32 bytes), the response z in [0, n) and the randomness rho in (0, n) (see the module)."""

    challenge: bytes
    response: int
    randomness: int


@dataclass(frozen=True)
class _Commitment:
    plaintext: int = field(repr=False)
    exponent: int = field(repr=False)


def prove_plaintexts(
    key: ThresholdKey, holder: int, plaintexts: Sequence[int], encryption: Encryption, context: bytes
) -> PlaintextProof:
    """Prove that party `holder` knows the `plaintexts` that it encrypted, for one `context`: a digest of the job.

    Raises `BadKeyError` for a holder that is no party. Of other plaintexts than those in `encryption` the result is
    no proof.
    """
    key.check_index(holder)
    n, nsquare = key.n, key.public.nsquare
    hidden = _Commitment(secrets.randbelow(n), 1 + secrets.randbits(_commitment_bits(key, len(plaintexts))))
    (root,) = powers_to_secret([key.public.mask_base], hidden.exponent, n)
    commitment = (1 + hidden.plaintext * n) * powers([root], n, nsquare)[0] % nsquare
    challenge = _challenge(key, holder, encryption.ciphertexts, commitment, context)
    exponents = short_numbers(challenge, len(plaintexts))
    response = sum((e * m for e, m in zip(exponents, plaintexts, strict=True)), hidden.plaintext) % n
    exponent = sum((e * a for e, a in zip(exponents, encryption.exponents, strict=True)), hidden.exponent)
    (randomness,) = powers_to_secret([key.public.mask_base], exponent, n)
    return PlaintextProof(challenge, response, randomness)


def check_plaintexts(
    key: ThresholdKey, holder: int, ciphertexts: Sequence[int], proof: PlaintextProof, context: bytes
) -> None:
    """Raise `UnknownPlaintextError` unless `proof` shows that party `holder` knows what `ciphertexts` hold.

    It says nothing about the size of the plaintexts. Raises `BadCiphertextError` for a ciphertext that is none, and
    `BadKeyError` for a holder that is no party.
    """
    key.check_index(holder)
    check_ciphertexts(key.public, ciphertexts)
    n, nsquare = key.n, key.public.nsquare
    if not (0 <= proof.response < n and is_unit(proof.randomness, n)):
        raise UnknownPlaintextError(holder)
    product = product_of_powers(ciphertexts, short_numbers(proof.challenge, len(ciphertexts)), nsquare)
    answer = (1 + proof.response * n) * powers([proof.randomness], n, nsquare)[0]
    commitment = int(answer * gmpy2.invert(product, nsquare) % nsquare)
    if proof.challenge != _challenge(key, holder, ciphertexts, commitment, context):
        raise UnknownPlaintextError(holder)


def _challenge(key: ThresholdKey, holder: int, ciphertexts: Sequence[int], commitment: int, context: bytes) -> bytes:
    return seed("plaintexts", key.n, key.epoch, holder, context, list(ciphertexts), commitment)


def _commitment_bits(key: ThresholdKey, count: int) -> int:
    return exponent_bits(key.public) + CHALLENGE_BITS + count.bit_length() + _HIDING_BITS
