"""A shard at rest: what is written, what a reader gets, and that no byte of it can change unnoticed."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from yingbi.api.digests import DECLARATION, digest

from enclave_sim.sealed import header as header_module
from enclave_sim.sealed import shard as shard_module
from enclave_sim.sealed.errors import IngestError, SealedFileError
from enclave_sim.sealed.header import HEADER_FILE
from enclave_sim.sealed.schema import UNIT_COLUMN
from enclave_sim.sealed.shard import SealedShard, open_table, read_declaration, read_header, seal_shard

from .clinic import CANARY, KEY, Source

FILES = [HEADER_FILE, "table-0.parquet", "table-1.parquet"]


@pytest.fixture
def sealed(source: Source, tmp_path: Path) -> SealedShard:
    return source.seal(tmp_path / "clinic")


def flip(path: Path, offset: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


def refusal(folder: Path, table: str = "visits", key: bytes = KEY) -> SealedFileError:
    with pytest.raises(SealedFileError) as caught:
        open_table(folder, table, [UNIT_COLUMN, "n"], key)
    return caught.value


def test_a_table_comes_back_with_the_columns_asked_for_in_that_order(sealed: SealedShard, source: Source) -> None:
    table = open_table(sealed.folder, "visits", ["at", UNIT_COLUMN, "n"], KEY)
    assert table.schema.names == ["at", UNIT_COLUMN, "n"]
    assert table.schema.types == [pa.timestamp("us"), pa.int64(), pa.int64()]
    raw = source.tables["visits"]
    expected = sorted(zip(raw["n"].to_pylist(), raw["at"].to_pylist(), strict=True))
    assert sorted(zip(table["n"].to_pylist(), table["at"].to_pylist(), strict=True)) == expected


def test_every_declared_type_survives(sealed: SealedShard, source: Source) -> None:
    names = ["well", "n", "x", "ward", "day", "at"]
    table = open_table(sealed.folder, "visits", names, KEY)
    assert table.schema.types == source.tables["visits"].select(names).schema.types


def test_no_column_at_all_still_has_the_rows(sealed: SealedShard) -> None:
    assert open_table(sealed.folder, "visits", [UNIT_COLUMN], KEY).num_rows == 300


def test_an_empty_shard_can_be_sealed_and_opened(source: Source, tmp_path: Path) -> None:
    for name, table in source.tables.items():
        source.tables[name] = table.schema.empty_table()
    shard = source.seal(tmp_path)
    table = open_table(shard.folder, "visits", [UNIT_COLUMN, "ward"], KEY)
    assert (table.num_rows, table.schema.types) == (0, [pa.int64(), pa.string()])


def test_the_shard_does_not_have_the_identifiers_or_another_column(sealed: SealedShard) -> None:
    for column in ("id", "ID", "nothing"):
        with pytest.raises(LookupError):
            open_table(sealed.folder, "visits", [column], KEY)
    with pytest.raises(LookupError):
        open_table(sealed.folder, "nothing", [UNIT_COLUMN], KEY)


def test_the_header_says_what_was_sealed(sealed: SealedShard, source: Source) -> None:
    header = read_header(sealed.folder, KEY)
    assert header.declaration == source.declaration_bytes == read_declaration(sealed.folder, KEY)
    assert header.declaration_digest == sealed.declaration_digest
    assert sealed.declaration_digest == digest(DECLARATION, source.declaration_bytes)
    assert header.commitment == sealed.commitment
    assert sealed.folder.name == sealed.commitment.hex()
    assert list(header.tables) == ["patients", "visits"]


def test_two_seals_of_the_same_rows_have_nothing_in_common(source: Source, sealed: SealedShard, tmp_path: Path) -> None:
    other = source.seal(tmp_path / "clinic")
    assert other.commitment != sealed.commitment
    one, two = read_header(sealed.folder, KEY), read_header(other.folder, KEY)
    assert one.salt != two.salt
    keys = [table.data_key for header in (one, two) for table in header.tables.values()]
    assert len(set(keys)) == 4


def test_nothing_of_the_rows_or_the_keys_can_be_read_on_disk(sealed: SealedShard) -> None:
    assert sorted(path.name for path in sealed.folder.iterdir()) == sorted(FILES)
    for path in sealed.folder.iterdir():
        data = path.read_bytes()
        assert CANARY.encode() not in data
        assert KEY not in data
        assert KEY.hex().encode() not in data
    for name in FILES[1:]:
        data = (sealed.folder / name).read_bytes()
        assert data[:4] == data[-4:] == b"PARE"
        assert b"ward" not in data
        with pytest.raises(OSError, match="encrypt"):
            pq.read_table(sealed.folder / name)


def test_only_its_owner_may_list_the_folder(sealed: SealedShard) -> None:
    assert sealed.folder.stat().st_mode & 0o777 == 0o700
    assert sealed.folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", [HEADER_FILE, "table-1.parquet"])
def test_one_flipped_bit_anywhere_is_found_and_the_file_named(sealed: SealedShard, name: str) -> None:
    path = sealed.folder / name
    original = path.read_bytes()
    generator = random.Random(20261101)
    offsets = {0, len(original) - 1, *(generator.randrange(len(original)) for _ in range(60))}
    for offset in offsets:
        flip(path, offset, 1 << generator.randrange(8))
        assert refusal(sealed.folder).file == name
        path.write_bytes(original)
    open_table(sealed.folder, "visits", [UNIT_COLUMN], KEY)


def test_case_and_space_in_the_header_count_too(sealed: SealedShard) -> None:
    path = sealed.folder / HEADER_FILE
    original = path.read_bytes()
    for changed in (original.upper(), original + b"\n", original[:-1], b" " + original, b"", b"{}"):
        path.write_bytes(changed)
        assert refusal(sealed.folder).file == HEADER_FILE


def test_a_shard_of_the_format_before_is_refused_by_its_number(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are laid out otherwise: they would not be read for what they are."""
    with monkeypatch.context() as patch:
        patch.setattr(header_module, "FORMAT", 1)
        older = source.seal(tmp_path)
    with pytest.raises(SealedFileError, match="is of format 1, and this version reads format 2 only") as caught:
        open_table(older.folder, "visits", ["n"], KEY)
    assert "add the dataset again" in str(caught.value.hint)


def test_a_flip_after_the_first_opening_is_found_as_well(sealed: SealedShard) -> None:
    open_table(sealed.folder, "visits", [UNIT_COLUMN, "n"], KEY)
    flip(sealed.folder / "table-1.parquet", 1000)
    error = refusal(sealed.folder)
    assert str(error) == "The sealed file table-1.parquet was changed since it was sealed."


def test_an_untouched_file_is_read_through_once_in_a_process(
    sealed: SealedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_table(sealed.folder, "visits", ["n"], KEY)
    monkeypatch.setattr(shard_module, "_sha256", lambda path: pytest.fail(f"{path} was read through"))
    open_table(sealed.folder, "visits", ["x"], KEY)


def test_decryption_itself_finds_a_flip_that_the_digest_misses(
    sealed: SealedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "_check_file", lambda path, sha256: None)
    path = sealed.folder / "table-1.parquet"
    original = path.read_bytes()
    # Behind the four bytes of magic, which nothing reads.
    for offset in range(4, len(original), len(original) // 20):
        flip(path, offset)
        with pytest.raises(SealedFileError, match=r"table-1\.parquet"):
            open_table(sealed.folder, "visits", [UNIT_COLUMN, "well", "n", "x", "ward", "day", "at"], KEY)
        path.write_bytes(original)


@pytest.mark.parametrize("name", [HEADER_FILE, "table-1.parquet"])
def test_a_missing_or_cut_file_is_named(sealed: SealedShard, name: str) -> None:
    path = sealed.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(sealed.folder).file == name
    path.unlink()
    assert refusal(sealed.folder).file == name


def test_files_and_headers_cannot_be_exchanged(source: Source, sealed: SealedShard, tmp_path: Path) -> None:
    other = source.seal(tmp_path / "clinic")
    shutil.copy(other.folder / "table-1.parquet", sealed.folder / "table-1.parquet")
    assert refusal(sealed.folder).file == "table-1.parquet"
    shutil.copy(other.folder / HEADER_FILE, sealed.folder / HEADER_FILE)
    assert "belongs to another shard" in refusal(sealed.folder).reason


def test_another_wrapping_key_opens_nothing(sealed: SealedShard) -> None:
    assert "another wrapping key" in refusal(sealed.folder, key=bytes(32)).reason
    with pytest.raises(ValueError, match="32 bytes"):
        open_table(sealed.folder, "visits", [UNIT_COLUMN], b"short")


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_what_a_crash_left_behind_is_removed_by_the_next_seal(source: Source, tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from enclave_sim.sealed import shard
from sealed.clinic import clinic
shard.encode_header = lambda header, key: os._exit(9)
clinic().seal(Path(sys.argv[1]))
"""
    here = str(Path(__file__).parents[1])
    crashed = subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=False)
    assert crashed.returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == leftovers(tmp_path) != []
    sealed = source.seal(tmp_path)
    assert list(tmp_path.iterdir()) == [sealed.folder]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1000, 4000])
def test_a_disk_that_takes_no_more_leaves_nothing_and_is_told(source: Source, tmp_path: Path, size: int) -> None:
    with largest_file(size), pytest.raises(IngestError, match="could not be written") as caught:
        source.seal(tmp_path)
    assert caught.value.code == "not_stored"
    assert list(tmp_path.iterdir()) == []


def test_a_sync_that_fails_leaves_nothing(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IngestError, match="No space left on device"):
        source.seal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_refused_leave_no_folder(source: Source, tmp_path: Path) -> None:
    source.declaration.max_units = 1
    with pytest.raises(IngestError):
        source.seal(tmp_path / "clinic")
    assert not (tmp_path / "clinic").exists()


def test_large_tables_come_in_several_row_groups(source: Source, tmp_path: Path) -> None:
    count = 200_000
    source.declaration.tables[1].max_rows_per_unit = count
    visits = source.tables["visits"]
    source.tables["visits"] = visits.take(pa.array([number % 300 for number in range(count)]))
    folder = seal_shard(tmp_path, source.declaration_bytes, source.tables, KEY).folder
    assert open_table(folder, "visits", [UNIT_COLUMN, "n"], KEY).num_rows == count
