"""Rules for a plan that runs a program on blocks of units, in place of SQL: sample and aggregate.

What is trusted of the program: nothing. Its outputs are clipped to what the plan declares, so the sensitivity
(`sensitivity.delta2_squared`) does not depend on what it does; that every block is computed from its own units alone
is the engine's (`engine.programs`) and the sandbox's matter.
"""

from __future__ import annotations

import math

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import BlockOutput, Clipping, Plan, Program, Statistic

from enclave_sim.plan.errors import require
from enclave_sim.plan.schema import MAX_TABLES
from enclave_sim.plan.statistics import check_tree

MAX_BLOCKS = 10_000
MAX_PROGRAM_OUTPUTS = 256
MIN_BLOCK_MILLIS, MAX_BLOCK_MILLIS = 10, 600_000
MAX_TOTAL_MILLIS = 6 * 3600 * 1000
"""Of all blocks of a provider, which run one after another."""

MAX_PROGRAM_BYTES = 2**18
HASH_BYTES = 32

NO_CLIPPING = Clipping(max_rows=1, max_groups=1)
"""Of a plan with a program, which clips outputs and no rows."""


def check_program(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Refuse a program with parts of a query beside it, of columns that are not there, or with numbers out of range.

    Args:
        plan: one with a program; its noise parties are in range.
        declaration: one that `schema.check_declaration` accepts.

    Raises:
        PlanError: with the path of the part at fault.
    """
    require(not plan.HasField("relation"), "relation", "stands beside no program")
    require(not plan.HasField("key_selection"), "key_selection", "stands beside no program")
    require(not plan.group_by, "group_by", "stands beside no program")
    require(plan.clipping == NO_CLIPPING, "clipping", "must be 1 row and 1 group, as a program clips outputs alone")
    _check_numbers(plan.program)
    _check_tables(plan.program, declaration)
    shape = len(plan.statistics) == 1 and plan.statistics[0].HasField("block_outputs")
    require(shape, "statistics", "must be one of block_outputs, as the plan has a program")
    _check_outputs(plan.statistics[0], "statistics[0]")


def _check_numbers(program: Program) -> None:
    require(len(program.sha256) == HASH_BYTES, "program.sha256", f"must have {HASH_BYTES} bytes")
    require(1 <= program.blocks <= MAX_BLOCKS, "program.blocks", f"must be from 1 to {MAX_BLOCKS:,}")
    in_range = MIN_BLOCK_MILLIS <= program.block_millis <= MAX_BLOCK_MILLIS
    require(in_range, "program.block_millis", f"must be from {MIN_BLOCK_MILLIS} to {MAX_BLOCK_MILLIS:,}")
    total = program.blocks * program.block_millis
    require(total <= MAX_TOTAL_MILLIS, "program", f"takes {total:,} ms at a provider, more than {MAX_TOTAL_MILLIS:,}")


def _check_tables(program: Program, declaration: DatasetDeclaration) -> None:
    require(1 <= len(program.tables) <= MAX_TABLES, "program.tables", f"there must be 1 to {MAX_TABLES} tables")
    names = [each.table for each in program.tables]
    require(len(set(names)) == len(names), "program.tables", "name a table twice")
    declared = {table.name: {column.name for column in table.columns} for table in declaration.tables}
    for index, each in enumerate(program.tables):
        path = f"program.tables[{index}]"
        require(each.table in declared, f"{path}.table", f"{each.table!r} is no table of the dataset")
        columns = list(each.columns)
        require(len(columns) > 0, f"{path}.columns", "must not be empty")
        require(len(set(columns)) == len(columns), f"{path}.columns", "name a column twice")
        for name in columns:
            require(name in declared[each.table], f"{path}.columns", f"{name!r} is no column of {each.table}")


def _check_outputs(statistic: Statistic, path: str) -> None:
    require(not statistic.HasField("filter"), f"{path}.filter", "does not go with block_outputs")
    require(not statistic.HasField("marginal"), f"{path}.marginal", "does not go with block_outputs")
    outputs = statistic.block_outputs.outputs
    count = f"there must be 1 to {MAX_PROGRAM_OUTPUTS} outputs"
    require(1 <= len(outputs) <= MAX_PROGRAM_OUTPUTS, f"{path}.block_outputs.outputs", count)
    for index, output in enumerate(outputs):
        check_block_output(output, f"{path}.block_outputs.outputs[{index}]")


def check_block_output(output: BlockOutput, path: str) -> None:
    """Refuse bounds that are not finite or not in order, a default beyond them, and a tree out of range; PlanError."""
    for name, number in (("lower", output.lower), ("upper", output.upper), ("absent", output.absent)):
        require(math.isfinite(number), f"{path}.{name}", "must be finite")
    require(output.lower < output.upper, f"{path}.lower", "must be below upper")
    # Otherwise (x - lower) / (upper - lower) is no number for some x.
    require(math.isfinite(output.upper - output.lower), f"{path}.upper", "is too far from lower")
    require(output.lower <= output.absent <= output.upper, f"{path}.absent", "must be from lower to upper")
    if output.HasField("tree"):
        check_tree(output.tree, f"{path}.tree")
