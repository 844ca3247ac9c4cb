"""Rules for what a plan says of a synthesis: post-processing of opened cells; no privacy depends on it."""

from __future__ import annotations

import math

from yingbi.api.v1.plan_pb2 import Plan, SynthesisColumn, SynthesisTable

from enclave_sim.plan.errors import require
from enclave_sim.plan.values import is_valid, type_of

MAX_COLUMNS = 20
MAX_TEXT = 100_000


def check_synthesis(plan: Plan) -> None:
    """Refuse a synthesis that names statistics which are not there, or whose shapes are not those of its columns.

    Args:
        plan: its statistics and outputs are checked.

    Raises:
        PlanError: with the path of the part at fault.
    """
    synthesis = plan.synthesis
    require(not plan.group_by and not plan.HasField("fit"), "synthesis", "goes without groups and without a model")
    text_length = len(synthesis.columns_text)
    require(1 <= text_length <= MAX_TEXT, "synthesis.columns_text", f"must have 1 to {MAX_TEXT:,} characters")
    count = len(synthesis.columns)
    require(2 <= count <= MAX_COLUMNS, "synthesis.columns", f"there must be 2 to {MAX_COLUMNS}")
    for index, column in enumerate(synthesis.columns):
        _check_column(column, f"synthesis.columns[{index}]")
    names = {column.name for column in synthesis.columns}
    require(len(names) == count, "synthesis.columns", "two have one name")
    for index, table in enumerate(synthesis.tables):
        _check_table(plan, table, f"synthesis.tables[{index}]")
    used = [table.statistic for table in synthesis.tables]
    require(len(set(used)) == len(used), "synthesis.tables", "have one statistic twice")
    fitted = {column for table in synthesis.tables if not table.held_out for column in table.columns}
    require(len(fitted) == count, "synthesis.tables", "leave a column out")


def column_name(place: int) -> str:
    """What the relation calls the index of a row's level of a column."""
    return f"c{place}"


def levels_of(column: SynthesisColumn) -> int:
    """How many levels a column has, NULL among them."""
    return (len(column.values) or column.bins) + column.nullable


def _check_column(column: SynthesisColumn, path: str) -> None:
    require(1 <= len(column.name) <= MAX_TEXT, f"{path}.name", f"must have 1 to {MAX_TEXT:,} characters")
    require(all(map(is_valid, column.values)), f"{path}.values", "must be finite values")
    kinds = {type_of(value) for value in column.values}
    require(kinds <= {column.type}, f"{path}.values", "are not of the column's type")
    require(bool(column.values) != bool(column.bins), path, "must have either values or bins")
    ends = (column.lower, column.upper, column.width)
    require(all(map(math.isfinite, ends)), path, "must have finite numbers")
    if column.bins:
        require(column.lower < column.upper, f"{path}.lower", "must be below upper")
        require(column.width > 0, f"{path}.width", "must be above 0")


def _check_table(plan: Plan, table: SynthesisTable, path: str) -> None:
    columns = plan.synthesis.columns
    require(list(table.columns) == sorted(set(table.columns)), f"{path}.columns", "must ascend")
    known = len(table.columns) > 0 and all(index < len(columns) for index in table.columns)
    require(known, f"{path}.columns", "have what is no index of columns")
    sound = len(table.merged) == len(table.columns) and all(each >= 1 for each in table.merged)
    require(sound, f"{path}.merged", "must be one for each column, above 0")
    require(table.statistic < len(plan.statistics), f"{path}.statistic", "is no index of statistics")
    statistic = plan.statistics[table.statistic]
    require(statistic.HasField("range_counts"), f"{path}.statistic", "is no count of ranges")
    tree = statistic.range_counts
    cells = math.prod(
        -(-levels_of(columns[index]) // merged) for index, merged in zip(table.columns, table.merged, strict=True)
    )
    require((tree.levels, tree.branching) == (1, cells), f"{path}.statistic", "has not a cell for each combination")
