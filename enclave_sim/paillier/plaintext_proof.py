"""Proof that a contributor knows what it encrypted, one for a whole vector, bound to the contributor and the job.

Without it a contributor could send somebody else's ciphertext again, its inverse or another power, and learn from the
total what is inside. A ciphertext is c_j = (1 + m_j n) r_j**n mod n**2, so x_j = c_j mod n is r_j**n mod n, and who
knows r_j knows m_j: it is ((c_j r_j**-n mod n**2) - 1) / n. What is proven is knowledge of the n-th roots r_j of all
x_j modulo n, as Guillou & Quisquater do (Eurocrypt 1988) for one root with a public exponent, batched with independent
exponents as Gennaro, Leigh, Sundaram & Yerazunis (Asiacrypt 2004) batch Schnorr's: for r_j = h**a_j mod n, the prover
draws a_0, computes A = (h**n)**a_0 mod n and 128-bit exponents e_j from the hash of the key, holder, epoch, context,
all c_j and A, and answers

    rho = h**(a_0 + sum e_j a_j) mod n.

The checker tests rho**n = A prod x_j**e_j mod n. Sent are the hash and rho: A follows from them.

Knowledge. n has prime factors p, q longer than 128 bits. For one A, let V be the vectors (e_1, ..., e_k) that a prover
can answer. If all of V lay in a plane a_1 e_1 + ... + a_k e_k = a_0 modulo p, with a_j not 0, then the other exponents
would determine e_j: V would be 2**-128 of all vectors at most; the same modulo q. A prover who succeeds more often than
that by more than a negligible part answers, when it is rewound, k + 1 vectors in no common plane modulo p, and as many
modulo q. From these the Chinese remainder theorem gives integers t_i with sum t_i (1, e_i) = (0, ..., 1, ..., 0) modulo
n, for every position j: the product of the i-th equations to the power t_i reads x_j (a known number)**n = (a known
number)**n modulo n. So an n-th root of every x_j is known to who rewinds, and it is r_j, since n is prime to phi(n)
(`modulus_proof`): whoever makes a proof knows r_j, and m_j with it.

Whoever knows the plaintext of a power, inverse or re-randomised product of somebody else's ciphertext knows that
ciphertext's plaintext, which encryption hides; and a proof of another's cannot be made into one for oneself, because
the holder, epoch, context and every ciphertext, modulo n**2, are in the hash.

Zero knowledge. a_0 is 128 bits longer than sum e_j a_j can be, so rho is within 2**-128 of h**(a uniform exponent)
whatever the a_j are. Choose rho and the hash at random, compute A, and set the hash.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import gmpy2

from enclave_sim.paillier.challenge import seed, short_numbers
from enclave_sim.paillier.encryption import Encryption
from enclave_sim.paillier.exponent import powers, product_of_powers
from enclave_sim.paillier.keys import ThresholdKey, check_ciphertexts, is_unit
from enclave_sim.paillier.masks import commitment_powers, proof_exponent_bits, root_powers


class UnknownPlaintextError(ValueError):
    """`holder` did not prove that it knows what is in its ciphertexts."""

    def __init__(self, holder: int) -> None:
        super().__init__(f"party {holder} did not prove that it knows what its ciphertexts hold")
        self.holder = holder


@dataclass(frozen=True)
class PlaintextProof:
    """The hash (32 bytes) and rho in (0, n) (see the module)."""

    challenge: bytes
    root: int


def prove_plaintexts(key: ThresholdKey, holder: int, encryption: Encryption, context: bytes) -> PlaintextProof:
    """Prove that party `holder` knows what it encrypted, for one `context`: a digest of the job.

    Raises `BadKeyError` for a holder that is no party.
    """
    key.check_index(holder)
    hidden = secrets.randbits(proof_exponent_bits(key.public) - 1)
    (commitment,) = commitment_powers(key.public).powers([hidden])
    challenge = _challenge(key, holder, encryption.ciphertexts, commitment, context)
    exponents = short_numbers(challenge, len(encryption.ciphertexts))
    exponent = sum((e * a for e, a in zip(exponents, encryption.exponents, strict=True)), hidden)
    (root,) = root_powers(key.public).powers([exponent])
    return PlaintextProof(challenge, root)


@dataclass(frozen=True)
class Claim:
    """That party `holder` knows what `ciphertexts` hold, and its proof of it."""

    holder: int
    ciphertexts: Sequence[int]
    proof: PlaintextProof


def check_plaintexts(key: ThresholdKey, claims: Sequence[Claim], context: bytes) -> None:
    """Raise `UnknownPlaintextError`, which names the first wrong one, unless every claim is proven.

    It says nothing about the size of the plaintexts. Raises `BadCiphertextError` for a ciphertext that is none, and
    `BadKeyError` for a holder that is no party.
    """
    n = key.n
    for claim in claims:
        key.check_index(claim.holder)
        check_ciphertexts(key.public, claim.ciphertexts)
        if not is_unit(claim.proof.root, n):
            raise UnknownPlaintextError(claim.holder)
    # All at once: several powers take little longer than one.
    answers = powers([claim.proof.root for claim in claims], n, n)
    for claim, answer in zip(claims, answers, strict=True):
        exponents = short_numbers(claim.proof.challenge, len(claim.ciphertexts))
        product = product_of_powers([ciphertext % n for ciphertext in claim.ciphertexts], exponents, n)
        commitment = int(answer * gmpy2.invert(product, n) % n)
        if claim.proof.challenge != _challenge(key, claim.holder, claim.ciphertexts, commitment, context):
            raise UnknownPlaintextError(claim.holder)


def _challenge(key: ThresholdKey, holder: int, ciphertexts: Sequence[int], commitment: int, context: bytes) -> bytes:
    return seed("plaintexts", key.n, key.epoch, holder, context, list(ciphertexts), commitment)
