"""One table as one Parquet file under Parquet modular encryption: uniform, AES-256-GCM, encrypted footer.

Every page, page header and the footer is a GCM ciphertext whose additional data names its place in the
file and, by the prefix, the file's place in the shard: pages cannot be moved within or between files.
A key encrypts one file only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

KEY_BYTES = 32
ROW_GROUP_ROWS = 1 << 17


def write_encrypted(table: pa.Table, path: Path, key: bytes, aad_prefix: bytes) -> None:
    """Write `table` to `path` under the 32-byte `key`; raises OSError."""
    pq.write_table(
        table,
        path,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        write_statistics=False,
        encryption_properties=pe.create_encryption_properties(key, aad_prefix=aad_prefix, store_aad_prefix=False),
    )


def read_encrypted(path: Path, columns: Sequence[str], key: bytes, aad_prefix: bytes) -> pa.Table:
    """The named columns, in that order; no other is decrypted.

    Raises OSError or pa.ArrowException where the file does not decrypt or is no such file, and LookupError
    where it has no such column.
    """
    properties = pe.create_decryption_properties(key, aad_prefix=aad_prefix)
    with pq.ParquetFile(path, decryption_properties=properties) as file:
        missing = set(columns).difference(file.schema_arrow.names)
        if missing:
            raise LookupError(f"no column {sorted(missing)}")
        return file.read(columns=list(columns)).select(list(columns))
