"""Numbers of a vector as bytes of one length."""

from collections.abc import Sequence

from enclave_sim.paillier.keys import BadCiphertextError, PublicKey, check_ciphertexts


def number_bytes(modulus: int) -> int:
    """How many bytes a number below `modulus` has on the wire."""
    return (modulus.bit_length() + 7) // 8


def to_bytes(numbers: Sequence[int], modulus: int) -> list[bytes]:
    """Numbers below `modulus` as big-endian bytes of one length, which tells nothing about them."""
    width = number_bytes(modulus)
    return [number.to_bytes(width, "big") for number in numbers]


def from_bytes(encoded: Sequence[bytes], public: PublicKey) -> list[int]:
    """Ciphertexts; raises `BadCiphertextError` for what is no unit modulo n**2, or not in its one encoding."""
    width = number_bytes(public.nsquare)
    for data in encoded:
        if len(data) != width:
            raise BadCiphertextError(f"a ciphertext under this key has {width} bytes, not {len(data)}")
    numbers = [int.from_bytes(data, "big") for data in encoded]
    check_ciphertexts(public, numbers)
    return numbers
