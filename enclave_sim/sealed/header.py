"""The header of a sealed shard: what its files are, under which keys, and the commitment to all of it.

The file `header` is one line of canonical JSON (sorted keys, no spaces, ASCII) and one line with its
HMAC-SHA256 in hexadecimal, both ended by a newline:

    {"declaration": base64, "format": 2, "salt": hex,
     "tables": [{"data_key": hex, "file": name, "name": name, "sha256": hex}, ...]}

`declaration` is the serialized DatasetDeclaration; `tables` are in its order. `data_key` is the table's
32-byte data key wrapped by AES-KW (RFC 3394, which also authenticates). The keys for wrapping and for the
HMAC come by HKDF-SHA256 (RFC 5869) from the wrapping key, so neither is used for two things.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from yingbi.api.digests import DECLARATION, digest

from enclave_sim.sealed.errors import SealedFileError

HEADER_FILE = "header"
FORMAT = 2
"""Of the header and of the files that it names; how these are laid out is said in `encrypted_parquet`.

Since 2 texts are no longer than is declared (`preparation`).
"""
SALT_BYTES = 32
WRAPPING_KEY_BYTES = 32
_MAC_HEX = 64
_SHARD_COMMITMENT = "shard-commitment"
_SHARD_FILE = "shard-file"


@dataclass(frozen=True)
class SealedTable:
    """One encrypted file: its name in the shard's folder, wrapped data key, and SHA-256 of its bytes."""

    file: str
    data_key: bytes
    sha256: bytes


@dataclass(frozen=True)
class ShardHeader:
    """What a shard consists of. `tables` by name, in declared order; `salt` is 32 random bytes."""

    declaration: bytes
    salt: bytes
    tables: Mapping[str, SealedTable]

    @property
    def declaration_digest(self) -> bytes:
        """32 bytes, as in ShardRegistration."""
        return digest(DECLARATION, self.declaration)

    @property
    def commitment(self) -> bytes:
        """32 bytes that bind the declaration and every byte of every file.

        Binding: SHA-256 over unambiguous parts, and each file authenticates under the key it was written
        with. Hiding: it is over ciphertexts under fresh random keys, and over a random salt that stays in
        the header; who sees it, with any guess of the rows, learns nothing.
        """
        files = [table.sha256 for table in self.tables.values()]
        return digest(_SHARD_COMMITMENT, self.salt, self.declaration_digest, *files)


def aad_prefix(salt: bytes, declaration_digest: bytes, table: str) -> bytes:
    """What ties an encrypted file to its shard and table; 32 bytes."""
    return digest(_SHARD_FILE, salt, declaration_digest, table.encode())


def wrap_data_key(wrapping_key: bytes, data_key: bytes) -> bytes:
    """`data_key` (32 bytes) as 40 bytes that only a holder of `wrapping_key` can open."""
    return aes_key_wrap(_derive(wrapping_key, b"shard-key-wrap"), data_key)


def unwrap_data_key(wrapping_key: bytes, table: SealedTable) -> bytes:
    """The data key of `table`; raises SealedFileError."""
    try:
        return aes_key_unwrap(_derive(wrapping_key, b"shard-key-wrap"), table.data_key)
    except InvalidUnwrap:
        raise SealedFileError(table.file, "is under another wrapping key") from None


def encode_header(header: ShardHeader, wrapping_key: bytes) -> bytes:
    """The bytes of the header file."""
    tables = [
        {"name": name, "file": table.file, "data_key": table.data_key.hex(), "sha256": table.sha256.hex()}
        for name, table in header.tables.items()
    ]
    document = {
        "format": FORMAT,
        "declaration": base64.b64encode(header.declaration).decode(),
        "salt": header.salt.hex(),
        "tables": tables,
    }
    line = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return line + _mac(line, wrapping_key)


def decode_header(data: bytes, wrapping_key: bytes) -> ShardHeader:
    """The header in the bytes of its file; raises SealedFileError unless `wrapping_key` made them, all."""
    line, mac = data[: -_MAC_HEX - 1], data[-_MAC_HEX - 1 :]
    if not hmac.compare_digest(mac, _mac(line, wrapping_key)):
        raise SealedFileError(HEADER_FILE, "was changed, or is under another wrapping key")
    document = json.loads(line)
    if document["format"] != FORMAT:
        reason = f"is of format {document['format']}, and this version reads format {FORMAT} only"
        raise SealedFileError(HEADER_FILE, reason)
    return ShardHeader(
        declaration=base64.b64decode(document["declaration"]),
        salt=bytes.fromhex(document["salt"]),
        tables={
            table["name"]: SealedTable(table["file"], bytes.fromhex(table["data_key"]), bytes.fromhex(table["sha256"]))
            for table in document["tables"]
        },
    )


def read_header(shard_folder: Path, wrapping_key: bytes) -> ShardHeader:
    """The header of the shard in `shard_folder`, which has its commitment as name; raises SealedFileError."""
    try:
        data = (shard_folder / HEADER_FILE).read_bytes()
    except OSError as error:
        raise SealedFileError(HEADER_FILE, f"cannot be read: {error.strerror}") from error
    header = decode_header(data, wrapping_key)
    if shard_folder.name != header.commitment.hex():
        raise SealedFileError(HEADER_FILE, "belongs to another shard than its folder's name says")
    return header


def _mac(line: bytes, wrapping_key: bytes) -> bytes:
    return hmac.new(_derive(wrapping_key, b"shard-header-mac"), line, "sha256").hexdigest().encode() + b"\n"


def _derive(wrapping_key: bytes, purpose: bytes) -> bytes:
    if len(wrapping_key) != WRAPPING_KEY_BYTES:
        raise ValueError(f"the wrapping key has {WRAPPING_KEY_BYTES} bytes, not {len(wrapping_key)}")
    return HKDF(SHA256(), 32, salt=None, info=b"yingbi/v1/" + purpose).derive(wrapping_key)
