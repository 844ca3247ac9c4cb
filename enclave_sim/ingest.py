"""Rows come in: over the node's Unix socket, straight into the enclave, never through the host or a gateway.

A connection carries one framed IngestRequest, then one Arrow IPC stream for each declared table, in the
declaration's order. The enclave answers with one framed IngestReply.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import BinaryIO, cast

import pyarrow as pa
from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.evidence import roster_digest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, ShardRegistration, SignedShardRegistration
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import IngestReply, IngestRequest

from enclave_sim import budget, versions
from enclave_sim.enclave import Enclave
from enclave_sim.frames import FrameError, read_frame, write_frame
from enclave_sim.plan.schema import DeclarationError, check_curious, check_declaration
from enclave_sim.plan.services import check_closed
from enclave_sim.plan.verification import check_issuers, check_verification
from enclave_sim.privacy.accounting import Charge
from enclave_sim.sealed.shard import seal_shard

# The end of an Arrow IPC stream (Arrow columnar format, "IPC Streaming Format"). A reader takes silence for it too.
END_OF_TABLE = b"\xff\xff\xff\xff\0\0\0\0"


INGEST_ID_BYTES = 16
# Rows come one connection at a time; one that stays silent so long gives way to the next.
SILENCE_SECONDS = 120.0


def serve_connection(enclave: Enclave, connection: socket.socket) -> None:
    """Seal the shard that one connection brings, and answer; closes the connection."""
    connection.settimeout(SILENCE_SECONDS)
    with connection, connection.makefile("rwb") as stream:
        try:
            _check_peer(connection)
            reply = IngestReply(shard=_ingest(enclave, cast(BinaryIO, stream)))
        except Problem as problem:
            reply = IngestReply(failure=_failure(problem))
        write_frame(cast(BinaryIO, stream), reply.SerializeToString())


def _ingest(enclave: Enclave, stream: BinaryIO) -> SignedShardRegistration:
    try:
        request = IngestRequest.FromString(read_frame(stream) or b"")
        declaration = DatasetDeclaration.FromString(request.declaration)
        check_declaration(declaration)
        check_curious(declaration, len(enclave.epoch.holders))
        check_verification(declaration)
        check_closed(declaration)
        check_issuers(declaration, enclave.policy.developers)
        _check_ingest_id(request.ingest_id)
        limit = budget.check_limit(enclave.journal.records, declaration)
        tables = {table.name: _read_table(stream) for table in declaration.tables}
    except (FrameError, DecodeError, pa.ArrowException, OSError, EOFError) as error:
        raise Problem(Kind.MALFORMED, "ingest", f"The stream of rows is broken: {error}.") from error
    except DeclarationError as error:
        raise Problem(Kind.MALFORMED, "ingest", str(error)) from error
    folder = enclave.shards / declaration.dataset
    folder.mkdir(parents=True, exist_ok=True)
    sealed = seal_shard(folder, request.declaration, tables, enclave.keys.made(declaration.dataset))
    _record_budget(enclave, declaration, limit)
    versions.note(enclave.journal, declaration.dataset, sealed.commitment)
    body = ShardRegistration(
        node=enclave.node,
        dataset=declaration.dataset,
        declaration_digest=digests.digest(digests.DECLARATION, request.declaration),
        commitment=sealed.commitment,
        ingest_id=request.ingest_id,
        roster=roster_digest(enclave.epoch),
    ).SerializeToString(deterministic=True)
    return SignedShardRegistration(body=body, signature=enclave.identity.sign(digests.SHARD, body))


class _TableStream:
    """The connection while one table is read from it: remembers the last bytes that were read."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.tail = (self.tail + data)[-len(END_OF_TABLE) :]
        return data


def _read_table(stream: BinaryIO) -> pa.Table:
    """The next table; raises FrameError where the connection ends before it, though between two batches."""
    watched = _TableStream(stream)
    table = pa.ipc.open_stream(watched).read_all()
    if watched.tail != END_OF_TABLE:
        raise FrameError("the connection ended within a table")
    return table


def _check_ingest_id(ingest_id: bytes) -> None:
    if len(ingest_id) != INGEST_ID_BYTES:
        raise Problem(Kind.MALFORMED, "ingest", f"An ingest id has {INGEST_ID_BYTES} bytes.")


def _record_budget(enclave: Enclave, declaration: DatasetDeclaration, limit: Charge) -> None:
    if not budget.is_recorded(enclave.journal.records, declaration, limit):
        enclave.journal.append(
            {
                "kind": "budget",
                "dataset": declaration.dataset,
                "unit_namespace": declaration.unit_namespace,
                "limit": limit.rho_units,
                "delta0_limit": limit.delta0_units,
            }
        )


def _check_peer(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    if user not in (0, os.getuid()):
        raise Problem(Kind.NOT_ALLOWED, "not_owner", "Only the node's own user may bring rows.")


def _failure(problem: Problem) -> Failure:
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")
