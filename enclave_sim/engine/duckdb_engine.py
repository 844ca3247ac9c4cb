"""The engine that runs: Arrow maps rows to groups, DuckDB filters and adds up, numpy clips.

DuckDB gets integers to add, never floats, so its sums do not depend on their order. Its connection lives
in memory for one plan, sees one Arrow table, and can neither open a file, spill to disk, load an extension
nor change its own configuration.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa
from yingbi.api.v1.plan_pb2 import BoundedSum, Plan, Statistic

from enclave_sim.engine.predicates import Statement
from enclave_sim.engine.protocol import Cancelled, EngineError, OpenTable, never
from enclave_sim.engine.scan import Scan, scan
from enclave_sim.engine.totals import Touched, cells


class DuckDBEngine:
    """An `Engine`. `memory_limit` is DuckDB's own, beside the columns that Arrow holds."""

    def __init__(self, memory_limit: str = "2GB") -> None:
        self._memory_limit = memory_limit

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`. `cancelled` is asked between stages."""
        _stop_if(cancelled)
        scanned = scan(plan, open_table)
        _stop_if(cancelled)
        touched = self._aggregate(plan, scanned)
        vector: list[int] = []
        for position in range(len(plan.statistics)):
            _stop_if(cancelled)
            vector += cells(plan, position, touched)
        return vector

    def _aggregate(self, plan: Plan, scanned: Scan) -> Touched:
        sql, statement = _query(plan, scanned)
        try:
            with duckdb.connect(":memory:", config=self._configuration()) as connection:
                connection.register("rows", scanned.rows)
                result = connection.sql(sql, params=statement.parameters).to_arrow_table()
        except duckdb.Error as error:
            # Not its message, nor the error as a cause: either may quote a value.
            raise EngineError(f"DuckDB could not run the plan: {type(error).__name__}") from None
        return _touched(result)

    def _configuration(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "memory_limit": self._memory_limit,
            "threads": "1",
            "lock_configuration": "true",
        }


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled


def _query(plan: Plan, scanned: Scan) -> tuple[str, Statement]:
    """The one statement: the groups that each unit touches, and what it has there."""
    statement = Statement(scanned.names)
    columns = ", ".join(_column(name, scanned.rows.schema.field(name).type) for name in scanned.names.values())
    measures = "".join(
        f", {_measure(statement, statistic, plan.fraction_bits)} AS m{position}"
        for position, statistic in enumerate(plan.statistics)
    )
    condition = statement.condition(plan.filter) if plan.HasField("filter") else "true"
    # Only our own words, positional names and parameters.
    sql = f"""
        WITH scan AS (SELECT unit, grp{", " + columns if columns else ""} FROM rows)
        SELECT unit, grp, count(*) AS n{measures}
        FROM scan
        WHERE grp IS NOT NULL AND {condition}
        GROUP BY unit, grp
        ORDER BY unit, grp
    """  # noqa: S608
    return sql, statement


def _column(name: str, arrow_type: pa.DataType) -> str:
    """A column of `scan`, where NaN is NULL."""
    return f"nullif({name}, CAST('NaN' AS DOUBLE)) AS {name}" if arrow_type == pa.float64() else name


def _measure(statement: Statement, statistic: Statistic, fraction_bits: int) -> str:
    match statistic.WhichOneof("kind"):
        case "non_null_count":
            return f"count({statement.column(statistic.non_null_count.column.name)})"
        case "bounded_sum":
            return f"CAST(sum({_steps(statement, statistic.bounded_sum, fraction_bits)}) AS BIGINT)"
        case _:
            return "count(*)"


def _steps(statement: Statement, term: BoundedSum, fraction_bits: int) -> str:
    """A row's term in grid steps: BIGINT within ±2^fraction_bits, 0 for NULL.

    The ratio is finite and within ±1 but for rounding, since half_range covers both bounds from the centre.
    An int64 may be rounded to a double before it is clipped: rounding keeps order and the bounds are
    doubles, so the result is the same as clipping first. In SQL, greatest and least skip NULL, hence CASE.
    """
    x, top = statement.column(term.column.name), float(1 << fraction_bits)
    lower, upper, centre = (statement.double(number) for number in (term.lower, term.upper, term.centre))
    clipped = f"least(greatest(CAST({x} AS DOUBLE), {lower}), {upper})"
    ratio = f"({clipped} - {centre}) / {statement.double(term.half_range)}"
    steps = f"floor({ratio} * {statement.double(top)} + 0.5)"
    within = f"least(greatest({steps}, {statement.double(-top)}), {statement.double(top)})"
    return f"CASE WHEN {x} IS NULL THEN 0 ELSE CAST({within} AS BIGINT) END"


def _touched(result: pa.Table) -> Touched:
    unit, group, rows, *measures = (np.asarray(column, dtype=np.int64) for column in result.columns)
    return Touched(unit, group, rows, measures)
