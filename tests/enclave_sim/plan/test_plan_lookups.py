"""What a look-up of the plan language may be, and how many entries a plan has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
    ColumnReference,
    ColumnType,
    Expression,
    GroupKey,
    LookUp,
    NamedExpression,
    Plan,
    Projection,
    Relation,
    Scan,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_NODES, result_type
from enclave_sim.plan.size import MAX_ENTRIES, MAX_ENTRY_BYTES, MAX_LOOK_UPS
from enclave_sim.plan.validation import check_plan

from .conftest import price

TYPES = {
    "b": COLUMN_TYPE_BOOL,
    "i": COLUMN_TYPE_INT64,
    "f": COLUMN_TYPE_FLOAT64,
    "s": COLUMN_TYPE_STRING,
    "d": COLUMN_TYPE_DATE,
    "t": COLUMN_TYPE_TIMESTAMP,
}
NOTE = 'operand { column { name: "note" type: COLUMN_TYPE_STRING } }'


def read(text: str) -> Expression:
    """A look-up in text form; `$i` is the column i with its type."""
    for name, kind in TYPES.items():
        text = text.replace(f"${name}", f'operand {{ column {{ name: "{name}" type: {ColumnType.Name(kind)} }} }}')
    return text_format.Parse(f"look_up {{ {text} }}", Expression())


def type_of(text: str) -> ColumnType.ValueType:
    return result_type(read(text), TYPES, "x")


GOOD = {
    "from strings": (
        COLUMN_TYPE_STRING,
        '$s type: COLUMN_TYPE_STRING entries { key { string_value: "" } value { string_value: "" } } '
        'entries { key { string_value: "a" } value { string_value: "" } }',
    ),
    "to fractions": (
        COLUMN_TYPE_FLOAT64,
        "$i type: COLUMN_TYPE_FLOAT64 entries { key { int64_value: 0 } value { float64_value: 0.5 } }",
    ),
    "to nothing": (COLUMN_TYPE_DATE, "$b type: COLUMN_TYPE_DATE entries { key { bool_value: false } }"),
    "from a day": (
        COLUMN_TYPE_BOOL,
        "$d type: COLUMN_TYPE_BOOL entries { key { date_days: 0 } value { bool_value: true } }",
    ),
    "from a moment": (
        COLUMN_TYPE_INT64,
        "$t type: COLUMN_TYPE_INT64 entries { key { timestamp_micros: 0 } value { int64_value: 1 } }",
    ),
}


@pytest.mark.parametrize(("kind", "text"), GOOD.values(), ids=GOOD.keys())
def test_a_look_up_has_the_type_of_its_values(kind: ColumnType.ValueType, text: str) -> None:
    assert type_of(text) == kind


ONE = "entries { key { int64_value: 1 } value { int64_value: 2 } }"
BAD = {
    "fractions as keys": ("operand", "$f type: COLUMN_TYPE_INT64 entries { key { float64_value: 1 } }"),
    "no operand": ("operand", f"type: COLUMN_TYPE_INT64 {ONE}"),
    "no type": ("type", f"$i {ONE}"),
    "a type of a later version": ("type", f"$i type: 7 {ONE}"),
    "no entries": ("entries", "$i type: COLUMN_TYPE_INT64"),
    "an entry without key": ("entries[0].key", "$i type: COLUMN_TYPE_INT64 entries { value { int64_value: 1 } }"),
    "a key of another type": ("entries[0].key", f"$s type: COLUMN_TYPE_INT64 {ONE}"),
    "a value of another type": ("entries[0].value", f"$i type: COLUMN_TYPE_STRING {ONE}"),
    "a value without kind": (
        "entries[0].value",
        "$i type: COLUMN_TYPE_BOOL entries { key { int64_value: 1 } value {} }",
    ),
    "a value that is no number": (
        "entries[0].value",
        "$i type: COLUMN_TYPE_FLOAT64 entries { key { int64_value: 1 } value { float64_value: nan } }",
    ),
    "a long key": (
        "entries[0].key",
        '$s type: COLUMN_TYPE_BOOL entries { key { string_value: "' + "x" * 1001 + '" } }',
    ),
    "a key twice": ("entries[2].key", f"$i type: COLUMN_TYPE_INT64 {ONE} entries {{ key {{ int64_value: 2 }} }} {ONE}"),
    "a key twice, with one value and without": (
        "entries[1].key",
        f"$i type: COLUMN_TYPE_INT64 {ONE} entries {{ key {{ int64_value: 1 }} }}",
    ),
}


@pytest.mark.parametrize(("path", "text"), BAD.values(), ids=BAD.keys())
def test_a_bad_look_up_is_refused(path: str, text: str) -> None:
    with pytest.raises(PlanError) as caught:
        type_of(text)
    assert caught.value.path == f"x.look_up.{path}"


def look_up(entries: int, text: str = "", first: int = 0) -> Expression:
    numbers = range(first, first + entries)
    listed = [LookUp.Entry(key=Value(int64_value=each), value=Value(string_value=text)) for each in numbers]
    days = Expression(column=ColumnReference(name="days", type=COLUMN_TYPE_INT64))
    return Expression(look_up=LookUp(operand=days, entries=listed, type=COLUMN_TYPE_STRING))


def in_relation(plan: Plan, *expressions: Expression) -> None:
    kept = [(column, kind) for column, kind in (("ward", COLUMN_TYPE_STRING), ("days", COLUMN_TYPE_INT64))]
    columns = [
        NamedExpression(name=name, expression=Expression(column=ColumnReference(name=name, type=kind)))
        for name, kind in [*kept, ("pulse", COLUMN_TYPE_FLOAT64)]
    ]
    columns += [NamedExpression(name=f"found{n}", expression=each) for n, each in enumerate(expressions)]
    projection = Projection(input=Relation(scan=Scan(table="visits")), columns=columns)
    plan.relation.CopyFrom(Relation(projection=projection))


def in_a_key(plan: Plan, expression: Expression) -> None:
    plan.group_by[0].CopyFrom(GroupKey(expression=expression, values=[Value(string_value="")]))
    plan.clipping.max_groups = 1


def in_a_filter(plan: Plan, expression: Expression) -> None:
    plan.statistics[0].filter.null_test.operand.CopyFrom(expression)


PLACES: dict[str, Callable[[Plan, Expression], None]] = {
    "a relation": in_relation,
    "a key": in_a_key,
    "a filter": in_a_filter,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_plan_has_so_many_entries(
    plan: Plan, declaration: DatasetDeclaration, place: Callable[[Plan, Expression], None]
) -> None:
    assert MAX_ENTRIES > MAX_NODES, "entries are counted apart from other parts"
    place(plan, look_up(MAX_ENTRIES))
    price(plan)
    check_plan(plan, declaration, dataset_version=plan.dataset_version)
    place(plan, look_up(MAX_ENTRIES + 1))
    with pytest.raises(PlanError, match="10,000 entries"):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_entries_count_wherever_they_are(plan: Plan, declaration: DatasetDeclaration) -> None:
    in_relation(plan, look_up(MAX_ENTRIES // 2), look_up(MAX_ENTRIES // 2, first=1))
    in_a_filter(plan, look_up(1))
    with pytest.raises(PlanError, match="10,000 entries"):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_a_plan_has_so_many_look_ups(plan: Plan, declaration: DatasetDeclaration) -> None:
    """256 of them would keep an engine busy for a minute before it has read a row."""
    inside = look_up(1)
    inside.look_up.operand.call.function = Call.FUNCTION_LENGTH
    inside.look_up.operand.call.operands.append(look_up(1))
    in_relation(plan, inside, *[look_up(1)] * (MAX_LOOK_UPS - 2))
    price(plan)
    check_plan(plan, declaration, dataset_version=plan.dataset_version)
    in_a_filter(plan, look_up(1))
    with pytest.raises(PlanError, match="32 look-ups"):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_entries_have_a_largest_size_together(plan: Plan, declaration: DatasetDeclaration) -> None:
    in_relation(plan, look_up(MAX_ENTRY_BYTES // 1000, "x" * 1000))
    with pytest.raises(PlanError, match="1,048,576 bytes"):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)
