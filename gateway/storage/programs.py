"""Programs of jobs, sealed to the nodes' enclaves: what the gateway keeps of them it cannot read."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select
from yingbi.api.v1.job_pb2 import SealedProgram

from gateway.storage.tables import programs


def keep(connection: Connection, job: str, sealed: Iterable[SealedProgram]) -> None:
    """Keep a new job's programs until its nodes ask for them."""
    for each in sealed:
        connection.execute(insert(programs).values(job=job, node=each.node, sealed=each.SerializeToString()))


def of_job(connection: Connection, job: str) -> dict[str, SealedProgram]:
    """By node; empty for a job without a program."""
    rows = connection.execute(select(programs).where(programs.c.job == job))
    return {row.node: SealedProgram.FromString(row.sealed) for row in rows}
