"""Numbers that nobody chooses: hashes of everything that a proof is about (Fiat & Shamir, Crypto 1986).

A proof is as good as what its hash binds, so each takes in the whole statement: key, holder, context, ciphertexts and
commitments. The encoding is injective (a tag and a length before every part), and every use has a subject of its own,
so that no proof passes for another. In the arguments the hash is a random oracle.
"""

import hashlib
from collections.abc import Sequence

CHALLENGE_BITS = 128
"""Bits of a challenge. Prime factors of the modulus, and of the order of its squares, must be longer than that."""


def seed(subject: str, *parts: bytes | int | Sequence[int]) -> bytes:
    """32 bytes that bind `subject` and `parts`, in order. Integers are at least 0, else OverflowError."""
    state = hashlib.sha256(_text(b"yingbi/v1/paillier/" + subject.encode()))
    for part in parts:
        if isinstance(part, bytes):
            state.update(_text(part))
        elif isinstance(part, int):
            state.update(_number(part))
        else:
            state.update(b"s" + len(part).to_bytes(8, "big"))
            for number in part:
                state.update(_number(number))
    return state.digest()


def short_numbers(start: bytes, count: int) -> list[int]:
    """`count` numbers of 128 bits, uniform and independent, from a seed."""
    size = CHALLENGE_BITS // 8
    stream = hashlib.shake_256(b"short numbers" + start).digest(size * count)
    return [int.from_bytes(stream[i : i + size], "big") for i in range(0, len(stream), size)]


def number_below(start: bytes, modulus: int) -> int:
    """A number in [0, `modulus`) from a seed, within 2**-128 of uniform."""
    size = (modulus.bit_length() + CHALLENGE_BITS + 7) // 8
    return int.from_bytes(hashlib.shake_256(b"number below" + start).digest(size), "big") % modulus


def _text(value: bytes) -> bytes:
    return b"b" + len(value).to_bytes(8, "big") + value


def _number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return b"i" + len(raw).to_bytes(8, "big") + raw
