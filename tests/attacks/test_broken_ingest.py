"""Rows that come wrong, in part, or from a stranger: the enclave seals all of a shard or nothing."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.node_pb2 import IngestReply

from enclave_sim.enclave import Enclave
from enclave_sim.ingest import serve_connection
from enclave_sim.node import listen_for_rows
from tests.attacks.three_enclaves import Trio, bring, ingest_stream, visits_declaration, visits_of, visits_table

CANARY = "canary-51f0"
DECLARATION = visits_declaration("wards")


@pytest.fixture(scope="module")
def shared(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    copied = trio_template.copy(tmp_path_factory.mktemp("ingest"))
    yield copied
    copied.close()


def _left(enclave: Enclave, dataset: str = "wards") -> list[str]:
    folder = enclave.shards / dataset
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _nothing_happened(enclave: Enclave) -> bool:
    return not _left(enclave) and not any(record.get("dataset") == "wards" for record in enclave.journal.records)


def _failure(reply: IngestReply | None) -> str:
    assert reply is not None
    assert reply.WhichOneof("kind") == "failure"
    return reply.failure.code


def _without_unit() -> pa.Table:
    return visits_table(person=[1, None], clinic=["north"] * 2, pain=[1.0] * 2, age=[1] * 2, night=[True] * 2)


WRONG: dict[str, tuple[DatasetDeclaration, Sequence[pa.Table], str]] = {
    "a row without a unit": (DECLARATION, [_without_unit()], "null_unit"),
    "a column too few": (DECLARATION, [visits_of(0).drop_columns(["age"])], "wrong_schema"),
    "a column too many": (DECLARATION, [visits_of(0).append_column("x", pa.array(range(60)))], "wrong_schema"),
    "columns in another order": (
        DECLARATION,
        [visits_of(0).select(["clinic", "person", "pain", "age", "night"])],
        "wrong_schema",
    ),
    "another type": (
        DECLARATION,
        [visits_of(0).set_column(2, "pain", pa.array([CANARY] * 60))],
        "wrong_schema",
    ),
    "too many units": (DECLARATION, [visits_of(0, people=61)], "too_many_units"),
    "no table": (DECLARATION, [], "ingest"),
    "no declaration": (DatasetDeclaration(), [visits_of(0)], "ingest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_kept(shared: Trio, name: str) -> None:
    """No shard, no budget, and a reason that quotes no value."""
    declaration, tables, code = WRONG[name]
    reply = bring(shared.enclaves[0], declaration, tables)
    assert _failure(reply) == code
    assert reply is not None
    assert CANARY not in str(reply)
    assert _nothing_happened(shared.enclaves[0])


def _cuts() -> list[int]:
    length = len(ingest_stream(DECLARATION, [visits_of(0)]))
    drawn = random.Random(1).sample(range(length), 25)
    return sorted({0, 1, 7, 8, length // 2, length - 9, length - 8, length - 4, length - 1, *drawn})


@pytest.mark.parametrize("position", _cuts())
def test_a_connection_that_is_cut_leaves_no_shard(shared: Trio, position: int) -> None:
    """Wherever it is cut: a part of the rows is never taken for all of them."""
    reply = bring(shared.enclaves[0], DECLARATION, [visits_of(0)], change=_cut(position))
    assert _failure(reply) == "ingest"
    assert _nothing_happened(shared.enclaves[0])


def test_a_connection_that_is_cut_between_batches_leaves_no_shard(shared: Trio) -> None:
    """The end of a table is said, not inferred from silence."""
    whole = visits_of(0)
    batches = pa.Table.from_batches([whole.slice(0, 30).to_batches()[0], whole.slice(30).to_batches()[0]])
    first = len(ingest_stream(DECLARATION, [whole.slice(0, 30)])) - 8
    reply = bring(shared.enclaves[0], DECLARATION, [batches], change=_cut(first))
    assert _failure(reply) == "ingest"
    assert _nothing_happened(shared.enclaves[0])


def _cut(position: int) -> Callable[[bytes], bytes]:
    return lambda stream: stream[:position]


def _flip(position: int) -> Callable[[bytes], bytes]:
    return lambda stream: stream[:position] + bytes([stream[position] ^ 0xFF]) + stream[position + 1 :]


def test_garbage_in_the_stream_ends_no_enclave(shared: Trio) -> None:
    """Whatever bytes come: a shard or a refusal, and the next connection is served."""
    enclave = shared.enclaves[1]
    length = len(ingest_stream(DECLARATION, [visits_of(0)]))
    for position in random.Random(2).sample(range(length), 25):
        bring(enclave, DECLARATION, [visits_of(1)], change=_flip(position))
    bring(enclave, DECLARATION, [visits_of(1)], change=lambda _: os.urandom(2000))
    reply = bring(enclave, DECLARATION, [visits_of(1)])
    assert reply is not None
    assert reply.HasField("shard")


def test_after_broken_connections_the_dataset_is_added_and_answers(trio: Trio) -> None:
    """A failure costs nothing."""
    stream = ingest_stream(DECLARATION, [visits_of(0)])
    for position in (3, 300, len(stream) - 20):
        bring(trio.enclaves[0], DECLARATION, [visits_of(0)], change=_cut(position))
    trio.add(DECLARATION, [visits_of(node) for node in range(3)])
    assert [len(_left(enclave)) for enclave in trio.enclaves] == [1, 1, 1]
    trio.run("job-1", trio.task(trio.plan(dataset="wards")))


STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(sys.argv[1])
except PermissionError:
    print("no entry"); sys.exit()
try:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
except OSError:
    pass
sys.stdout.buffer.write(connection.recv(1 << 16))
"""


def _as_stranger(path: Path, data: bytes) -> bytes:
    command = [sys.executable, "-c", STRANGER, str(path)]
    return subprocess.run(command, input=data, capture_output=True, timeout=30, check=True, cwd="/").stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter."""
    folder = Path(tempfile.mkdtemp(prefix="yingbi-ingest-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_brings_no_rows(trio: Trio, open_folder: Path) -> None:
    """By the socket's mode; and where somebody opens that, by asking the kernel who is there."""
    enclave = trio.enclaves[0]
    listener = listen_for_rows(open_folder)
    serving = threading.Thread(target=_serve_one, args=(enclave, listener))
    serving.start()
    data = ingest_stream(DECLARATION, [visits_of(0)])
    path = open_folder / "ingest.sock"
    assert _as_stranger(path, data) == b"no entry\n"
    path.chmod(0o666)
    reply = _as_stranger(path, data)
    serving.join(60)
    assert _failure(IngestReply.FromString(reply[8:])) == "not_owner"
    assert _nothing_happened(enclave)


def _serve_one(enclave: Enclave, listener: socket.socket) -> None:
    with listener:
        connection, _ = listener.accept()
        serve_connection(enclave, connection)
