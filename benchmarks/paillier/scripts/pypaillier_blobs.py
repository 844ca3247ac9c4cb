# mypy: ignore-errors
"""pypaillier: batches of blobs. It adds position by position with `add_blocks`, a block of five blobs a position."""

from types import SimpleNamespace

import paillier
from harness import run


def prepare(task):  # noqa: ANN001, ANN201
    return paillier.generate_keypair(task.bits)


def codec(key, task):  # noqa: ANN001, ANN201
    public, secret = key

    def add(vectors):  # noqa: ANN001, ANN202
        length = len(vectors[0])
        blobs = [blob for vector in vectors for blob in vector]
        blocks = [[place + length * party for party in range(len(vectors))] for place in range(length)]
        return [bytes(blob) for blob in paillier.add_blocks(public, blobs, blocks)]

    return SimpleNamespace(
        encrypt=lambda numbers: [bytes(blob) for blob in paillier.encrypt_integers(public, numbers)],
        add=add,
        wire=lambda vector: sum(map(len, vector)),
        part=None,
        open=lambda total, *_: [int(text) for text in paillier.decrypt_many(secret, total)],
    )


run(["pypaillier"], prepare, codec)
