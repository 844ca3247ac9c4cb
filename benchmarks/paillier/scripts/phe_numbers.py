# mypy: ignore-errors
"""phe: one EncryptedNumber after another. What is sent is n**2's length."""

from types import SimpleNamespace

from harness import run
from phe import paillier


def prepare(task):  # noqa: ANN001, ANN201
    return paillier.generate_paillier_keypair(n_length=task.bits)


def codec(key, task):  # noqa: ANN001, ANN201
    public, private = key
    return SimpleNamespace(
        encrypt=lambda numbers: [public.encrypt(number) for number in numbers],
        add=lambda vectors: [sum(column[1:], column[0]) for column in zip(*vectors, strict=True)],
        wire=lambda vector: len(vector) * 2 * task.bits // 8,
        part=None,
        open=lambda total, *_: [private.decrypt(number) for number in total],
    )


run(["phe", "gmpy2"], prepare, codec)
