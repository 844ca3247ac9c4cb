"""The keys of a node's datasets: random, each wrapped in a file under the zone key of one version.

`keys/VERSION/DATASET` in the enclave's folder is one line of canonical JSON, `{"format":1,"wrapped":hex}`: 32 bytes
wrapped by AES-KW (RFC 3394, which also authenticates). What wraps them comes by HKDF-SHA256 from the zone key and the
dataset's name, so that a host that gives one dataset another's key is refused.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from enclave_sim.durable import sync
from enclave_sim.sealed.errors import SealedFileError
from enclave_sim.sealed.header import WRAPPING_KEY_BYTES
from enclave_sim.storage.state import Root

FORMAT = 1
FOLDER = "keys"


@dataclass(frozen=True)
class DatasetKeys:
    """The dataset keys of one version of the zone key."""

    folder: Path
    zone_key: bytes = field(repr=False)

    @classmethod
    def under(cls, root: Root, enclave: Path) -> DatasetKeys:
        """Those of the root's present version, in the enclave's folder."""
        return cls(enclave / FOLDER / str(root.key_version), root.zone_key())

    def names(self) -> list[str]:
        """The datasets that have a key."""
        return sorted(path.name for path in self.folder.glob("*") if path.suffix != ".part")

    def of(self, dataset: str) -> bytes:
        """The dataset's key; raises SealedFileError where there is none, or it is another's or another version's."""
        path = self.folder / dataset
        try:
            document = json.loads(path.read_bytes())
            return aes_key_unwrap(self._wrapping(dataset), bytes.fromhex(document["wrapped"]))
        except OSError as error:
            raise SealedFileError(_shown(dataset), f"cannot be read: {error.strerror}") from error
        except (InvalidUnwrap, ValueError, LookupError, TypeError) as error:
            raise SealedFileError(_shown(dataset), "is another dataset's, or of another version") from error

    def made(self, dataset: str) -> bytes:
        """The dataset's key, drawn now if it has none. For one thread."""
        path = self.folder / dataset
        if path.exists():
            return self.of(dataset)
        key = secrets.token_bytes(WRAPPING_KEY_BYTES)
        document = {"format": FORMAT, "wrapped": aes_key_wrap(self._wrapping(dataset), key).hex()}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n")
        sync(part)
        part.rename(path)
        sync(self.folder)
        sync(self.folder.parent)
        return key

    def _wrapping(self, dataset: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"yingbi/v1/dataset-key\0" + dataset.encode()).derive(self.zone_key)


def _shown(dataset: str) -> str:
    return f"key of {dataset}"
