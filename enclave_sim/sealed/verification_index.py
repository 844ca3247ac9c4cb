"""What a shard has for verification, beside its tables: no value, and no identifier, but keyed hashes of them.

One record a unit: a tag of its identifier, then one of each field's value, each 16 bytes of keyed BLAKE2b (RFC 7693).
A value's tag is over the identifier too, so that equal values of two units differ. A missing value has random bytes in
its place, which equal nothing. Records are in the order of their tags, and filled up with random ones to a multiple of
`BLOCK_RECORDS`. The first record is none: it begins with the key of the hashes, drawn for this shard. So who reads the
file, which is encrypted as every other, can compare; the host, who cannot, has nothing to test a guess with.

`matches` takes as long for a unit that is there as for one that is not: every tag of every record is compared, and the
outcomes are summed, whatever they are.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.verification_pb2 import VerificationField

from enclave_sim.plan.schema import is_unit
from enclave_sim.plan.values import PythonValue
from enclave_sim.plan.verification import canonical, column_of
from enclave_sim.sealed.errors import IngestError
from enclave_sim.sealed.schema import UNIT_COLUMN

TABLE = "_yingbi_verification"
"""Its name in a shard: none that a dataset may declare."""
RECORDS = "records"
TAG_BYTES = 16
KEY_BYTES = 32
BLOCK_RECORDS = 1024
_WORDS = TAG_BYTES // 8


def index_table(declaration: DatasetDeclaration, tables: Mapping[str, pa.Table]) -> pa.Table:
    """The records of a dataset's units, to be sealed, of tables as they were sent; raises IngestError."""
    fields = declaration.verification.fields
    held = [_values(declaration, one, tables) for one in fields]
    key = secrets.token_bytes(KEY_BYTES)
    width = TAG_BYTES * (1 + len(fields))
    records = [_record(key, unit, [values.get(unit) for values in held]) for unit in set().union(*held)]
    fill = -(len(records) + 1) % BLOCK_RECORDS
    # What fills up goes among the others.
    records = sorted([*records, *(secrets.token_bytes(width) for _ in range(fill))])
    rows = [key.ljust(width, b"\0"), *records]
    return pa.table({UNIT_COLUMN: pa.array(range(len(rows)), pa.int64()), RECORDS: pa.array(rows, pa.binary(width))})


def _values(
    declaration: DatasetDeclaration, one: VerificationField, tables: Mapping[str, pa.Table]
) -> dict[bytes, PythonValue | None]:
    """Each unit's value of a field, by the unit's canonical bytes; None where it is missing."""
    declared = next(table for table in declaration.tables if table.name == one.table)
    unit = next(column.name for column in declared.columns if is_unit(column))
    name = column_of(declaration, one).name
    columns = tables[one.table]
    found: dict[bytes, PythonValue | None] = {}
    for who, value in zip(columns[unit].to_pylist(), _present(columns[name]).to_pylist(), strict=True):
        subject = canonical(who)
        if found.setdefault(subject, value) != value:
            raise IngestError(
                "not_constant",
                f"The table {one.table} has a unit with several values of {one.column}, which is to be verified.",
                field=f"tables.{one.table}.columns.{one.column}",
            )
    return found


def _present(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """What can be compared: a number that is none, or is infinite, is missing; days and microseconds are numbers."""
    if pa.types.is_date(values.type):
        return values.cast(pa.int32())
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def _record(key: bytes, subject: bytes, values: Sequence[PythonValue | None]) -> bytes:
    tags = [
        secrets.token_bytes(TAG_BYTES) if value is None else value_tag(key, place, subject, canonical(value))
        for place, value in enumerate(values)
    ]
    return b"".join([subject_tag(key, subject), *tags])


def subject_tag(key: bytes, subject: bytes) -> bytes:
    """Of a subject's canonical bytes."""
    return _tag(key, b"s" + subject)


def value_tag(key: bytes, place: int, subject: bytes, value: bytes) -> bytes:
    """Of the canonical bytes of a value of the field at `place`."""
    about = b"v" + place.to_bytes(4, "big") + len(subject).to_bytes(4, "big") + subject
    return _tag(key, about + value)


def _tag(key: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=key, digest_size=TAG_BYTES).digest()


@dataclass(frozen=True)
class VerificationIndex:
    """The records of a shard, opened."""

    key: bytes = field(repr=False)
    # Records, tags, words.
    _tags: NDArray[np.uint64] = field(repr=False)

    @classmethod
    def of(cls, table: pa.Table) -> VerificationIndex:
        """From what `index_table` made."""
        column = table[RECORDS].combine_chunks()
        width = column.type.byte_width
        data = column.buffers()[1][column.offset * width : (column.offset + len(column)) * width].to_pybytes()
        tags = np.frombuffer(data, np.uint64).reshape(len(column), width // TAG_BYTES, _WORDS)
        return cls(data[:KEY_BYTES], tags[1:])

    def __len__(self) -> int:
        return len(self._tags)

    def matches(self, subject: bytes, claims: Mapping[int, bytes]) -> int:
        """How many of the claims are so: canonical bytes by the field's place. None of an unknown subject's is.

        One hash a field and one of the subject, then one comparison a tag, whatever is claimed and whoever is there.
        """
        fields = self._tags.shape[1] - 1
        wanted = [subject_tag(self.key, subject)]
        wanted += [value_tag(self.key, place, subject, claims.get(place, b"")) for place in range(fields)]
        sought = np.frombuffer(b"".join(wanted), np.uint64).reshape(1, fields + 1, _WORDS)
        claimed = np.array([place in claims for place in range(fields)])
        equal = np.bitwise_and(self._tags[:, :, 0] == sought[:, :, 0], self._tags[:, :, 1] == sought[:, :, 1])
        hits = np.bitwise_and(equal[:, 1:], equal[:, :1])
        return int(np.sum(np.bitwise_and(hits, claimed), dtype=np.int64))
