"""An agreement's columns: whatever a plan reads of a row is found, in whatever part of the plan it is named."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import ColumnReference, Plan, ProgramTable, Relation

from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.columns_read import columns_outside, columns_read
from enclave_sim.plan.errors import PlanError
from tests.enclave_sim.engine.drawn import cells
from tests.enclave_sim.engine.generated_plans import Case, cases, norm_cases
from tests.enclave_sim.engine.generated_plans import declaration as declared
from tests.enclave_sim.engine.generated_relations import TABLES

from .conftest import DECLARATION, PLAN

CLINIC = text_format.Parse(DECLARATION, DatasetDeclaration())
STORED = {title.split(":")[0]: f"{table}.{title.split(':')[0]}" for table, titles in TABLES.items() for title in titles}
"""Of generated plans, where what is computed has a name that nothing stored has."""


def plan(text: str = PLAN) -> Plan:
    return text_format.Parse(text, Plan())


def references(message: Message) -> Iterator[str]:
    """The names of all column references anywhere in a message, found without knowing what is in it."""
    if isinstance(message, ColumnReference):
        yield message.name
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in [content] if isinstance(content, Message) else content:
                yield from references(part)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(cases(), norm_cases()))
def test_every_column_reference_anywhere_in_a_plan_is_found(case: Case) -> None:
    named = {STORED[name] for name in references(case.asked) if name in STORED}
    assert columns_read(case.asked, declared(case.tables)) == named


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.randoms(use_true_random=False))
def test_what_is_in_other_columns_changes_no_cell(case: Case, random: object) -> None:
    read = columns_read(case.asked, declared(case.tables))
    others = {name: _emptied(name, table, read) for name, table in case.tables.items()}
    engine = ReferenceEngine()
    assert cells(engine, case.tables, case.asked) == cells(engine, others, case.asked)


def _emptied(name: str, table: pa.Table, read: frozenset[str]) -> pa.Table:
    for title in TABLES[name]:
        column = title.split(":")[0]
        if f"{name}.{column}" not in read:
            place = table.schema.get_field_index(column)
            table = table.set_column(place, column, pa.nulls(table.num_rows, table.schema.field(column).type))
    return table


def test_conditions_keys_sums_and_the_unit_itself_are_read() -> None:
    assert columns_read(plan(), CLINIC) == {"visits.id", "visits.days", "visits.ward", "visits.pulse"}


def test_a_count_of_rows_reads_whose_they_are() -> None:
    asked = plan('relation { scan { table: "patients" } } statistics { row_count {} }')
    assert columns_read(asked, CLINIC) == {"patients.id"}
    assert columns_outside(asked, CLINIC, ["visits.pulse"]) == ["patients.id"]
    # With any column of a table, its rows may be counted.
    assert columns_outside(asked, CLINIC, ["patients.age"]) == []


def test_what_a_relation_made_of_a_column_is_that_column_though_nothing_uses_it() -> None:
    asked = plan(
        'relation { projection { input { scan { table: "visits" } } columns {'
        ' name: "age" expression { column { name: "note" } } } } } statistics { row_count {} }'
    )
    assert columns_read(asked, CLINIC) == {"visits.id", "visits.note"}


def test_of_a_join_both_sides_and_its_condition_are_read() -> None:
    asked = plan(
        'relation { unit_join { left { scan { table: "visits" } } right { scan { table: "patients" } }'
        ' condition { comparison { left { column { name: "days" } } right { column { name: "age" } } } } } }'
        " statistics { row_count {} }"
    )
    assert columns_read(asked, CLINIC) == {"visits.id", "visits.days", "patients.id", "patients.age"}


def test_a_models_inputs_are_read_and_what_it_says_is_made_of_them() -> None:
    asked = plan(
        'relation { scan { table: "visits" } } evaluation { model { inputs: "pulse" reading: READING_NUMBER } }'
        ' statistics { bounded_sum { term { column { name: "prediction" } } } }'
    )
    assert columns_read(asked, CLINIC) == {"visits.id", "visits.pulse"}


def test_a_programs_columns_are_read_as_it_is_shown_them() -> None:
    asked = plan()
    asked.Clear()
    asked.program.tables.append(ProgramTable(table="visits", columns=["id", "note"]))
    assert columns_read(asked, CLINIC) == {"visits.id", "visits.note"}
    assert columns_outside(asked, CLINIC, ["visits.pulse"]) == ["visits.note"]


def test_keys_that_are_selected_are_read() -> None:
    asked = plan('relation { scan { table: "visits" } } key_selection { keys { column { name: "day" } } }')
    assert columns_read(asked, CLINIC) == {"visits.id", "visits.day"}


def test_where_no_columns_are_listed_all_are_allowed() -> None:
    assert columns_outside(plan(), CLINIC, []) == []
    assert columns_outside(plan(), CLINIC, ["visits.ward", "visits.pulse"]) == ["visits.days"]


@pytest.mark.parametrize(
    "text",
    [
        'relation { scan { table: "secrets" } }',
        'relation { scan { table: "visits" } } statistics { non_null_count { term { column { name: "age" } } } }',
        'statistics { non_null_count { term { column { name: "pulse" } } } }',
        'relation { scan { table: "visits" } } statistics { non_null_count { term { column { name: "PULSE" } } } }',
        'program { tables { table: "visits" columns: "age" } }',
        "relation {}",
    ],
)
def test_what_is_not_there_is_refused_and_not_passed_over(text: str) -> None:
    with pytest.raises(PlanError):
        columns_read(plan(text), CLINIC)


def test_relations_are_nowhere_in_a_plan_but_where_they_are_gone_through() -> None:
    """A field that was added elsewhere would not be walked: then this has to be thought about."""
    found: set[str] = set()
    seen: set[str] = set()

    def walk(message: Descriptor) -> None:
        if message.full_name in seen:
            return
        seen.add(message.full_name)
        for field in message.fields:
            if field.message_type is not None:
                if field.message_type.full_name == Relation.DESCRIPTOR.full_name:
                    found.add(f"{message.name}.{field.name}")
                walk(field.message_type)

    walk(Plan.DESCRIPTOR)
    inputs = {f"{name}.input" for name in ("Selection", "Projection", "UnitAggregation", "UnitRanking")}
    assert found == {"Plan.relation", "UnitJoin.left", "UnitJoin.right", *inputs}
