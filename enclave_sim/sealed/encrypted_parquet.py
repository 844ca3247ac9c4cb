"""One table as one Parquet file under Parquet modular encryption: uniform, AES-256-GCM, encrypted footer.

Every page, page header and the footer is a GCM ciphertext whose additional data names its place in the
file and, by the prefix, the file's place in the shard: pages cannot be moved within or between files.
A key encrypts one file only.

Rows are laid out to be read fast, and so that the time this takes does not tell what they are: numbers are not
compressed beyond Parquet's own dictionaries and run lengths; units are int32; NULL among float64, which have no NaN,
is NaN; of a dictionary encoded text column the file has the indices, unsigned and little-endian, in as many bytes as
they need, and its schema's metadata the dictionary. Row groups end where a unit does.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from enclave_sim.sealed.schema import UNIT_COLUMN

KEY_BYTES = 32
ROW_GROUP_ROWS = 1 << 19
_DICTIONARY = "dictionary of "
_NARROW: Sequence[pa.DataType] = (pa.uint8(), pa.uint16())
"""Types of indices that Parquet has none of, and that are stored as so many bytes; wider ones are int32."""


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
        use_dictionary=[field.name for field in rows.schema if not pa.types.is_fixed_size_binary(field.type)],
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
    rows = EncryptedRows(path, columns, key, aad_prefix)
    batches = [rows.read(group) for group in range(len(rows))]
    return _as_declared(pa.Table.from_batches(batches, rows.schema))


class EncryptedRows:
    """The named columns of a file, in that order, by row groups, which several threads may read at once.

    As they are laid out: units are int32, NULL among float64 is NaN, and some texts are dictionary encoded, NULL by
    an index of its own. No unit is in two row groups. All raise what `read_encrypted` does, LookupError only the
    constructor.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> None:
        self._path, self._columns, self._key, self._aad_prefix = path, list(columns), key, aad_prefix
        self._of_thread = threading.local()
        file = self._file()
        stored = file.schema_arrow
        missing = set(columns).difference(stored.names)
        if missing:
            raise LookupError(f"no column {sorted(missing)}")
        self._groups: int = file.num_row_groups
        self._dictionaries = _dictionaries(stored, columns)
        fields = [stored.field(name) for name in columns]
        self.schema = pa.schema([_coded_field(each, self._dictionaries.get(each.name)) for each in fields])

    def __len__(self) -> int:
        return self._groups

    def read(self, group: int) -> pa.RecordBatch:
        """The rows of one row group, decrypted now; no other column is."""
        rows = self._file().read_row_group(group, columns=self._columns, use_threads=False)
        columns = []
        for name in self._columns:
            chunks = rows[name]
            # To combine one chunk would copy it.
            column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
            dictionary = self._dictionaries.get(name)
            columns.append(column if dictionary is None else _coded(column, dictionary))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _file(self) -> pq.ParquetFile:
        """This thread's own, as a file's decryption has a state."""
        if not hasattr(self._of_thread, "file"):
            properties = pe.create_decryption_properties(self._key, aad_prefix=self._aad_prefix)
            self._of_thread.file = pq.ParquetFile(self._path, decryption_properties=properties, pre_buffer=False)
        file: pq.ParquetFile = self._of_thread.file
        return file


def _laid_out(table: pa.Table) -> pa.Table:
    """The table as it is in the file."""
    fields, columns, metadata = [], [], {}
    for place, (field, values) in enumerate(zip(table.schema, table.columns, strict=True)):
        column = values
        if pa.types.is_dictionary(field.type):
            whole = values.combine_chunks()
            column, metadata[_DICTIONARY + field.name] = _indices(whole), _to_bytes(whole.dictionary)
        elif place == 0:
            column = values.cast(pa.int32())
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


def _index_type(dictionary: pa.Array) -> pa.DataType:
    """Of indices of a dictionary that is this long."""
    fitting = (each for each in _NARROW if len(dictionary) <= 1 << each.bit_width)
    return next(fitting, pa.int32())


def _indices(texts: pa.DictionaryArray) -> pa.Array:
    kind, rows = _index_type(texts.dictionary), len(texts)
    indices = texts.indices.cast(kind)
    if kind not in _NARROW:
        return indices
    # Without an offset, which buffers do not know of.
    together = pa.concat_arrays([indices])
    return pa.Array.from_buffers(pa.binary(kind.bit_width // 8), rows, [None, together.buffers()[1]])


def _coded(stored: pa.Array, dictionary: pa.Array) -> pa.DictionaryArray:
    kind = _index_type(dictionary)
    if kind in _NARROW:
        stored = pa.Array.from_buffers(kind, len(stored), [None, stored.buffers()[1]], offset=stored.offset)
    # Not looked through for indices that are out of range: the file is authentic, and was written from such an array.
    return pa.DictionaryArray.from_arrays(stored, dictionary, safe=False)


def _coded_field(stored: pa.Field, dictionary: pa.Array | None) -> pa.Field:
    if dictionary is None:
        return stored
    return pa.field(stored.name, pa.dictionary(_index_type(dictionary), pa.string()), nullable=stored.nullable)


def _as_declared(table: pa.Table) -> pa.Table:
    """With NULL for NaN, units as int64, and texts as they are."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if name == UNIT_COLUMN:
            column = column.cast(pa.int64())
        elif pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        columns[name] = column
    return pa.table(columns)


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
