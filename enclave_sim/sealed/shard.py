"""One provider's part of a dataset at rest: seal it once, open tables of it ever after.

A shard is a folder named by its commitment in hexadecimal: a `header` and one encrypted Parquet file a
table, `table-0.parquet` and on, in declared order. It is written as a whole under a temporary name beside
its place, synced, and renamed; no plaintext touches the disk on the way. A dataset of which something can be verified
has one file more, behind the tables': `verification_index`.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from yingbi.api.digests import DECLARATION, digest
from yingbi.api.problem import Kind
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.durable import sync
from enclave_sim.sealed.encrypted_parquet import KEY_BYTES, EncryptedRows, read_encrypted, write_encrypted
from enclave_sim.sealed.errors import IngestError, SealedFileError
from enclave_sim.sealed.header import (
    HEADER_FILE,
    SALT_BYTES,
    SealedTable,
    ShardHeader,
    aad_prefix,
    encode_header,
    read_header,
    unwrap_data_key,
    wrap_data_key,
)
from enclave_sim.sealed.preparation import prepare
from enclave_sim.sealed.verification_index import TABLE, index_table

__all__ = [
    "IngestError",
    "SealedFileError",
    "SealedShard",
    "open_table",
    "read_declaration",
    "read_header",
    "seal_shard",
    "stream_table",
]

_TEMPORARY = ".sealing-"
_Identity = tuple[int, int, int, int]
_checked: dict[Path, tuple[_Identity, bytes]] = {}
"""Files whose digest this process has verified: by path, what the file was then, and the digest."""


@dataclass(frozen=True)
class SealedShard:
    """A shard on disk: its folder, and the two digests (32 bytes each) that its registration names."""

    folder: Path
    declaration_digest: bytes
    commitment: bytes


def seal_shard(
    folder: Path, declaration_bytes: bytes, tables: Mapping[str, pa.Table], wrapping_key: bytes
) -> SealedShard:
    """Prepare, encrypt and store `tables` in a new folder within `folder`; all of it or nothing.

    `declaration_bytes` is a serialized DatasetDeclaration that `check_declaration` accepts; `tables` has
    exactly its tables in exactly its schema (`schema.arrow_schema`); `wrapping_key` has 32 bytes. One sealer
    at a time works in `folder`: it removes what an earlier one left behind in a crash. Raises IngestError.
    """
    declaration = DatasetDeclaration.FromString(declaration_bytes)
    prepared = prepare(declaration, tables)
    if declaration.HasField("verification"):
        prepared[TABLE] = index_table(declaration, tables)
    try:
        return _store(folder, declaration_bytes, prepared, wrapping_key)
    except OSError as error:
        raise IngestError(
            "not_stored",
            f"The shard could not be written to {folder}: {error.strerror or error}. Nothing of it was kept.",
            kind=Kind.FAILED,
        ) from error


def read_declaration(shard_folder: Path, wrapping_key: bytes) -> bytes:
    """The serialized DatasetDeclaration that the shard was sealed under; raises SealedFileError."""
    return read_header(shard_folder, wrapping_key).declaration


def open_table(shard_folder: Path, table: str, columns: Sequence[str], wrapping_key: bytes) -> pa.Table:
    """The named columns of one table, rows sorted by `schema.UNIT_COLUMN`, which may be named too.

    The header, and every byte of the table's file, columns not asked for included, are checked first; the
    file only when it changed since this process last did. Raises SealedFileError, which names the file, and
    LookupError for a table or column that the shard does not have.
    """
    sealed, key, prefix = _checked_table(shard_folder, table, wrapping_key)
    with _decrypting(sealed):
        return read_encrypted(shard_folder / sealed.file, columns, key, prefix)


class SealedRows:
    """Columns of a sealed table by row groups, each decrypted when it is read; several threads may read at once."""

    def __init__(self, sealed: SealedTable, rows: EncryptedRows) -> None:
        self._sealed, self._rows = sealed, rows
        self.schema: pa.Schema = rows.schema

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, group: int) -> pa.RecordBatch:
        """One row group's rows; raises SealedFileError, for a file that changed since it was opened."""
        with _decrypting(self._sealed):
            return self._rows.read(group)


def stream_table(shard_folder: Path, table: str, columns: Sequence[str], wrapping_key: bytes) -> SealedRows:
    """The same rows as `open_table`, as they are laid out (`EncryptedRows`); they need not fit in memory at once.

    Every check of `open_table` is made before the first row, and decrypting authenticates each page besides.
    """
    sealed, key, prefix = _checked_table(shard_folder, table, wrapping_key)
    with _decrypting(sealed):
        return SealedRows(sealed, EncryptedRows(shard_folder / sealed.file, columns, key, prefix))


def _checked_table(shard_folder: Path, table: str, wrapping_key: bytes) -> tuple[SealedTable, bytes, bytes]:
    """A table's file, checked, its data key, and the prefix of its additional data."""
    header = read_header(shard_folder, wrapping_key)
    sealed = header.tables[table]
    _check_file(shard_folder / sealed.file, sealed.sha256)
    key = unwrap_data_key(wrapping_key, sealed)
    return sealed, key, aad_prefix(header.salt, header.declaration_digest, table)


@contextmanager
def _decrypting(sealed: SealedTable) -> Iterator[None]:
    try:
        yield
    except (MemoryError, LookupError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise SealedFileError(sealed.file, "does not decrypt") from error


def _store(folder: Path, declaration: bytes, tables: Mapping[str, pa.Table], wrapping_key: bytes) -> SealedShard:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder))
    try:
        header = _write_files(temporary, declaration, tables, wrapping_key)
        target = folder / header.commitment.hex()
        temporary.rename(target)
        sync(folder)
    finally:
        # After the rename there is nothing left to remove.
        shutil.rmtree(temporary, ignore_errors=True)
    return SealedShard(target, header.declaration_digest, header.commitment)


def _write_files(folder: Path, declaration: bytes, tables: Mapping[str, pa.Table], wrapping_key: bytes) -> ShardHeader:
    salt = secrets.token_bytes(SALT_BYTES)
    sealed = {}
    for position, (name, table) in enumerate(tables.items()):
        path = folder / f"table-{position}.parquet"
        key = secrets.token_bytes(KEY_BYTES)
        write_encrypted(table, path, key, aad_prefix(salt, digest(DECLARATION, declaration), name))
        sync(path)
        sealed[name] = SealedTable(path.name, wrap_data_key(wrapping_key, key), _sha256(path))
    header = ShardHeader(declaration, salt, sealed)
    path = folder / HEADER_FILE
    path.write_bytes(encode_header(header, wrapping_key))
    sync(path)
    sync(folder)
    return header


def _check_file(path: Path, sha256: bytes) -> None:
    """Raise SealedFileError unless the file has this digest now, or had it and was not touched since."""
    try:
        status = path.stat()
        identity = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if _checked.get(path) == (identity, sha256):
            return
        found = _sha256(path)
    except OSError as error:
        raise SealedFileError(path.name, f"cannot be read: {error.strerror}") from error
    if found != sha256:
        raise SealedFileError(path.name, "was changed since it was sealed")
    _checked[path] = (identity, sha256)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
