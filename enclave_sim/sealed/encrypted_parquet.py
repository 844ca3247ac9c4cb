"""One table as one Parquet file under Parquet modular encryption: uniform, AES-256-GCM, encrypted footer.

Every page, page header and the footer is a GCM ciphertext whose additional data names its place in the
file and, by the prefix, the file's place in the shard: pages cannot be moved within or between files.
A key encrypts one file only.

Numbers are not compressed beyond Parquet's dictionaries and run lengths: to unpack them would take longer than
all the rest of reading. Row groups end where a unit does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

KEY_BYTES = 32
ROW_GROUP_ROWS = 1 << 18


def write_encrypted(table: pa.Table, path: Path, key: bytes, aad_prefix: bytes) -> None:
    """Write `table`, sorted by its first column, to `path` under the 32-byte `key`; raises OSError."""
    texts = (pa.string(), pa.binary())
    compression = {field.name: "zstd" if field.type in texts else "none" for field in table.schema}
    properties = pe.create_encryption_properties(key, aad_prefix=aad_prefix, store_aad_prefix=False)
    with pq.ParquetWriter(
        path, table.schema, compression=compression, write_statistics=False, encryption_properties=properties
    ) as writer:
        for start, stop in _row_groups(table.column(0)):
            writer.write_table(table.slice(start, stop - start), row_group_size=max(stop - start, 1))


def read_encrypted(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> pa.Table:
    """The named columns, in that order; no other is decrypted.

    Raises OSError or pa.ArrowException where the file does not decrypt or is no such file, and LookupError
    where it has no such column.
    """
    with _opened(path, columns, key, aad_prefix) as file:
        return _decoded(file.read(columns=list(columns)).select(list(columns)))


def stream_encrypted(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> Iterator[pa.RecordBatch]:
    """The same, decrypted as it is asked for, each batch with rows from one row group; the first has none.

    Texts are dictionary encoded where they were when they were written. Raises what `read_encrypted` does, all but LookupError at any batch.
    """
    with _opened(path, columns, key, aad_prefix) as file:
        yield _no_rows(file, columns)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(columns), use_threads=False).select(list(columns))
            yield from table.to_batches()


@contextmanager
def _opened(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> Iterator[pq.ParquetFile]:
    properties = pe.create_decryption_properties(key, aad_prefix=aad_prefix)
    with pq.ParquetFile(path, decryption_properties=properties) as file:
        missing = set(columns).difference(file.schema_arrow.names)
        if missing:
            raise LookupError(f"no column {sorted(missing)}")
        yield file


def _decoded(table: pa.Table) -> pa.Table:
    """Without dictionaries."""
    fields = [(each.name, getattr(each.type, "value_type", each.type)) for each in table.schema]
    return table.cast(pa.schema(fields))


def _no_rows(file: pq.ParquetFile, columns: Sequence[str]) -> pa.RecordBatch:
    schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _row_groups(units: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """Where row groups start and stop: after about `ROW_GROUP_ROWS` rows, but within no unit."""
    codes = units.to_numpy()
    start = 0
    while start + ROW_GROUP_ROWS < len(codes):
        stop = int(np.searchsorted(codes, codes[start + ROW_GROUP_ROWS]))
        if stop <= start:
            stop = int(np.searchsorted(codes, codes[start], side="right"))
        yield start, stop
        start = stop
    yield start, len(codes)
