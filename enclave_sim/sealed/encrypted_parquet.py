"""One table as one Parquet file under Parquet modular encryption: uniform, AES-256-GCM, encrypted footer.

Every page, page header and the footer is a GCM ciphertext whose additional data names its place in the
file and, by the prefix, the file's place in the shard: pages cannot be moved within or between files.
A key encrypts one file only.

Rows are laid out to be read fast, and so that the time this takes does not tell what they are: numbers are not
compressed beyond Parquet's own dictionaries and run lengths; NULL among float64, which have no NaN, is NaN; of a
dictionary encoded text column the file has the indices, and its schema's metadata the dictionary. Row groups end
where a unit does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

KEY_BYTES = 32
ROW_GROUP_ROWS = 1 << 20
_DICTIONARY = "dictionary of "


def write_encrypted(table: pa.Table, path: Path, key: bytes, aad_prefix: bytes) -> None:
    """Write `table`, sorted by its first column, to `path` under the 32-byte `key`; raises OSError.

    The first column has no NULL, float64 ones no NaN, and the indices of dictionary encoded texts no NULL.
    """
    rows = _laid_out(table)
    compression = {field.name: "zstd" if field.type == pa.string() else "none" for field in rows.schema}
    properties = pe.create_encryption_properties(key, aad_prefix=aad_prefix, store_aad_prefix=False)
    with pq.ParquetWriter(
        path,
        rows.schema,
        compression=compression,
        write_statistics=False,
        data_page_version="2.0",
        encryption_properties=properties,
    ) as writer:
        for start, stop in _row_groups(rows.column(0)):
            writer.write_table(rows.slice(start, stop - start), row_group_size=max(stop - start, 1))


def read_encrypted(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> pa.Table:
    """The named columns, in that order; no other is decrypted.

    Raises OSError or pa.ArrowException where the file does not decrypt or is no such file, and LookupError
    where it has no such column.
    """
    with _opened(path, columns, key, aad_prefix) as file:
        rows = file.read(columns=list(columns)).select(list(columns))
        return _as_declared(_with_dictionaries(rows, _dictionaries(file.schema_arrow, columns)))


def stream_encrypted(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> Iterator[pa.RecordBatch]:
    """The same, decrypted as it is asked for, each batch with rows from one row group; the first has none.

    As they are laid out: NULL among float64 is NaN, and some texts are dictionary encoded, NULL by an index of its
    own. Raises what `read_encrypted` does, all but LookupError at any batch.
    """
    with _opened(path, columns, key, aad_prefix) as file:
        schema = file.schema_arrow
        dictionaries = _dictionaries(schema, columns)
        empty = pa.schema([schema.field(name) for name in columns]).empty_table()
        yield _one_batch(_with_dictionaries(empty, dictionaries))
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=list(columns), use_threads=False).select(list(columns))
            if len(rows):
                yield _one_batch(_with_dictionaries(rows, dictionaries))


@contextmanager
def _opened(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> Iterator[pq.ParquetFile]:
    properties = pe.create_decryption_properties(key, aad_prefix=aad_prefix)
    with pq.ParquetFile(path, decryption_properties=properties, pre_buffer=False) as file:
        missing = set(columns).difference(file.schema_arrow.names)
        if missing:
            raise LookupError(f"no column {sorted(missing)}")
        yield file


def _laid_out(table: pa.Table) -> pa.Table:
    """The table as it is in the file."""
    fields, columns, metadata = [], [], {}
    for place, (field, values) in enumerate(zip(table.schema, table.columns, strict=True)):
        column = values
        if pa.types.is_dictionary(field.type):
            whole = values.combine_chunks()
            column, metadata[_DICTIONARY + field.name] = whole.indices, _to_bytes(whole.dictionary)
        elif pa.types.is_floating(field.type):
            column = pc.fill_null(values, float("nan"))
        required = place == 0 or column is not values
        fields.append(pa.field(field.name, column.type, nullable=not required))
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields, metadata=metadata))


def _dictionaries(schema: pa.Schema, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Of those columns that are stored as indices: what they are indices of."""
    metadata = schema.metadata or {}
    found = {name: metadata.get((_DICTIONARY + name).encode()) for name in columns}
    return {name: _from_bytes(dictionary) for name, dictionary in found.items() if dictionary is not None}


def _with_dictionaries(rows: pa.Table, dictionaries: Mapping[str, pa.Array]) -> pa.Table:
    columns = {}
    for name in rows.column_names:
        column = rows[name]
        if name in dictionaries:
            column = _coded(column, dictionaries[name])
        columns[name] = column
    return pa.table(columns)


def _coded(indices: pa.ChunkedArray, dictionary: pa.Array) -> pa.ChunkedArray:
    # Not looked through for indices that are out of range: the file is authentic, and was written from such an array.
    chunks = [pa.DictionaryArray.from_arrays(chunk, dictionary, safe=False) for chunk in indices.chunks]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))


def _as_declared(table: pa.Table) -> pa.Table:
    """With NULL for NaN, and texts as they are."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        columns[name] = column
    return pa.table(columns)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    # To combine one chunk would copy it.
    columns = [column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _to_bytes(dictionary: pa.Array) -> bytes:
    batch = pa.RecordBatch.from_arrays([dictionary], names=["value"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    # Parquet's metadata is text.
    return base64.b64encode(sink.getvalue())


def _from_bytes(data: bytes) -> pa.Array:
    return pa.ipc.open_stream(base64.b64decode(data)).read_next_batch().column(0)


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
