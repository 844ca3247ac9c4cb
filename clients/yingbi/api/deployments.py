"""Deployed models: their canonical form, what may be said in their terms, and what is sealed to whom. Pure.

A model is parameters over the columns of a design (`FitColumn`), so that whoever uses one makes rows into numbers by
themselves, and the enclave only multiplies and adds. What is sealed is padded, and its length follows from numbers of
rows and columns alone.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence

from google.protobuf.message import DecodeError, Message

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.training import MAX_ROUNDS
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_LINEAR,
    MODEL_KIND_LOGISTIC,
    MODEL_KIND_MULTINOMIAL,
    MODEL_KIND_POISSON,
    DeployedModel,
    DeploymentTerms,
    ModelForm,
    Provenance,
)
from yingbi.api.v1.receipt_pb2 import Receipt, ReceiptBody

# Domains of digests and signatures.
TERMS = "deployment-terms"
APPROVAL = "deployment-approval"
WITHDRAWAL = "deployment-withdrawal"
MODEL = "deployed-model"
ORDER = "prediction-order"
INPUT = "prediction-input"
REPLY = "prediction-reply"
USAGE = "prediction-usage"

MAX_ROWS = 10_000
"""Of one order."""
MAX_NUMBERS = 1_000_000
"""That one order's design has, or its answer."""
MAX_COLUMNS = 500
MAX_CLASSES = 100
MAX_DECIMALS = 12
MICROS = 1_000_000
"""In one of what the zone counts money in; prices are whole numbers of them."""
MAX_ORGANISATIONS = 50
MAX_LIMIT = 10**12
MAX_JOBS = MAX_ROUNDS
"""Whose releases one model follows from."""
ORDER_SECONDS = 600
"""How far the clocks of a caller and of the enclave may be apart."""
SALT_BYTES = 32
LEAST_BYTES = 4096
"""Of what is sealed; more is padded to the next power of two."""
SEAL_BYTES = DEFAULT.overhead
MAX_SEALED = 1 << 24
MAX_PROVENANCE = 1 << 24
"""Bytes: the receipts of all rounds of a training."""
MAX_TERMS = 1 << 20
"""Bytes."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_JOB = re.compile(r"[a-z0-9-]{1,64}")
_KINDS = (MODEL_KIND_LINEAR, MODEL_KIND_LOGISTIC, MODEL_KIND_POISSON, MODEL_KIND_MULTINOMIAL)
_LENGTH = struct.Struct(">Q")


def canonical(message: Message) -> bytes:
    """The bytes that are hashed and signed."""
    return message.SerializeToString(deterministic=True)


def terms_digest(body: bytes) -> bytes:
    """What names a deployment: of its terms' serialized body."""
    return digests.digest(TERMS, body)


def model_digest(model: bytes) -> bytes:
    """A deployed model's fingerprint: of the serialized model with its salt, which hides the parameters."""
    return digests.digest(MODEL, model)


def order_digest(body: bytes) -> bytes:
    """What an answer and its receipt are about: of the serialized order."""
    return digests.digest(ORDER, body)


def receipts_of(provenance: Provenance | None) -> list[Receipt]:
    """Of the rounds, or the only one; none for a model from elsewhere."""
    if provenance is None:
        return []
    return [*provenance.rounds, *([provenance.receipt] if provenance.HasField("receipt") else [])]


def jobs_of(provenance: Provenance | None) -> list[str]:
    """The jobs that released what the parameters follow from, as the receipts name them; raises Problem (MALFORMED)."""
    try:
        bodies = (ReceiptBody.FromString(each.body) for each in receipts_of(provenance))
        return list(dict.fromkeys(body.manifest.job for body in bodies))
    except DecodeError as error:
        said = "The deployment's provenance holds no receipt."
        raise Problem(Kind.MALFORMED, "deployment", said, field="provenance") from error


def sealed_model_info(model: bytes, developer_key: bytes) -> bytes:
    """What a sealed model is bound to: its digest, and whose it is. It opens under terms of nobody else."""
    return digests.digest(MODEL, b"sealed", model, developer_key)


def input_info(terms: bytes) -> bytes:
    """What sealed rows are bound to: the digest of the deployment's terms."""
    return digests.digest(INPUT, b"sealed", terms)


def reply_info(order: bytes) -> bytes:
    """What a sealed answer is bound to: the digest of its order."""
    return digests.digest(REPLY, b"sealed", order)


def padded(data: bytes) -> bytes:
    """`data` after its length, with zeros up to a power of two of bytes, LEAST_BYTES at least."""
    size = _LENGTH.size + len(data)
    return (_LENGTH.pack(len(data)) + data).ljust(max(LEAST_BYTES, 1 << (size - 1).bit_length()), b"\0")


def unpadded(data: bytes) -> bytes:
    """What `padded` was given; raises ValueError for what it never makes."""
    if len(data) < _LENGTH.size or data != padded(data[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(data)[0]]):
        raise ValueError("not padded as it should be")
    return data[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(data)[0]]


def width_of(form: ModelForm) -> int:
    """How many numbers the answer has for a row."""
    return len(form.classes) if form.kind == MODEL_KIND_MULTINOMIAL else 1


def most_rows(form: ModelForm) -> int:
    """How many rows one order may have."""
    return min(MAX_ROWS, MAX_NUMBERS // max(len(form.columns), width_of(form), 1))


def check_form(form: ModelForm) -> None:
    """Raise Problem (MALFORMED "deployment") for a form that no model has."""
    _require(form.kind in _KINDS, "form.kind", "is none of linear, logistic, poisson, multinomial")
    _require(1 <= len(form.columns) <= MAX_COLUMNS, "form.columns", f"must be 1 to {MAX_COLUMNS}")
    names = [column.name for column in form.columns]
    _require(len(set(names)) == len(names) and all(names), "form.columns", "must have different names")
    for column in form.columns:
        numbers = (column.centre, column.half_range, column.lower, column.upper)
        ranged = all(map(math.isfinite, numbers)) and column.half_range > 0 and column.lower <= column.upper
        _require(ranged, "form.columns", f"must have a range each; {column.name!r} has none")
    classes = list(form.classes)
    if form.kind == MODEL_KIND_MULTINOMIAL:
        right = 2 <= len(classes) == len(set(classes)) <= MAX_CLASSES
        _require(right, "form.classes", f"must be 2 to {MAX_CLASSES} different ones")
    else:
        _require(not classes, "form.classes", "are for multinomial models")


def check_model(model: DeployedModel, form: ModelForm) -> None:
    """Raise Problem unless the model has this form, and a finite parameter wherever the form asks for one."""
    _require(canonical(model.form) == canonical(form), "model", "has another form than its terms say")
    _require(len(model.salt) == SALT_BYTES, "model", f"must have a salt of {SALT_BYTES} bytes")
    _require(len(model.predictors) == width_of(form), "model", f"must have {width_of(form)} predictors")
    for each in model.predictors:
        _require(len(each.coefficients) == len(form.columns), "model", "must have a coefficient for each column")
        _require(all(map(math.isfinite, [each.intercept, *each.coefficients])), "model", "must be of finite numbers")


def check_terms(terms: DeploymentTerms) -> None:
    """Raise Problem (MALFORMED "deployment") for terms that cannot be kept, with the field."""
    said = f"must match [a-z][a-z0-9_-]* and have at most 63 characters; got {terms.deployment[:80]!r}"
    _require(_NAME.fullmatch(terms.deployment) is not None, "name", said)
    check_form(terms.form)
    keys = (terms.model_digest, terms.node_key, terms.developer_key)
    _require(all(len(key) == 32 for key in keys), "terms", "has digests and keys of 32 bytes")
    organisations = list(terms.organisations)
    few = 1 <= len(organisations) == len(set(organisations)) <= MAX_ORGANISATIONS and all(organisations)
    _require(few, "callers", f"must be 1 to {MAX_ORGANISATIONS} different organisations")
    _require(1 <= terms.rows_per_day <= MAX_LIMIT, "limit", "must be a number of rows a day, 1 or more")
    total = terms.rows_total if terms.HasField("rows_total") else 1
    _require(1 <= total <= MAX_LIMIT, "total", "must be a number of rows, 1 or more")
    _require(terms.decimals <= MAX_DECIMALS, "decimals", f"must be 0 to {MAX_DECIMALS}")
    _require(terms.price_micros <= MAX_LIMIT, "price", "is too high")
    jobs = list(terms.jobs)
    named = len(set(jobs)) == len(jobs) <= MAX_JOBS and all(map(_JOB.fullmatch, jobs))
    _require(named, "jobs", f"must be at most {MAX_JOBS} different ids of jobs")


def check_provenance(provenance: Provenance) -> None:
    """Raise Problem (MALFORMED "deployment") for receipts that are more, or longer, than a training has."""
    _require(len(receipts_of(provenance)) <= MAX_JOBS, "provenance", f"must be at most {MAX_JOBS} receipts")
    _require(provenance.ByteSize() <= MAX_PROVENANCE, "provenance", f"must be at most {MAX_PROVENANCE} bytes")
    _require(len(provenance.salt) == SALT_BYTES, "provenance", f"must have a salt of {SALT_BYTES} bytes")


def numbers_to_bytes(numbers: Sequence[float]) -> bytes:
    """As a design has them, and an answer."""
    return struct.pack(f"<{len(numbers)}d", *numbers)


def numbers_of_bytes(data: bytes) -> list[float]:
    """What `numbers_to_bytes` was given; raises ValueError."""
    if len(data) % 8:
        raise ValueError("no whole numbers")
    return list(struct.unpack(f"<{len(data) // 8}d", data))


def _require(holds: bool, field: str, said: str) -> None:
    if not holds:
        subject = {"name": "A deployment's name", "model": "The model"}.get(field, f"The deployment's {field}")
        raise Problem(Kind.MALFORMED, "deployment", f"{subject} {said}.", field=field)
