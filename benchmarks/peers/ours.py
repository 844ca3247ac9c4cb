"""Yingbi's answer, from the SQL text to the table: what a zone with one provider does, but for keys and network.

Preparing is what sealing a dataset does to its rows, without the file. The rest is planning, the engine of an
enclave, one party's exact noise, and the reading of the opened total by the SDK. Bounds are found privately, so it is
all of that twice: once for how much units add, once for the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
from yingbi.answer import Cell, table_of
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnType, Plan, Value

from benchmarks.peers.scripts.harness import run
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import OpenTable
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.preparation import prepare as prepare_tables
from gateway.planning.query import plan_question
from gateway.planning.stages import FirstStage

MAX_ROWS = 60
"""Declared; most units have far fewer."""
VERSION = bytes(32)
QUERY = "SELECT grp, COUNT(*) AS n, SUM(amount) AS total, AVG(amount) AS mean FROM visits GROUP BY grp"
_NAMES = {"unit": "person", "group": "grp", "value": "amount"}


def prepare(task: SimpleNamespace) -> tuple[DatasetDeclaration, dict[str, pa.Table]]:
    """The rows sorted by a secret unit code, as they are sealed."""
    table = pq.read_table(task.data)
    table = table.rename_columns([_NAMES[name] for name in table.column_names])
    declaration = _declaration(task)
    return declaration, prepare_tables(declaration, {"visits": table})


def answer(
    prepared: tuple[DatasetDeclaration, dict[str, pa.Table]], task: SimpleNamespace
) -> Iterator[tuple[int, float, float, float]]:
    """One release."""
    declaration, tables = prepared

    def open_table(name: str, columns: Sequence[str]) -> pa.Table:
        return tables[name].select(list(columns))

    question = partial(
        plan_question,
        QUERY,
        declaration,
        dataset_version=VERSION,
        parties=1,
        epsilon=task.epsilon,
        delta=task.delta,
        auto_bounds=True,
    )
    found = FirstStage((), tuple(_opened(question().plan, open_table)))
    plan = question(first_stage=found).plan
    opened = _opened(plan, open_table)
    for group, count, total, mean in table_of(plan, opened).rows:
        yield int(_number(group)), _number(count), _number(total), _number(mean)


def _opened(plan: Plan, open_table: OpenTable) -> list[int]:
    exact = DuckDBEngine().contribution(plan, open_table)
    noise = [draw for one in plan.statistics for draw in sample_share(cells_of(plan, one), one.sigma)]
    return [cell + share for cell, share in zip(exact, noise, strict=True)]


def _number(cell: Cell) -> int | float:
    if not isinstance(cell, int | float):
        raise TypeError(f"{cell} is no number")
    return cell


def _declaration(task: SimpleNamespace) -> DatasetDeclaration:
    keys = [Value(int64_value=group) for group in range(task.groups)]
    whole, real = ColumnType.COLUMN_TYPE_INT64, ColumnType.COLUMN_TYPE_FLOAT64
    attribute = ColumnDeclaration.ROLE_ATTRIBUTE
    return DatasetDeclaration(
        dataset="bench",
        zone="bench",
        title={"en": "The benchmark's visits"},
        grade=1,
        source="made up for the benchmark",
        privacy_unit="person",
        unit_namespace="bench",
        max_units=task.units,
        units_disjoint=True,
        budget_epsilon=10.0,
        budget_delta=task.delta,
        tables=[
            TableDeclaration(
                name="visits",
                max_rows_per_unit=MAX_ROWS,
                columns=[
                    ColumnDeclaration(name="person", type=whole, role=ColumnDeclaration.ROLE_UNIT),
                    ColumnDeclaration(name="grp", type=whole, role=attribute, values=keys),
                    ColumnDeclaration(
                        name="amount", type=real, role=attribute, lower=task.lower, upper=task.upper, required=True
                    ),
                ],
            )
        ],
    )


if __name__ == "__main__":
    run(["yingbi"], prepare, answer)
