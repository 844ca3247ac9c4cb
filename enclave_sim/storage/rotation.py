"""Another zone key and other dataset keys, with no file of rows written anew: only the headers that wrap their keys.

New keys and new headers are written beside the old ones. Then the root's next state is counted (`state.commit`), which
decides; then the new headers take the old ones' names. Killed anywhere, `settle` at the next start goes on or back: a
header that authenticates under its dataset's present key takes its place, any other that waits is dropped.

What was wrapped under the old zone key is of no use from the count on: nothing reads another version than the present.
The keys of the files stay, so whoever once had one reads that file still; add the dataset again against that.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from enclave_sim.attestation.backend import Backend
from enclave_sim.durable import sync
from enclave_sim.sealed.errors import SealedFileError
from enclave_sim.sealed.header import (
    HEADER_FILE,
    ShardHeader,
    decode_header,
    encode_header,
    read_header,
    unwrap_data_key,
    wrap_data_key,
)
from enclave_sim.storage.dataset_keys import FOLDER, DatasetKeys
from enclave_sim.storage.state import KEYS, Root, RootError, commit

SHARDS = "shards"
NEXT_HEADER = f"{HEADER_FILE}.next"


def rotate(folder: Path, backend: Backend, root: Root) -> Root:
    """Renew all keys that wrap others in an enclave's folder; nothing else of the enclave runs meanwhile.

    Raises SealedFileError, nothing then being changed, where something at rest does not verify.
    """
    old, following = DatasetKeys.under(root, folder), replace(root, key_version=root.key_version + 1)
    settle(folder, root)
    new = DatasetKeys.under(following, folder)
    for dataset in old.names():
        _rewrap(folder / SHARDS / dataset, old.of(dataset), new.made(dataset))
    commit(folder, backend, following, KEYS)
    settle(folder, following)
    return following


def settle(folder: Path, root: Root) -> None:
    """Complete a renewal that was killed after it was counted, or drop what one left that was not."""
    keys = DatasetKeys.under(root, folder)
    for waiting in (folder / SHARDS).glob(f"*/*/{NEXT_HEADER}"):
        if _is_current(waiting, keys):
            waiting.rename(waiting.with_name(HEADER_FILE))
        else:
            waiting.unlink()
        sync(waiting.parent)
    for other in (folder / FOLDER).glob("*"):
        if other != keys.folder:
            shutil.rmtree(other)


def _is_current(waiting: Path, keys: DatasetKeys) -> bool:
    try:
        decode_header(waiting.read_bytes(), keys.of(waiting.parent.parent.name))
    except SealedFileError:
        return False
    return True


def _rewrap(shards: Path, old: bytes, new: bytes) -> None:
    for shard in _shards(shards):
        path = shard / NEXT_HEADER
        path.write_bytes(encode_header(_rewrapped(read_header(shard, old), old, new), new))
        sync(path)
        sync(shard)


def _shards(folder: Path) -> Iterator[Path]:
    """The sealed shards of a dataset; what a crash left of one that was being sealed begins with a dot."""
    return (path for path in sorted(folder.glob("*")) if not path.name.startswith("."))


def _rewrapped(header: ShardHeader, old: bytes, new: bytes) -> ShardHeader:
    tables = {
        name: replace(table, data_key=wrap_data_key(new, unwrap_data_key(old, table)))
        for name, table in header.tables.items()
    }
    return replace(header, tables=tables)


def found_version(folder: Path, root: Root) -> Root:
    """The root with the latest version under which everything at rest opens: for a root whose state was lost.

    Raises RootError where there are keys and none of their versions opens all.
    """
    versions = sorted(int(path.name) for path in (folder / FOLDER).glob("*") if path.name.isdecimal())
    for version in reversed(versions):
        tried = replace(root, key_version=version)
        if _opens_all(folder, tried):
            return tried
    if versions:
        raise RootError("the datasets in this node's folder do not open under this root; put back their latest copy")
    return root


def _opens_all(folder: Path, root: Root) -> bool:
    """Also what has no key in this version counts: a renewal that was killed may have come to some datasets only."""
    keys = DatasetKeys.under(root, folder)
    at_rest = {path.parent.name for path in (folder / SHARDS).glob("*/*") if not path.name.startswith(".")}
    try:
        opened = {dataset: keys.of(dataset) for dataset in {*keys.names(), *at_rest}}
    except SealedFileError:
        return False
    headers = [
        (shard / HEADER_FILE, shard / NEXT_HEADER) for name in opened for shard in _shards(folder / SHARDS / name)
    ]
    return all(any(path.exists() and _is_current(path, keys) for path in pair) for pair in headers)
