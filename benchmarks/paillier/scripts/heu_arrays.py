# mypy: ignore-errors
"""HEU: arrays of big integers in its scheme ZPaillier, which is its default."""

from functools import reduce
from types import SimpleNamespace

import numpy as np
from harness import run
from heu import numpy as hnp
from heu import phe


def prepare(task):  # noqa: ANN001, ANN201
    return hnp.setup(phe.SchemaType.ZPaillier, task.bits)


def codec(kit, task):  # noqa: ANN001, ANN201
    encoder, encryptor, evaluator, decryptor = kit.bigint_encoder(), kit.encryptor(), kit.evaluator(), kit.decryptor()
    return SimpleNamespace(
        encrypt=lambda numbers: encryptor.encrypt(kit.array(np.array(numbers, dtype=object), encoder)),
        add=lambda vectors: reduce(evaluator.add, vectors),
        wire=lambda vector: len(vector.serialize()),
        part=None,
        open=lambda total, *_: decryptor.decrypt(total).to_numpy(encoder).tolist(),
    )


run(["sf-heu"], prepare, codec)
