"""From a program's declaration to a plan that every enclave accepts, or to a reason why not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from yingbi.api import zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan, ProgramTable

from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.plan.validation import check_plan
from gateway.planning.programs import default_blocks, plan_program, program_notes, words_of

from .conftest import VERSION


def asked() -> ProgramQuery:
    return ProgramQuery(
        sha256=bytes(32),
        outputs=[
            ProgramOutput(name="mean_age", lower=18, upper=100),
            ProgramOutput(name="slope", lower=-1, upper=1, absent=0.5),
        ],
    )


def plan_of(query: ProgramQuery, declaration: DatasetDeclaration, *, parties: int = 3, epsilon: float = 1.0) -> Plan:
    return plan_program(query, declaration, dataset_version=VERSION, parties=parties, epsilon=epsilon, delta=1e-7).plan


def test_everything_is_shown_unless_tables_are_named(declaration: DatasetDeclaration) -> None:
    everything = {table.name: [column.name for column in table.columns] for table in declaration.tables}
    plan = plan_of(asked(), declaration)
    assert {each.table: list(each.columns) for each in plan.program.tables} == everything
    some = asked()
    some.tables.append(ProgramTable(table="LABS", columns=["VALUE", "id"]))
    assert list(plan_of(some, declaration).program.tables) == [ProgramTable(table="labs", columns=["value", "id"])]


def test_outputs_keep_their_bounds_and_an_empty_block_counts_as_the_middle(declaration: DatasetDeclaration) -> None:
    plan = plan_of(asked(), declaration)
    shapes = [(each.lower, each.upper, each.absent) for each in plan.statistics[0].block_outputs.outputs]
    assert shapes == [(18, 100, 59), (-1, 1, 0.5)]
    assert [output.name for output in plan.outputs] == ["mean_age", "slope"]


def test_the_price_is_what_epsilon_buys(declaration: DatasetDeclaration) -> None:
    plan = plan_of(asked(), declaration, epsilon=2.0)
    bought = zcdp.bought(2.0, 1e-7)[0]
    assert 0.95 * bought < total_rho_units(plan) <= bought


def test_more_blocks_cost_the_same_and_have_the_same_noise_in_their_sum(declaration: DatasetDeclaration) -> None:
    few, many = asked(), asked()
    few.blocks, many.blocks = 5, 500
    plans = [plan_of(query, declaration) for query in (few, many)]
    assert plans[0].statistics[0].sigma == plans[1].statistics[0].sigma
    assert [plan.program.blocks for plan in plans] == [5, 500]


def test_units_at_several_providers_cost_for_all_of_them(declaration: DatasetDeclaration) -> None:
    scattered = DatasetDeclaration()
    scattered.CopyFrom(declaration)
    scattered.units_disjoint = False
    one, three = (plan_of(asked(), each).statistics[0].sigma for each in (declaration, scattered))
    assert three == pytest.approx(3 * one, rel=0.01)
    check_plan(plan_of(asked(), scattered), scattered, dataset_version=VERSION)


@pytest.mark.parametrize(("units", "blocks"), [(1, 4), (4800, 40), (10**9, 200)])
def test_blocks_are_chosen_from_what_is_public(units: int, blocks: int) -> None:
    assert default_blocks(DatasetDeclaration(max_units=units), 3) == blocks


REFUSED: dict[str, tuple[str, Callable[[ProgramQuery], object]]] = {
    "no output": ("program_output", lambda q: q.ClearField("outputs")),
    "a name twice": ("program_output", lambda q: q.outputs.append(q.outputs[0])),
    "no name": ("program_output", lambda q: q.outputs.append(ProgramOutput(lower=0, upper=1))),
    "bounds in the wrong order": (
        "program_output",
        lambda q: q.outputs.append(ProgramOutput(name="x", lower=1, upper=1)),
    ),
    "no finite bound": ("program_output", lambda q: q.outputs.append(ProgramOutput(name="x", upper=math.inf))),
    "a default beyond the bounds": (
        "program_output",
        lambda q: q.outputs.append(ProgramOutput(name="x", upper=1, absent=2)),
    ),
    "no hash": ("program", lambda q: q.ClearField("sha256")),
    "no block": ("program_blocks", lambda q: q.MergeFrom(ProgramQuery(blocks=0))),
    "too many blocks": ("program_blocks", lambda q: q.MergeFrom(ProgramQuery(blocks=10_001))),
    "no time": ("program_seconds", lambda q: q.MergeFrom(ProgramQuery(block_millis=9))),
    "days": ("program_blocks", lambda q: q.MergeFrom(ProgramQuery(blocks=10_000, block_millis=10_000))),
    "an unknown table": ("unknown_table", lambda q: q.tables.append(ProgramTable(table="lab"))),
    "an unknown column": ("unknown_column", lambda q: q.tables.append(ProgramTable(table="labs", columns=["valu"]))),
    "a table twice": ("program_tables", lambda q: q.tables.extend([ProgramTable(table="labs")] * 2)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_reason(what: str, declaration: DatasetDeclaration) -> None:
    code, change = REFUSED[what]
    query = asked()
    change(query)
    with pytest.raises(Problem) as refused:
        plan_of(query, declaration)
    assert refused.value.code == code
    assert refused.value.field


def test_the_nearest_name_is_told(declaration: DatasetDeclaration) -> None:
    query = asked()
    query.tables.append(ProgramTable(table="labs", columns=["valu"]))
    with pytest.raises(Problem) as refused:
        plan_of(query, declaration)
    assert refused.value.hint == "did you mean labs.value?"


def test_notes_say_what_the_answer_is_and_how_long_it_takes(declaration: DatasetDeclaration) -> None:
    query = asked()
    query.blocks = 20
    query.tables.append(ProgramTable(table="LABS", columns=["VALUE", "id"]))
    notes = "\n".join(program_notes(plan_of(query, declaration), declaration))
    assert "60 blocks" in notes
    assert "The program sees labs (value, id)." in notes  # which is what an operator approves
    assert "10 s" in notes
    assert "mean_age counts as the nearest bound of [18, 100]" in notes
    assert words_of(asked()) == f"PROGRAM {'00' * 32} RETURNS mean_age: float[18,100], slope: float[-1,1]"
