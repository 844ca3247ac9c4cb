"""What a relation may be, its columns, and how many rows of one unit it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    ColumnReference,
    Expression,
    NamedExpression,
    Projection,
    Relation,
    Scan,
    UnitAggregation,
    UnitJoin,
    UnitRanking,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.relations import MAX_OPERATORS, columns_of, max_rows_bound, scans

from .conftest import DECLARATION

DAYS = "column { name: 'days' type: COLUMN_TYPE_INT64 }"
NOTE = "column { name: 'note' type: COLUMN_TYPE_STRING }"
URGENT = "column { name: 'urgent' type: COLUMN_TYPE_BOOL }"
UNIT = "column { name: 'id' type: COLUMN_TYPE_INT64 }"
VISITS = "scan { table: 'visits' }"
PATIENTS = "scan { table: 'patients' }"
ROWS = 2**24 - 1


def read(text: str) -> Relation:
    # Merge and not Parse: of a field twice, the last counts.
    return text_format.Merge(text, Relation())


def columns(relation: Relation | str) -> list[str]:
    declaration = text_format.Parse(DECLARATION, DatasetDeclaration())
    return list(columns_of(read(relation) if isinstance(relation, str) else relation, declaration))


def join(left: str = VISITS, right: str = PATIENTS, rest: str = "") -> str:
    return (
        f"unit_join {{ left {{ {left} }} right {{ {right} }} kind: KIND_LEFT max_left_rows: 9 max_right_rows: 1 "
        f"{rest} }}"
    )


def aggregation(rest: str) -> str:
    return f"unit_aggregation {{ input {{ {VISITS} }} {rest} }}"


def ranking(rest: str) -> str:
    return f"unit_ranking {{ input {{ {VISITS} }} {rest} }}"


def projection(rest: str) -> str:
    return f"projection {{ input {{ {VISITS} }} {rest} }}"


def test_a_scan_has_all_declared_columns_but_the_unit(declaration: DatasetDeclaration) -> None:
    assert columns(VISITS) == ["ward", "urgent", "pulse", "days", "note", "day", "moment"]
    assert columns_of(read(PATIENTS), declaration) == {"age": COLUMN_TYPE_INT64}


def test_a_selection_keeps_the_columns() -> None:
    assert columns(f"selection {{ input {{ {PATIENTS} }} condition {{ literal {{ bool_value: true }} }} }}") == ["age"]


def test_a_projection_has_its_columns_and_no_others() -> None:
    text = f"columns {{ name: 'n' expression {{ {NOTE} }} }} columns {{ name: 'days' expression {{ {NOTE} }} }}"
    assert columns(projection(text)) == ["n", "days"]
    assert columns(projection("")) == []


def test_an_aggregation_has_its_keys_and_measures(declaration: DatasetDeclaration) -> None:
    text = f"""
        keys {{ name: 'k' expression {{ {NOTE} }} }}
        measures {{ name: 'rows' function: FUNCTION_COUNT_ROWS filter {{ {URGENT} }} }}
        measures {{ name: 'known' function: FUNCTION_COUNT argument {{ {NOTE} }} }}
        measures {{ name: 'different' function: FUNCTION_COUNT_DISTINCT argument {{ {URGENT} }} }}
        measures {{ name: 'sum' function: FUNCTION_SUM argument {{ {DAYS} }} }}
        measures {{ name: 'mean' function: FUNCTION_MEAN argument {{ {DAYS} }} }}
        measures {{ name: 'least' function: FUNCTION_MINIMUM argument {{ {URGENT} }} }}
        measures {{ name: 'greatest' function: FUNCTION_MAXIMUM argument {{ {NOTE} }} }}
    """
    assert columns_of(read(aggregation(text)), declaration) == {
        "k": COLUMN_TYPE_STRING,
        "rows": COLUMN_TYPE_INT64,
        "known": COLUMN_TYPE_INT64,
        "different": COLUMN_TYPE_INT64,
        "sum": COLUMN_TYPE_FLOAT64,
        "mean": COLUMN_TYPE_FLOAT64,
        "least": COLUMN_TYPE_BOOL,
        "greatest": COLUMN_TYPE_STRING,
    }
    assert columns(aggregation("")) == []


def test_a_ranking_adds_a_whole_number(declaration: DatasetDeclaration) -> None:
    text = f"name: 'place' partition_by {{ {NOTE} }} order_by {{ expression {{ {DAYS} }} descending: true }}"
    found = columns_of(read(ranking(text)), declaration)
    assert list(found) == [*columns(VISITS), "place"]
    assert found["place"] == COLUMN_TYPE_INT64
    assert "place" in columns(ranking("name: 'place'"))


def test_a_join_has_the_columns_of_both_sides() -> None:
    condition = (
        f"condition {{ comparison {{ operator: OPERATOR_LESS left {{ {DAYS} }} "
        "right { column { name: 'age' type: COLUMN_TYPE_INT64 } } } }"
    )
    assert columns(join(rest=condition)) == [*columns(VISITS), "age"]
    assert columns(join()) == [*columns(VISITS), "age"]


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("relation", ""),
    "an unknown table": ("relation.scan.table", "scan { table: 'labs' }"),
    "a table in another case": ("relation.scan.table", "scan { table: 'Visits' }"),
    "a selection from nothing": ("relation.selection.input", f"selection {{ condition {{ {URGENT} }} }}"),
    "a selection without condition": ("relation.selection.condition", f"selection {{ input {{ {VISITS} }} }}"),
    "a selection by a number": (
        "relation.selection.condition",
        f"selection {{ input {{ {VISITS} }} condition {{ {DAYS} }} }}",
    ),
    "a selection by the unit": (
        "relation.selection.condition.null_test.operand.column",
        f"selection {{ input {{ {VISITS} }} condition {{ null_test {{ operand {{ {UNIT} }} }} }} }}",
    ),
    "the unit as a column": (
        "relation.projection.columns[0].expression.column",
        projection(f"columns {{ name: 'n' expression {{ {UNIT} }} }}"),
    ),
    "a column without expression": (
        "relation.projection.columns[0].expression",
        projection("columns { name: 'n' }"),
    ),
    "a column without name": ("relation.projection", projection(f"columns {{ expression {{ {DAYS} }} }}")),
    "a column with a long name": (
        "relation.projection",
        projection(f"columns {{ name: '{'x' * 201}' expression {{ {DAYS} }} }}"),
    ),
    "a reserved name": (
        "relation.projection",
        projection(f"columns {{ name: '_Yingbi_unit' expression {{ {DAYS} }} }}"),
    ),
    "a name twice": (
        "relation.projection",
        projection(f"columns {{ name: 'n' expression {{ {DAYS} }} }} columns {{ name: 'N' expression {{ {DAYS} }} }}"),
    ),
    "a column that was left out": (
        "relation.selection.condition.column",
        f"selection {{ input {{ {projection('')} }} condition {{ {URGENT} }} }}",
    ),
    "a key by the unit": (
        "relation.unit_aggregation.keys[0].expression.column",
        aggregation(f"keys {{ name: 'k' expression {{ {UNIT} }} }}"),
    ),
    "a key and a measure of one name": (
        "relation.unit_aggregation",
        aggregation(
            f"keys {{ name: 'k' expression {{ {DAYS} }} }} measures {{ name: 'k' function: FUNCTION_COUNT_ROWS }}"
        ),
    ),
    "a measure without function": (
        "relation.unit_aggregation.measures[0].function",
        aggregation(f"measures {{ name: 'm' argument {{ {DAYS} }} }}"),
    ),
    "a measure of a later version": (
        "relation.unit_aggregation.measures[0].function",
        aggregation("measures { name: 'm' function: 8 }"),
    ),
    "rows of something": (
        "relation.unit_aggregation.measures[0].argument",
        aggregation(f"measures {{ name: 'm' function: FUNCTION_COUNT_ROWS argument {{ {DAYS} }} }}"),
    ),
    "a count of nothing": (
        "relation.unit_aggregation.measures[0].argument",
        aggregation("measures { name: 'm' function: FUNCTION_COUNT }"),
    ),
    "a minimum of nothing": (
        "relation.unit_aggregation.measures[0].argument",
        aggregation("measures { name: 'm' function: FUNCTION_MINIMUM }"),
    ),
    "a sum of strings": (
        "relation.unit_aggregation.measures[0].argument",
        aggregation(f"measures {{ name: 'm' function: FUNCTION_SUM argument {{ {NOTE} }} }}"),
    ),
    "a measure filtered by a number": (
        "relation.unit_aggregation.measures[0].filter",
        aggregation(f"measures {{ name: 'm' function: FUNCTION_COUNT_ROWS filter {{ {DAYS} }} }}"),
    ),
    "a ranking without name": ("relation.unit_ranking", ranking("")),
    "a ranking under a taken name": ("relation.unit_ranking", ranking("name: 'DAYS'")),
    "a ranking by the unit": (
        "relation.unit_ranking.partition_by[0].column",
        ranking(f"name: 'p' partition_by {{ {UNIT} }}"),
    ),
    "a ranking in order of nothing": ("relation.unit_ranking.order_by[0].expression", ranking("name: 'p' order_by {}")),
    "a ranking in a long order": (
        "relation.unit_ranking.order_by",
        ranking("name: 'p'" + f"order_by {{ expression {{ {DAYS} }} }}" * 65),
    ),
    "a join of no kind": (
        "relation.unit_join.kind",
        f"unit_join {{ left {{ {VISITS} }} right {{ {PATIENTS} }} max_left_rows: 1 max_right_rows: 1 }}",
    ),
    "a join of no rows": (
        "relation.unit_join.max_right_rows",
        f"unit_join {{ left {{ {VISITS} }} right {{ {PATIENTS} }} kind: KIND_INNER max_left_rows: 1 }}",
    ),
    "a join of too many rows": ("relation.unit_join.max_left_rows", join(rest="max_left_rows: 4096")),
    "a join of one name on both sides": ("relation.unit_join", join(right=VISITS)),
    "a join on the unit": (
        "relation.unit_join.condition.null_test.operand.column",
        join(rest=f"condition {{ null_test {{ operand {{ {UNIT} }} }} }}"),
    ),
    "a join on a number": ("relation.unit_join.condition", join(rest=f"condition {{ {DAYS} }}")),
    "a mistake on the right": ("relation.unit_join.right.scan.table", join(right="scan { table: 'x' }")),
}


@pytest.mark.parametrize(("path", "text"), BAD.values(), ids=BAD.keys())
def test_a_bad_relation_is_refused(path: str, text: str) -> None:
    with pytest.raises(PlanError) as caught:
        columns(text)
    assert caught.value.path == path


def selections(count: int) -> Relation:
    text = VISITS
    for _ in range(count - 1):
        text = f"selection {{ input {{ {text} }} condition {{ {URGENT} }} }}"
    return read(text)


def joins(count: int) -> Relation:
    """A shallow tree of `count` operators, an odd number; every scan is projected away."""
    nothing = Relation(projection=Projection(input=read(VISITS)))
    if count <= 3:
        return nothing
    half = (count - 1) // 2
    left, right, kind = joins(half), joins(half), UnitJoin.KIND_INNER
    return Relation(unit_join=UnitJoin(left=left, right=right, kind=kind, max_left_rows=1, max_right_rows=1))


def wide(count: int) -> Relation:
    text = Expression(column=ColumnReference(name="note", type=COLUMN_TYPE_STRING))
    named = [NamedExpression(name=f"c{index}", expression=text) for index in range(count)]
    return Relation(projection=Projection(input=read(VISITS), columns=named))


@pytest.mark.parametrize(
    ("make", "fits", "too_large"), [(selections, 48, 49), (joins, 31, 2 * MAX_OPERATORS), (wide, 1000, 1001)]
)
def test_relations_have_a_largest_size(make: Callable[[int], Relation], fits: int, too_large: int) -> None:
    columns(make(fits))
    with pytest.raises(PlanError, match="more than"):
        columns(make(too_large))


def test_the_tables_of_a_relation_are_known() -> None:
    assert scans(read(join())) == {"visits", "patients"}
    assert scans(read(aggregation(""))) == {"visits"}


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (VISITS, ROWS),
        (projection(""), ROWS),
        (ranking("name: 'p'"), ROWS),
        (aggregation(""), 1),
        (aggregation(f"keys {{ name: 'k' expression {{ {DAYS} }} }}"), ROWS),
        (join(), 9),
        (join(aggregation(""), join(rest="max_right_rows: 3"), "max_right_rows: 30"), 27),
        (f"selection {{ input {{ {join()} }} }}", 9),
        (join(rest="max_left_rows: 1023 max_right_rows: 1023"), 1023**2),
    ],
)
def test_the_rows_of_a_unit_are_bounded(text: str, bound: int) -> None:
    assert max_rows_bound(read(text)) == bound


relations = st.recursive(
    st.just(Relation(scan=Scan(table="visits"))),
    lambda inner: st.one_of(
        st.builds(lambda below: Relation(projection=Projection(input=below)), inner),
        st.builds(lambda below: Relation(unit_aggregation=UnitAggregation(input=below)), inner),
        st.builds(lambda below: Relation(unit_ranking=UnitRanking(input=below, name="p")), inner),
        st.builds(
            lambda left, right, kind, m, n: Relation(
                unit_join=UnitJoin(left=left, right=right, kind=kind, max_left_rows=m, max_right_rows=n)
            ),
            inner,
            inner,
            st.sampled_from([UnitJoin.KIND_INNER, UnitJoin.KIND_LEFT]),
            st.integers(1, 1023),
            st.integers(1, 1023),
        ),
    ),
    max_leaves=6,
)


def most_rows(relation: Relation) -> int:
    """The rows that a unit has whose stored rows are as many as can be, where every condition is true."""
    match relation.WhichOneof("kind"):
        case "projection":
            return most_rows(relation.projection.input)
        case "unit_ranking":
            return most_rows(relation.unit_ranking.input)
        case "unit_aggregation":
            return min(1, most_rows(relation.unit_aggregation.input))
        case "unit_join":
            sides = relation.unit_join
            left = min(sides.max_left_rows, most_rows(sides.left))
            return left * min(sides.max_right_rows, most_rows(sides.right))
        case _:
            return ROWS


@given(relations)
def test_no_relation_gives_a_unit_more_rows_than_clipping_takes(relation: Relation) -> None:
    assert most_rows(relation) <= max_rows_bound(relation) <= ROWS
