"""Programs of jobs: sealed to the nodes' enclaves, until the job ended, and in the clear where developers show them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, insert, select
from yingbi.api.v1.job_pb2 import SealedProgram

from gateway.storage.tables import program_sources, programs

# Made once: every job that ends, and every look at one, has them.
_REMOVE = delete(programs).where(programs.c.job == bindparam("wanted"))
_SOURCE = select(program_sources.c.source).where(program_sources.c.job == bindparam("wanted"))


def keep(connection: Connection, job: str, sealed: Iterable[SealedProgram]) -> None:
    """Keep a new job's programs, which the gateway cannot read, until its nodes ask for them."""
    for each in sealed:
        connection.execute(insert(programs).values(job=job, node=each.node, sealed=each.SerializeToString()))


def of_job(connection: Connection, job: str) -> dict[str, SealedProgram]:
    """By node; empty for a job without a program."""
    rows = connection.execute(select(programs).where(programs.c.job == job))
    return {row.node: SealedProgram.FromString(row.sealed) for row in rows}


def remove(connection: Connection, job: str) -> None:
    """Forget a job's sealed programs. What its developer shows stays: it is what was approved."""
    connection.execute(_REMOVE, {"wanted": job})


def show(connection: Connection, job: str, source: bytes) -> None:
    """Keep the source of a job's program for whoever may see the job; nothing where it is empty."""
    if source:
        connection.execute(insert(program_sources).values(job=job, source=source))


def source_of(connection: Connection, job: str) -> bytes:
    """What `show` kept; empty for a job without it."""
    return bytes(connection.execute(_SOURCE, {"wanted": job}).scalar_one_or_none() or b"")
