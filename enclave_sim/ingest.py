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
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, ShardRegistration, SignedShardRegistration
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import IngestReply, IngestRequest

from enclave_sim import budget
from enclave_sim.enclave import Enclave
from enclave_sim.frames import FrameError, read_frame, write_frame
from enclave_sim.plan.schema import DeclarationError, check_declaration
from enclave_sim.sealed.shard import seal_shard


def serve_connection(enclave: Enclave, connection: socket.socket) -> None:
    """Seal the shard that one connection brings, and answer; closes the connection."""
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
        limit = budget.check_limit(enclave.journal.records, declaration)
        tables = {table.name: pa.ipc.open_stream(stream).read_all() for table in declaration.tables}
        folder = enclave.shards / declaration.dataset
        folder.mkdir(parents=True, exist_ok=True)
        sealed = seal_shard(folder, request.declaration, tables, enclave.wrapping_key)
    except (FrameError, pa.ArrowInvalid, EOFError) as error:
        raise Problem(Kind.MALFORMED, "ingest", f"The stream of rows is broken: {error}.") from error
    except DeclarationError as error:
        raise Problem(Kind.MALFORMED, "ingest", str(error)) from error
    _record_budget(enclave, declaration.dataset, limit)
    body = ShardRegistration(
        node=enclave.node,
        dataset=declaration.dataset,
        declaration_digest=digests.digest(digests.DECLARATION, request.declaration),
        commitment=sealed.commitment,
    ).SerializeToString(deterministic=True)
    return SignedShardRegistration(body=body, signature=enclave.identity.sign(digests.SHARD, body))


def _record_budget(enclave: Enclave, dataset: str, limit: int) -> None:
    present = budget.budget_of(enclave.journal.records, dataset)
    if present is None or present.limit.rho_units != limit:
        enclave.journal.append({"kind": "budget", "dataset": dataset, "limit": limit})


def _check_peer(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    if user not in (0, os.getuid()):
        raise Problem(Kind.NOT_ALLOWED, "not_owner", "Only the node's own user may bring rows.")


def _failure(problem: Problem) -> Failure:
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")
