"""Proof that one party's partial decryptions are right, one for a whole vector; it names who lies.

Whether an opening is right it shows by itself (`threshold.combine`), whoever gave its parts: so these proofs are made
and checked only when parts did not open, to tell whose were wrong.

Party i holds s_i behind the public v_i = v**s_i mod n, and gives D_j = x_j**(2 delta s_i) mod n for every x_j =
c_j mod n. With 128-bit exponents e_j hashed from the whole statement, put

    X = prod x_j**(4 delta e_j),   Y = prod D_j**(2 e_j)   (mod n),

so that right parts give Y = X**s_i. The proof is Chaum & Pedersen's (Crypto 1992) that Y to X and v_i to v have one
exponent, in a group of unknown order as in Shoup, "Practical Threshold Signatures", Eurocrypt 2000, section 3: for a
random r, A = v**r, B = X**r, the challenge e is the hash of all before it, and z = r + e s_i. It consists of (e, z):
the checker computes A = v**z v_i**-e and B = X**z Y**-e and hashes again.

Soundness. n = p q with safe primes p = 2 p' + 1, q = 2 q' + 1 longer than 129 bits. X, Y and v are squares because
they are computed as such, v_i is the dealer's; squares form a cyclic group of order p' q', which v generates (but for
a probability of about 1/p' + 1/q' over the hash that v comes from), and v_i = v**s_i fixes s_i modulo it. So A and B
are squares too. Write X = v**x, Y = v**y, A = v**a, B = v**b. A proof that checks has a = z - e s_i and b = x z - e y,
so e (y - x s_i) = a x - b modulo p' and q'. If Y is not X**s_i, y - x s_i is not 0 modulo p' (or q'), and one e below
2**128 < p' at most checks: probability 2**-128 for every hash tried. And where Y = X**s_i by the hashed e_j, all parts
have the right squares: let D_j**2 be x_j**(4 delta s_i) v**d_j; then Y = X**s_i says that sum e_j d_j = 0 modulo p'
and q', which holds with probability 2**-128 at most if some d_j is not 0 (Bellare, Garay & Rabin, Eurocrypt 1998).
Only the squares of parts are used to open.

Zero knowledge. r is uniform below 2**(bits(n) + 256) and e s_i shorter than bits(n) + 128 bits, so z is within
2**-128 of uniform; choose e and z at random, compute A and B, and set the hash: nothing about s_i is in a proof.
r is hashed from the share and the statement, as Ed25519 (RFC 8032) does it: uniform to whoever does not know the share,
never the same for two statements, and a proof that is asked for again is the same bytes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import gmpy2

from enclave_sim.paillier.challenge import CHALLENGE_BITS, seed, short_numbers
from enclave_sim.paillier.exponent import powers, powers_to_secret, product_of_powers
from enclave_sim.paillier.keys import BadKeyError, KeyShare, ThresholdKey, check_ciphertexts, is_unit

_HIDING_BITS = 128


class WrongShareError(ValueError):
    """The partial decryptions of party `index` are not proven right: this party, or who speaks for it, is at fault."""

    def __init__(self, index: int) -> None:
        super().__init__(f"the partial decryptions of party {index} are not proven to be right")
        self.index = index


@dataclass(frozen=True)
class ShareProof:
    """That one party's partial decryptions are right: the challenge (128 bits) and the response (see the module)."""

    challenge: int
    response: int

    def to_bytes(self, key: ThresholdKey) -> tuple[bytes, bytes]:
        """Both numbers, big-endian, of lengths that the key alone decides."""
        width = (_response_bits(key) + 1 + 7) // 8
        return self.challenge.to_bytes(CHALLENGE_BITS // 8, "big"), self.response.to_bytes(width, "big")


@dataclass(frozen=True)
class Parts:
    """One party's partial decryptions, one for each ciphertext, all units modulo n: `parts_of` makes these."""

    key: ThresholdKey
    index: int
    ciphertexts: tuple[int, ...]
    values: tuple[int, ...]


def check_share(key: ThresholdKey, share: KeyShare) -> None:
    """Raise `BadKeyError` unless the share is the one that its verification key commits the dealer to."""
    if powers_to_secret([key.verification_base], share.value, key.n)[0] != key.verification_key(share.index):
        raise BadKeyError("the share of the key is not the one that was announced with it")


def prove_partials(
    key: ThresholdKey, share: KeyShare, ciphertexts: Sequence[int], partials: Sequence[int], context: bytes
) -> ShareProof:
    """Prove what `threshold.partial_decrypt` gave for `ciphertexts`, for one `context`: a digest of the job.

    The proof is good for this key, epoch, party, context and vector alone. Raises `BadKeyError` for a share of no
    party and for a key without verification keys.
    """
    start, x, y = _batch(key, share.index, ciphertexts, partials, context)
    r = _nonce(key, share, start)
    commitments = powers_to_secret([key.verification_base, x], r, key.n)
    challenge = _challenge(key, start, x, y, commitments)
    return ShareProof(challenge, r + challenge * share.value)


def check_partials(
    key: ThresholdKey,
    index: int,
    ciphertexts: Sequence[int],
    partials: Sequence[int],
    proof: ShareProof,
    context: bytes,
) -> Parts:
    """The partial decryptions of party `index`, if `proof` proves them right; else `WrongShareError`.

    Raises `BadCiphertextError` for a ciphertext that is none, and `BadKeyError` for an index of no party and for a key
    without verification keys.
    """
    verification_key = key.verification_key(index)
    check_ciphertexts(key.public, ciphertexts)
    parts = parts_of(key, index, ciphertexts, partials)
    if not (0 <= proof.challenge < 1 << CHALLENGE_BITS and 0 < proof.response < 1 << (_response_bits(key) + 1)):
        raise WrongShareError(index)
    start, x, y = _batch(key, index, ciphertexts, partials, context)
    answers = powers([key.verification_base, x], proof.response, key.n)
    debts = powers([int(gmpy2.invert(base, key.n)) for base in (verification_key, y)], proof.challenge, key.n)
    commitments = [answer * debt % key.n for answer, debt in zip(answers, debts, strict=True)]
    if proof.challenge != _challenge(key, start, x, y, commitments):
        raise WrongShareError(index)
    return parts


def parts_of(key: ThresholdKey, index: int, ciphertexts: Sequence[int], partials: Sequence[int]) -> Parts:
    """The partial decryptions of party `index` as it sent them, right or wrong; `WrongShareError` if they can be none.

    Raises `BadKeyError` for an index of no party.
    """
    key.check_index(index)
    if not (len(partials) == len(ciphertexts) and all(is_unit(part, key.n) for part in partials)):
        raise WrongShareError(index)
    return Parts(key, index, tuple(ciphertexts), tuple(partials))


def _batch(
    key: ThresholdKey, index: int, ciphertexts: Sequence[int], partials: Sequence[int], context: bytes
) -> tuple[bytes, int, int]:
    """A seed that binds the statement, and the X and Y that stand for it."""
    n = key.n
    parties = (key.parties, key.threshold, key.epoch, index)
    start = seed(
        "partial decryptions", n, *parties, key.verification_key(index), context, list(ciphertexts), list(partials)
    )
    exponents = short_numbers(start, len(ciphertexts))
    x = product_of_powers([ciphertext % n for ciphertext in ciphertexts], exponents, n)
    y = product_of_powers(partials, exponents, n)
    return start, pow(x, 4 * key.delta, n), pow(y, 2, n)


def _nonce(key: ThresholdKey, share: KeyShare, start: bytes) -> int:
    secret = share.value.to_bytes((share.value.bit_length() + 7) // 8, "big")
    stream = hashlib.shake_256(b"yingbi/v1/paillier/nonce" + len(secret).to_bytes(4, "big") + secret + start)
    bits = _response_bits(key)
    return 1 + (int.from_bytes(stream.digest((bits + 7) // 8), "big") >> (-bits % 8))


def _challenge(key: ThresholdKey, start: bytes, x: int, y: int, commitments: Sequence[int]) -> int:
    bound = seed("equal exponents", start, key.verification_base, x, y, list(commitments))
    return int.from_bytes(bound[: CHALLENGE_BITS // 8], "big")


def _response_bits(key: ThresholdKey) -> int:
    return key.public.bits + CHALLENGE_BITS + _HIDING_BITS
