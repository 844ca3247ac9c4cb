"""What of a dataset may be verified, and in which form values are compared. Pure.

Two values are equal where their canonical bytes are: of a number its 64 bits, zero having no sign; of a text its UTF-8
bytes, as they are; of a date its day, of a timestamp its microsecond. Nothing is rounded, folded or trimmed.
"""

from __future__ import annotations

import datetime
import math
import re
import struct
from collections.abc import Sequence

from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
)
from yingbi.api.v1.verification_pb2 import VerificationDeclaration, VerificationField
from yingbi.api.verification import MAX_CLAIMS, MAX_SUBJECT_BYTES, MAX_VALUE_BYTES

from enclave_sim.plan import values
from enclave_sim.plan.schema import DeclarationError, is_unit

PATH = "verification"
MAX_PURPOSES = 64
MAX_ISSUERS = 64
MAX_BANDS = 8
MAX_A_DAY = 10**6
MAX_PRICE = 10**12
KEY_BYTES = 32
DENIED_FROM_GRADE = 4
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_WHOLE = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def column_of(declaration: DatasetDeclaration, field: VerificationField) -> ColumnDeclaration:
    """The column that a field of a valid declaration names."""
    table = next(table for table in declaration.tables if table.name == field.table)
    return next(column for column in table.columns if column.name == field.column)


def canonical(value: values.PythonValue) -> bytes:
    """The bytes by which a stored value is compared; a finite number."""
    match value:
        case bool():
            return bytes([value])
        case int():
            return struct.pack(">q", value)
        case float():
            # Minus zero plus zero is zero.
            return struct.pack(">d", value + 0.0)
        case str():
            return value.encode()
        case datetime.datetime():
            return struct.pack(">q", values.from_python(value).timestamp_micros)
        case datetime.date():
            return struct.pack(">q", values.from_python(value).date_days)


def canonical_claim(text: str, column: ColumnDeclaration) -> bytes:
    """The bytes by which a claimed value of a column is compared; raises ValueError where it is none of its type.

    Texts: `-12`; `1.5` or `3e-2`; `true` or `false`; `2024-02-29`; `2024-02-29 08:30:00`; a string as it is.
    """
    if len(text.encode()) > MAX_VALUE_BYTES:
        raise ValueError(f"a claimed value has at most {MAX_VALUE_BYTES} bytes")
    return canonical(_typed(text, column.type))


def canonical_subject(text: str, column: ColumnDeclaration) -> bytes:
    """The bytes by which a subject's identifier is compared; raises ValueError where it is none of the unit's type."""
    if not 1 <= len(text.encode()) <= MAX_SUBJECT_BYTES:
        raise ValueError(f"an identifier has 1 to {MAX_SUBJECT_BYTES} bytes")
    return canonical(_typed(text, column.type))


def _typed(text: str, kind: int) -> values.PythonValue:
    if kind == COLUMN_TYPE_STRING:
        return text
    if kind == COLUMN_TYPE_INT64 and _WHOLE.fullmatch(text) and values.MIN_INT64 <= int(text) <= values.MAX_INT64:
        return int(text)
    if kind == COLUMN_TYPE_FLOAT64 and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if kind == COLUMN_TYPE_BOOL and text in ("true", "false"):
        return text == "true"
    if kind == COLUMN_TYPE_DATE:
        return values.to_python(values.parse_date(text))
    if kind == COLUMN_TYPE_TIMESTAMP:
        return values.to_python(values.parse_timestamp(text))
    raise ValueError(f"the text is no {values.type_name(kind)}")


def check_verification(declaration: DatasetDeclaration) -> None:
    """Refuse what a dataset may not offer to verify; nothing where it offers nothing. Raises DeclarationError.

    `declaration` is otherwise valid: `check_declaration` accepts it.
    """
    if not declaration.HasField("verification"):
        return
    offered = declaration.verification
    _require(declaration.grade < DENIED_FROM_GRADE, "", f"data of grade {declaration.grade} cannot be verified")
    _require(
        not declaration.agreements_required,
        "",
        "a dataset that requires agreements cannot be verified yet: who may ask is what its issuers sign",
    )
    _check_fields(declaration, offered.fields)
    _check_words(offered)
    _check_issuers(offered)
    _check_bands(offered)
    for name, limit in (
        ("each_subject_a_day", offered.each_subject_a_day),
        ("each_developer_a_day", offered.each_developer_a_day),
    ):
        _require(1 <= limit <= MAX_A_DAY, f".limits.{name}", f"must be from 1 to {MAX_A_DAY:,}, not {limit:,}")
    _require(offered.price <= MAX_PRICE, ".price", f"must be at most {MAX_PRICE:,}")


def check_issuers(declaration: DatasetDeclaration, developers: frozenset[bytes]) -> None:
    """Refuse an issuer whose key a developer has: who asks must not consent too. Raises DeclarationError."""
    for issuer in declaration.verification.issuers:
        _require(
            issuer.key not in developers,
            f".issuers.{issuer.name}",
            "is the key of a developer of this zone, who cannot consent in place of subjects",
        )


def _check_fields(declaration: DatasetDeclaration, fields: Sequence[VerificationField]) -> None:
    _require(1 <= len(fields) <= MAX_CLAIMS, ".fields", f"there must be 1 to {MAX_CLAIMS} fields")
    seen: set[str] = set()
    for field in fields:
        path = f".fields.{field.table}"
        table = next((table for table in declaration.tables if table.name == field.table), None)
        if table is None:
            raise DeclarationError(PATH + path, f"there is no table {field.table!r}")
        column = next((column for column in table.columns if column.name == field.column), None)
        if column is None:
            raise DeclarationError(PATH + path, f"the table has no column {field.column!r}")
        _require(not is_unit(column), path, f"{field.column} is the privacy unit, which says who the subject is")
        _require(
            column.constant_per_unit or table.max_rows_per_unit == 1,
            path,
            f"{field.column} may have several values a unit; declare it constant_per_unit, or leave it out",
        )
        _require(field.column not in seen, path, f"{field.column} is listed twice")
        seen.add(field.column)


def _check_words(offered: VerificationDeclaration) -> None:
    _require(1 <= len(offered.purposes) <= MAX_PURPOSES, ".purposes", f"there must be 1 to {MAX_PURPOSES} purposes")
    for purpose in offered.purposes:
        _check_word(purpose, ".purposes")
    _require(len(set(offered.purposes)) == len(offered.purposes), ".purposes", "a purpose is listed twice")


def _check_issuers(offered: VerificationDeclaration) -> None:
    _require(1 <= len(offered.issuers) <= MAX_ISSUERS, ".issuers", f"there must be 1 to {MAX_ISSUERS} issuers")
    for issuer in offered.issuers:
        path = f".issuers.{issuer.name}"
        _check_word(issuer.name, ".issuers")
        _require(len(issuer.key) == KEY_BYTES, path, f"an Ed25519 public key has {KEY_BYTES} bytes, 64 digits")
    keys = {issuer.key for issuer in offered.issuers}
    _require(len(keys) == len(offered.issuers), ".issuers", "two issuers have one key")
    names = {issuer.name for issuer in offered.issuers}
    _require(len(names) == len(offered.issuers), ".issuers", "two issuers have one name")


def _check_bands(offered: VerificationDeclaration) -> None:
    if not offered.bands:
        return
    percents = [band.percent for band in offered.bands]
    _require(2 <= len(percents) <= MAX_BANDS, ".bands", f"there must be 2 to {MAX_BANDS} bands, or none")
    for band in offered.bands:
        _check_word(band.name, ".bands")
    _require(len({band.name for band in offered.bands}) == len(percents), ".bands", "two bands have one name")
    falling = percents == sorted(set(percents), reverse=True)
    _require(
        falling and percents[-1] == 0 and percents[0] <= 100,
        ".bands",
        "each begins at a lower percentage than the one before, from at most 100 down to 0",
    )


def _check_word(word: str, path: str) -> None:
    said = f"{word[:60]!r} is no name; it must match [a-z][a-z0-9_-]* and have at most 63 characters"
    _require(_WORD.fullmatch(word) is not None, path, said)


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise DeclarationError(PATH + path, message)
