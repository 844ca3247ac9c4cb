"""What planning sees of a dataset: everything but the negative list.

A column that planning cannot see it cannot name, expand `*` to, or show to a program; so one place keeps it out of
every kind of request. Enclaves check plans against the whole declaration, by themselves.

Keeps: GRD-08
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.services import forbidden_columns


@dataclass(eq=False)
class UnknownColumn(Problem):
    """A request names a column that is not there."""

    column: str = ""
    """Its name, without its table."""


@contextmanager
def readable(declaration: DatasetDeclaration) -> Iterator[DatasetDeclaration]:
    """The declaration to plan a request with.

    Raises:
        Problem: REFUSED "forbidden_column", at its place, in place of UNKNOWN "unknown_column" where the request
            names a column of the negative list.
    """
    forbidden = {name.rpartition(".")[2].lower() for name in forbidden_columns(declaration)}
    try:
        yield _without_forbidden(declaration) if forbidden else declaration
    except UnknownColumn as problem:
        if problem.column.lower() not in forbidden:
            raise
        question = problem.details.get("question")
        raise Problem(
            Kind.REFUSED,
            "forbidden_column",
            (f"Question {question}: " if question else "")
            + f"{problem.column} is on the negative list of {declaration.dataset}: no request may read it.",
            field=problem.field,
            position=problem.position,
            hint=f"Leave it out; `yingbi dataset show {declaration.dataset}` tells what may be read.",
            details=problem.details,
        ) from problem


def _without_forbidden(declaration: DatasetDeclaration) -> DatasetDeclaration:
    seen = DatasetDeclaration.FromString(declaration.SerializeToString())
    for table in seen.tables:
        kept = [column for column in table.columns if not column.forbidden]
        del table.columns[:]
        table.columns.extend(kept)
    return seen
