"""Plans that run a program on blocks: what an enclave accepts of them, and what it charges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import BlockMeanMeasure, BlockOutput, BlockTree, Plan, Program

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import delta2_squared, slot_bits_needed
from enclave_sim.plan.validation import check_plan

from .conftest import price
from .test_plan_validation import VERSION

PROGRAM = """
language_version: 2 dataset: "clinic" dataset_version: "12345678901234567890123456789012"
program {
  sha256: "abcdefghabcdefghabcdefghabcdefgh" blocks: 20 block_millis: 500
  tables { table: "visits" columns: "id" columns: "pulse" }
  tables { table: "patients" columns: "id" columns: "age" }
}
statistics {
  block_outputs {
    outputs { lower: 18 upper: 100 absent: 50 }
    outputs { lower: -1 upper: 1 absent: 1 }
  }
  sigma: 1000000
}
clipping { max_rows: 1 max_groups: 1 } fraction_bits: 16
noise { parties: 3 parties_per_unit: 1 }
outputs { name: "mean_age" measure { block_mean { output: 0 } } }
outputs { name: "trend" measure { block_mean { output: 1 } } }
epsilon: 10 delta: 1e-7
"""
Change = Callable[[Plan], Any]
SECOND = BlockMeanMeasure(output=1)


@pytest.fixture
def program() -> Plan:
    plan = Plan()
    text_format.Parse(PROGRAM, plan)
    price(plan)
    return plan


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=VERSION)


def test_a_program_over_declared_tables_is_accepted(program: Plan, declaration: DatasetDeclaration) -> None:
    check(program, declaration)


def test_one_unit_moves_each_output_of_one_block_by_its_whole_range(program: Plan) -> None:
    """Two outputs, each in steps of 2^-16 of its range: √2 ranges in L2."""
    assert delta2_squared(program, program.statistics[0]) == 2 << 32


def test_one_unit_moves_a_block_from_one_node_to_another_on_each_level(program: Plan) -> None:
    """Two nodes of each of four levels, and the other output by its whole range."""
    of_a_median(program)
    assert delta2_squared(program, program.statistics[0]) == (2 * 4 + 1) << 32


def of_a_median(program: Plan) -> None:
    """The second output becomes a median over 2^4 ranges."""
    program.statistics[0].block_outputs.outputs[1].tree.MergeFrom(BlockTree(branching=2, levels=4))
    program.outputs[1].measure.block_median.output = 1
    price(program)


def test_a_median_is_accepted(program: Plan, declaration: DatasetDeclaration) -> None:
    of_a_median(program)
    check(program, declaration)


def test_a_median_at_the_price_of_a_mean_is_refused(program: Plan, declaration: DatasetDeclaration) -> None:
    paid = program.statistics[0].rho_units
    of_a_median(program)
    program.statistics[0].rho_units = paid
    with pytest.raises(PlanError) as refused:
        check(program, declaration)
    assert refused.value.path == "statistics[0].rho_units"


def test_a_unit_at_three_providers_moves_a_block_of_each(program: Plan) -> None:
    program.noise.parties_per_unit = 3
    assert delta2_squared(program, program.statistics[0]) == 9 * (2 << 32)


def test_cells_are_as_wide_as_all_blocks_of_all_providers_with_their_noise(program: Plan) -> None:
    largest = 3 * ((20 << 16) + 64 * 1_000_000)
    assert 2 ** (slot_bits_needed(program, max_units=10**9) - 1) > largest
    assert slot_bits_needed(program, max_units=10**9) == slot_bits_needed(program, max_units=1)


REFUSED: dict[str, tuple[str, Change]] = {
    "a cheaper price": ("statistics[0].rho_units", lambda p: setattr(p.statistics[0], "rho_units", 1)),
    "a relation beside it": ("relation", lambda p: setattr(p.relation.scan, "table", "visits")),
    "keys beside it": ("group_by", lambda p: p.group_by.add()),
    "a key selection beside it": ("key_selection", lambda p: setattr(p.key_selection, "max_keys", 1)),
    "another clipping": ("clipping", lambda p: setattr(p.clipping, "max_rows", 2)),
    "another grid": ("fraction_bits", lambda p: setattr(p, "fraction_bits", 8)),
    "a hash that is none": ("program.sha256", lambda p: setattr(p.program, "sha256", b"short")),
    "no block": ("program.blocks", lambda p: setattr(p.program, "blocks", 0)),
    "too many blocks": ("program.blocks", lambda p: setattr(p.program, "blocks", 10_001)),
    "no time": ("program.block_millis", lambda p: setattr(p.program, "block_millis", 0)),
    "days": ("program", lambda p: p.program.MergeFrom(Program(blocks=10_000, block_millis=60_000))),
    "no table": ("program.tables", lambda p: p.program.ClearField("tables")),
    "a table twice": ("program.tables", lambda p: setattr(p.program.tables[1], "table", "visits")),
    "an unknown table": ("program.tables[1].table", lambda p: setattr(p.program.tables[1], "table", "nurses")),
    "an unknown column": ("program.tables[1].columns", lambda p: p.program.tables[1].columns.append("pulse")),
    "a column twice": ("program.tables[1].columns", lambda p: p.program.tables[1].columns.append("age")),
    "no column": ("program.tables[1].columns", lambda p: p.program.tables[1].ClearField("columns")),
    "a count beside it": ("statistics", lambda p: p.statistics.add().row_count.SetInParent()),
    "a count in its place": ("statistics", lambda p: p.statistics[0].row_count.SetInParent()),
    "a filter": (
        "statistics[0].filter",
        lambda p: setattr(p.statistics[0].filter.literal, "bool_value", True),
    ),
    "a marginal": ("statistics[0].marginal", lambda p: p.statistics[0].marginal.SetInParent()),
    "no output": ("statistics[0].block_outputs.outputs", lambda p: p.statistics[0].block_outputs.ClearField("outputs")),
    "an output without bound": (
        "statistics[0].block_outputs.outputs[1].upper",
        lambda p: setattr(p.statistics[0].block_outputs.outputs[1], "upper", math.inf),
    ),
    "bounds in the wrong order": (
        "statistics[0].block_outputs.outputs[1].lower",
        lambda p: setattr(p.statistics[0].block_outputs.outputs[1], "lower", 1.0),
    ),
    "bounds whose distance is no number": (
        "statistics[0].block_outputs.outputs[1].upper",
        lambda p: p.statistics[0].block_outputs.outputs[1].MergeFrom(BlockOutput(lower=-1.7e308, upper=1.7e308)),
    ),
    "a default beyond the bounds": (
        "statistics[0].block_outputs.outputs[0].absent",
        lambda p: setattr(p.statistics[0].block_outputs.outputs[0], "absent", 101.0),
    ),
    "a tree that does not branch": (
        "statistics[0].block_outputs.outputs[1].tree.branching",
        lambda p: p.statistics[0].block_outputs.outputs[1].tree.MergeFrom(BlockTree(branching=1, levels=2)),
    ),
    "a tree of more ranges than there is room for": (
        "statistics",
        lambda p: p.statistics[0].block_outputs.outputs[1].tree.MergeFrom(BlockTree(branching=1024, levels=3)),
    ),
    "a mean of what is counted by ranges": (
        "outputs[1].measure.block_mean.output",
        lambda p: [change(p) for change in (of_a_median, lambda p: p.outputs[1].measure.block_mean.MergeFrom(SECOND))],
    ),
    "a median of what is summed": (
        "outputs[1].measure.block_median.output",
        lambda p: setattr(p.outputs[1].measure.block_median, "output", 1),
    ),
    "a column of the answer that is not there": (
        "outputs[1].measure.block_mean.output",
        lambda p: setattr(p.outputs[1].measure.block_mean, "output", 2),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_its_place(what: str, program: Plan, declaration: DatasetDeclaration) -> None:
    path, change = REFUSED[what]
    change(program)
    with pytest.raises(PlanError) as refused:
        check(program, declaration)
    assert refused.value.path == path


def test_blocks_without_a_program_are_refused(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Otherwise a query could claim the sensitivity of blocks for cells that a unit moves by more."""
    plan.statistics[0].block_outputs.outputs.add(lower=0, upper=1)
    with pytest.raises(PlanError) as refused:
        check(plan, declaration)
    assert refused.value.path == "statistics[0].block_outputs"
