"""`yingbi dataset add`: deal a provider's rows to the zone's nodes, all rows of a unit to one node.

Rows go over each node's Unix socket straight into its enclave; none touches the gateway or a file. The
split by a hash of the unit is this zone in a box's own: in production each provider brings its own data.

Keeps: GRD-02
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.problem import Kind, Problem
from yingbi.api.uninterrupted import uninterrupted
from yingbi.api.v1.dataset_pb2 import (
    Dataset,
    RegisterDatasetRequest,
    SignedShardRegistration,
    TableDeclaration,
)
from yingbi.api.v1.dataset_pb2_grpc import DatasetServiceStub
from yingbi.api.v1.node_pb2 import IngestReply, IngestRequest

from enclave_sim.plan.schema import DeclarationError, check_curious
from gateway.governance.metadata import Metadata, read_metadata
from gateway.zone import client, processes
from gateway.zone.data_checks import absent_units, check_table, too_many_units
from gateway.zone.data_files import arrow_schema, batches, changed
from gateway.zone.folder import ZoneFolder
from gateway.zone.lock import only_one

Written = TypeVar("Written")


def add_dataset(folder: ZoneFolder, metadata_file: Path, say: Callable[[str], None]) -> Dataset:
    """Split, seal and register the dataset that `metadata_file` describes; raises Problem.

    Nothing is registered unless every node has sealed its shard; shards of an attempt that failed are
    never used, and the present version of the dataset stays.
    """
    with only_one(folder, "dataset add"):
        return _add_dataset(folder, metadata_file, say)


def _add_dataset(folder: ZoneFolder, metadata_file: Path, say: Callable[[str], None]) -> Dataset:
    metadata = read_metadata(metadata_file, governed=folder.is_governed)
    if processes.status(folder).gateway is None:
        raise client.not_up(folder)
    try:
        check_curious(metadata.declaration, len(folder.node_names))
    except DeclarationError as error:
        raise Problem(Kind.REFUSED, "metadata", f"{metadata_file.name}: {error}.") from error
    declaration = metadata.declaration.SerializeToString(deterministic=True)
    say("checking")
    for table in metadata.declaration.tables:
        unit, max_units = metadata.declaration.privacy_unit, metadata.declaration.max_units
        for note in check_table(table, metadata.files[table.name], unit, max_units):
            say(note)
    with ExitStack() as stack:
        nodes = [stack.enter_context(_NodeStream.open(folder, name)) for name in folder.node_names]
        ingest_id = secrets.token_bytes(16)
        for node in nodes:
            node.begin(declaration, ingest_id)
        seen: set[bytes] = set()
        for table in metadata.declaration.tables:
            say(f"table {table.name}")
            _send_table(table, metadata, nodes, seen)
        say("sealing")
        shards = [node.finish() for node in nodes]
    say("registering")
    with client.connect(folder, "operator") as channel:
        try:
            request = RegisterDatasetRequest(declaration=declaration, shards=shards)
            return uninterrupted(lambda: DatasetServiceStub(channel).RegisterDataset(request, timeout=60))
        except grpc.RpcError as error:
            raise client.problem_of(error) from error


@dataclass
class _NodeStream:
    """A connection to one node's enclave."""

    name: str
    socket: socket.socket
    stream: BinaryIO
    writer: pa.ipc.RecordBatchStreamWriter | None = None

    @classmethod
    def open(cls, folder: ZoneFolder, name: str) -> _NodeStream:
        # Through the folder's descriptor: a socket's path has at most 107 bytes.
        descriptor = os.open(folder.node(name), os.O_PATH)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/ingest.sock")
        except OSError as error:
            connection.close()
            raise Problem(
                Kind.UNAVAILABLE,
                "node_unavailable",
                f"{name} does not take rows: {error.strerror}.",
                hint=f"yingbi status {folder.root}",
            ) from error
        finally:
            os.close(descriptor)
        return cls(name, connection, cast(BinaryIO, connection.makefile("rwb", buffering=1 << 20)))

    def __enter__(self) -> _NodeStream:
        return self

    def __exit__(self, *_: object) -> None:
        # An unfinished stream ends here, and the enclave drops what it got.
        self.socket.close()

    def begin(self, declaration: bytes, ingest_id: bytes) -> None:
        payload = IngestRequest(declaration=declaration, ingest_id=ingest_id).SerializeToString()
        self._guard(lambda: self.stream.write(len(payload).to_bytes(8, "big") + payload))

    def begin_table(self, schema: pa.Schema) -> None:
        self.writer = self._guard(lambda: pa.ipc.new_stream(self.stream, schema))

    def send(self, batch: pa.RecordBatch) -> None:
        writer = self.writer
        assert writer is not None
        self._guard(lambda: writer.write_batch(batch))

    def end_table(self) -> None:
        writer = self.writer
        assert writer is not None
        self._guard(writer.close)

    def finish(self) -> SignedShardRegistration:
        self._guard(self.stream.flush)
        reply = self._reply()
        if reply is None or reply.WhichOneof("kind") != "shard":
            raise self._refusal(reply)
        return reply.shard

    def _guard(self, write: Callable[[], Written]) -> Written:
        """A write that fails because the enclave refused early is answered with the enclave's reason."""
        try:
            return write()
        except OSError as error:
            raise self._refusal(self._reply()) from error

    def _reply(self) -> IngestReply | None:
        reader = self.socket.makefile("rb")
        try:
            return IngestReply.FromString(reader.read(int.from_bytes(reader.read(8), "big")))
        except OSError:
            return None

    def _refusal(self, reply: IngestReply | None) -> Problem:
        if reply is None or not reply.failure.code:
            return Problem(Kind.UNAVAILABLE, "node_unavailable", f"{self.name} stopped taking rows.")
        failure = reply.failure
        return Problem(Kind.REFUSED, failure.code, f"{self.name}: {failure.message}", hint=failure.hint or None)


def _send_table(table: TableDeclaration, metadata: Metadata, nodes: list[_NodeStream], seen: set[bytes]) -> None:
    schema, path = arrow_schema(table), metadata.files[table.name]
    unit = metadata.declaration.privacy_unit
    for node in nodes:
        node.begin_table(schema)
    for batch in batches(path, table):
        units = batch.column(unit)
        if pc.any(absent_units(units)).as_py():  # The file was checked before.
            raise changed(path, table)
        owners = _owners(units, len(nodes), seen, metadata.declaration.max_units)
        for number, node in enumerate(nodes):
            part = batch.filter(pa.array(owners == number))
            if part.num_rows:
                node.send(part)
    for node in nodes:
        node.end_table()


def _owners(units: pa.Array, parties: int, seen: set[bytes], max_units: int) -> NDArray[np.int64]:
    """Which node each row goes to: SHA-256 of its unit, modulo the nodes. Counts the units on the way."""
    encoded = units.dictionary_encode()
    hashes = [hashlib.sha256(str(unit).encode()).digest() for unit in encoded.dictionary.to_pylist()]
    seen.update(hashes)
    if len(seen) > max_units:
        raise too_many_units(max_units)
    owner = np.array([int.from_bytes(one[:8], "big") % parties for one in hashes], dtype=np.int64)
    return owner[encoded.indices.to_numpy(zero_copy_only=False)] if hashes else np.zeros(0, np.int64)
