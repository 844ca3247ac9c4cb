"""Keys at rest are renewed with no file of rows written anew; killed anywhere, everything opens."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from enclave_sim import upkeep
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.journal import JournalError
from enclave_sim.sealed.errors import SealedFileError
from enclave_sim.sealed.header import read_header
from enclave_sim.sealed.shard import open_table
from enclave_sim.storage.dataset_keys import DatasetKeys
from enclave_sim.storage.rotation import found_version, settle
from enclave_sim.storage.state import open_root
from tests.attacks.three_enclaves import NODES, Trio, visits_declaration, visits_of
from tests.kills import kill_everywhere

SQL = "SELECT COUNT(*) FROM visits"


def rotate(folder: Path, ca_pem: bytes) -> int:
    backend = SimulatedBackend.load(folder / "platform")
    return int(upkeep.rotate(folder, ca_pem, backend, [])[0])


def at_rest(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(pattern))}


def rows(enclave: Enclave, dataset: str = "visits") -> int:
    """All that a dataset's shards have, each of whose bytes is checked and decrypted."""
    key = enclave.keys.of(dataset)
    shards = [path for path in (enclave.shards / dataset).iterdir() if not path.name.startswith(".")]
    return sum(len(open_table(shard, "visits", ["age"], key)) for shard in shards)


def test_the_same_rows_under_other_keys(trio: Trio) -> None:
    trio.add(visits_declaration("more"), [visits_of(node) for node in range(3)])
    trio.close()
    folder = trio.folder / NODES[0]
    files, headers, keys = (at_rest(folder, pattern) for pattern in ("*.parquet", "header", "keys/*/*"))
    modified = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert (len(headers), len(keys)) == (2, 2)
    assert rotate(folder, trio.ca_pem) == 2
    assert at_rest(folder, "*.parquet") == files
    assert {path: path.stat().st_mtime_ns for path in modified} == modified
    assert all(content != headers[name] for name, content in at_rest(folder, "header").items())
    assert sorted(at_rest(folder, "keys/*/*")) == ["keys/2/more", "keys/2/visits"]
    assert not at_rest(folder, "header.next")
    trio.load()
    # Registrations, budgets and the share of the key are as they were: the zone answers.
    assert trio.run("job-1", trio.task(trio.plan(SQL)))
    trio.add(visits_declaration("later"), [visits_of(node) for node in range(3)])
    assert rows(trio.enclaves[0], "later") == rows(trio.enclaves[0]) == 60


def test_killed_at_any_change_the_node_opens_all(trio: Trio, tmp_path: Path) -> None:
    trio.close()
    versions = []

    def prepare(number: int) -> partial[int]:
        copied = shutil.copytree(trio.folder / NODES[0], tmp_path / str(number))
        return partial(rotate, Path(copied), trio.ca_pem)

    def check(number: int) -> None:
        folder = tmp_path / str(number)
        root = open_root(folder, SimulatedBackend.load(folder / "platform"), trio.ca_pem)
        enclave = load_enclave(folder, trio.ca_pem)
        enclave.journal.close()
        assert rows(enclave) == 60
        assert sorted(path.name for path in (folder / "keys").iterdir()) == [str(root.key_version)]
        versions.append(root.key_version)
        # And it can be done again.
        if number % 4 == 0:
            assert rotate(folder, trio.ca_pem) == root.key_version + 1

    assert kill_everywhere(prepare, check) >= 8
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}


def test_killed_and_then_without_its_platform_a_restored_root_opens_all(trio: Trio, tmp_path: Path) -> None:
    """No counter says any more how far it came: a version that some datasets only have yet is not taken."""
    trio.add(visits_declaration("more"), [visits_of(node) for node in range(3)])
    trio.close()
    root = open_root(trio.folder / NODES[0], SimulatedBackend.load(trio.folder / NODES[0] / "platform"), trio.ca_pem)
    versions = set()

    def prepare(number: int) -> partial[int]:
        return partial(rotate, Path(shutil.copytree(trio.folder / NODES[0], tmp_path / str(number))), trio.ca_pem)

    def check(number: int) -> None:
        folder = tmp_path / str(number)
        found = found_version(folder, root)
        # As the restored enclave does when it starts, which drops what other versions have.
        settle(folder, found)
        keys = DatasetKeys.under(found, folder)
        for dataset in ("more", "visits"):
            (shard,) = (folder / "shards" / dataset).iterdir()
            read_header(shard, keys.of(dataset))
        versions.add(found.key_version)

    assert kill_everywhere(prepare, check) >= 12
    assert versions == {1, 2}


def test_what_was_under_the_old_keys_opens_nothing(trio: Trio) -> None:
    """A header put back, with its key or without, and the key of a dataset under the old zone key."""
    trio.close()
    folder = trio.folder / NODES[0]
    old = at_rest(folder, "header") | at_rest(folder, "keys/*/*")
    rotate(folder, trio.ca_pem)
    now = at_rest(folder, "header") | at_rest(folder, "keys/*/*")
    (header,) = (name for name in old if name.endswith("header"))
    for name, content in ((header, old[header]), ("keys/2/visits", old["keys/1/visits"])):
        (folder / name).write_bytes(content)
        enclave = load_enclave(folder, trio.ca_pem)
        enclave.journal.close()
        with pytest.raises(SealedFileError, match=r"another wrapping key|of another version"):
            rows(enclave)
        (folder / name).write_bytes(now[name])
    assert rows(enclave) == 60


def test_nothing_is_renewed_where_something_does_not_verify(trio: Trio) -> None:
    trio.close()
    folder = trio.folder / NODES[0]
    header = next(folder.rglob("header"))
    content = header.read_bytes()
    header.write_bytes(content.replace(b'"format":2', b'"format":3'))
    with pytest.raises(SealedFileError):
        rotate(folder, trio.ca_pem)
    header.write_bytes(content)
    enclave = load_enclave(folder, trio.ca_pem)
    enclave.journal.close()
    assert rows(enclave) == 60
    assert enclave.keys.folder.name == "1"


def test_an_enclave_that_runs_keeps_its_keys(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enclave_sim.journal.LOCK_SECONDS", 0.0)
    with pytest.raises(JournalError, match="in use"):
        rotate(trio.folder / NODES[0], trio.ca_pem)
    assert rows(trio.enclaves[0]) == 60
