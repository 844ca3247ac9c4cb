"""How long texts can become, and what a plan may do with them: bounds that no row and no plan gets around."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_STRING, Call, Expression, Plan, Relation

from enclave_sim.plan import schema, text_work
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.functions import OF_ONE_TYPE, SIGNATURES
from enclave_sim.plan.text_work import MAX_TEXT, MAX_WORK, Text, check_expression_work, rows_of, total_work
from enclave_sim.plan.validation import check_plan
from tests.enclave_sim.engine.drawn import Tables
from tests.enclave_sim.engine.expressions import (
    call,
    case,
    column,
    column_type,
    compare,
    like,
    literal,
    look_up,
    one_of,
)
from tests.enclave_sim.engine.generated_relations import TABLES, Making, relations, tables
from tests.enclave_sim.engine.relations import aggregated, joined, measure, projected, ranked, scan, selected

from .conftest import price

VERSION = b"12345678901234567890123456789012"
LONGEST = 12
NOTE, DAYS = "note:string", "days:int64"
VISITS = scan("visits")


def declared(rows: int, titles: dict[str, list[str]] = TABLES) -> DatasetDeclaration:
    """Tables of which a unit has so many rows, with texts of up to 12 bytes."""
    found = DatasetDeclaration(privacy_unit="person")
    for name, columns in titles.items():
        table = TableDeclaration(name=name, max_rows_per_unit=rows)
        for title in columns:
            kind = column_type(title.split(":")[1])
            own = ColumnDeclaration(name=title.split(":")[0], type=kind, role=ColumnDeclaration.ROLE_ATTRIBUTE)
            if kind == COLUMN_TYPE_STRING:
                own.max_length = LONGEST
            table.columns.append(own)
        found.tables.append(table)
    return found


@pytest.fixture
def _without_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a bound that is too low is not hidden by what every unit may have anyway."""
    monkeypatch.setattr(schema, "LEAST_UNIT_BYTES", 0)


@pytest.mark.usefixtures("_without_the_least")
@settings(max_examples=30, deadline=None)
@given(drawn=tables(sizes=(12,), units=2), data=st.data())
def test_no_texts_of_a_unit_are_longer_than_what_is_known_of_them_before_a_row_is_seen(
    drawn: Tables, data: st.DataObject
) -> None:
    """Of any relation over any tables; by the reference engine."""
    made = data.draw(relations(Making(drawn), depth=3))
    known = rows_of(made.relation, declared(rows=12))
    for rows in made.rows.of_units.values():
        assert len(rows) <= known.rows
        for name in made.rows.columns:
            lengths = [len(value.encode()) for row in rows if isinstance(value := row[name], str)]
            text = known.texts.get(name, Text())
            assert max(lengths, default=0) <= text.longest
            assert sum(lengths) <= text.together


@pytest.mark.usefixtures("_without_the_least")
def test_a_unit_with_more_rows_than_declared_has_no_more_text() -> None:
    """What it may have together is what is declared, however many rows that is: also where rows are paired."""
    known = rows_of(joined(scan("visits"), scan("labs"), max_left_rows=50, max_right_rows=70), declared(rows=3))
    assert known.texts["s"].together == 3 * LONGEST * 70
    assert known.texts["w"].together == 3 * LONGEST * 50


@pytest.mark.usefixtures("_without_the_least")
def test_of_an_aggregate_of_all_rows_a_unit_has_one_text() -> None:
    longest = aggregated(scan("labs"), {}, measure("m", "maximum", "w:string"))
    assert rows_of(longest, declared(rows=9)).texts == {"m": Text(LONGEST, LONGEST)}
    of_keys = aggregated(scan("labs"), {"k": "k:int64"}, measure("m", "maximum", "w:string"))
    assert rows_of(of_keys, declared(rows=9)).texts == {"m": Text(LONGEST, 9 * LONGEST)}


CASE = case((compare(DAYS, "=", 1), column(NOTE)), otherwise=literal("abcde"))
TEXTS: dict[str, tuple[Expression, int, int]] = {
    "a column": (column(NOTE), 12, 120),
    "a constant": (literal("影"), 3, 30),
    "put together": (call("concatenate", NOTE, NOTE, literal("abc")), 27, 270),
    "cut out": (call("substring", NOTE, literal(1), literal(2)), 8, 80),
    "cut out, at most all of it": (call("substring", NOTE, literal(5), literal(1000)), 12, 120),
    "one or the other": (CASE, 12, 170),
    "the first that there is": (call("coalesce", NOTE, literal("abcde")), 12, 170),
    "a number": (call("to_string", DAYS), 20, 200),
    "looked up": (look_up(DAYS, {1: "a", 2: "abcdef", 3: None}, "string"), 6, 60),
    "in capitals": (call("upper", NOTE), 12, 120),
}


@pytest.mark.usefixtures("_without_the_least")
@pytest.mark.parametrize("name", TEXTS)
def test_how_long_texts_are(name: str) -> None:
    """Of one row, and of all of a unit that has ten."""
    expression, longest, together = TEXTS[name]
    over = projected(VISITS, {"x": expression})
    assert rows_of(over, declared(10, {"visits": [NOTE, DAYS]})).texts == {"x": Text(longest, together)}


def test_every_function_of_texts_has_its_steps() -> None:
    of_texts = {
        function
        for function, signatures in SIGNATURES.items()
        if any(COLUMN_TYPE_STRING in operands for operands in signatures)
    }
    assert of_texts | OF_ONE_TYPE | {Call.FUNCTION_CONCATENATE} == set(text_work._STEPS)


def lower(text: str | Expression = NOTE, times: int = 1) -> Expression:
    for _ in range(times):
        text = call("lower", text)
    return text if isinstance(text, Expression) else column(text)


def steps(expression: Expression, over: Relation = VISITS, declaration: DatasetDeclaration | None = None) -> int:
    return text_work.kept_work(expression, rows_of(over, declaration or clinic()))


def clinic() -> DatasetDeclaration:
    return declared(1000, {"visits": [NOTE, DAYS]})


def test_what_is_written_twice_is_counted_twice() -> None:
    once = steps(one_of(lower(), "b"))
    assert steps(call("concatenate", lower(), lower())) > 2 * once
    assert steps(lower(times=3)) - steps(lower(times=2)) == steps(lower(times=2)) - steps(lower())


def test_a_pattern_costs_what_it_may_have_to_go_back() -> None:
    plain, parts, far = (steps(like(NOTE, text)) for text in ("%a%", "%a_%" * 50, "%" + "a_" * 50 + "%"))
    assert plain < parts < far / 10


def test_a_long_list_of_constants_costs_more_than_a_short_one() -> None:
    many = [f"{number:012}" for number in range(500)]
    assert steps(one_of(NOTE, *many)) > 5 * steps(one_of(NOTE, "a"))


def test_what_was_looked_up_is_as_long_as_the_entries_say() -> None:
    found = look_up(DAYS, {1: "a", 2: "abcdef"}, "string")
    over = projected(VISITS, {"x": found})
    assert rows_of(over, clinic()).texts == {"x": Text(6, 6000)}


def test_numbers_cost_nothing() -> None:
    assert steps(call("add", DAYS, literal(1))) == 0
    assert rows_of(ranked(VISITS, "place", by=[DAYS]), clinic()).work == 0


WHERE: dict[str, Callable[[Expression], Relation]] = {
    "a condition": lambda text: selected(VISITS, one_of(text, "b")),
    "a column": lambda text: projected(VISITS, {"x": text}),
    "a key": lambda text: aggregated(VISITS, {"x": text}, measure("n", "count_rows")),
    "a measure": lambda text: aggregated(VISITS, {}, measure("n", "maximum", text)),
    "a filter": lambda text: aggregated(VISITS, {}, measure("n", "count_rows", where=one_of(text, "b"))),
    "an order": lambda text: ranked(VISITS, "n", by=[text]),
    "a partition": lambda text: ranked(VISITS, "n", by=[], within=[text]),
    "a condition of pairs": lambda text: joined(
        VISITS, projected(VISITS, {"y": DAYS}), on=one_of(text, "b"), max_left_rows=1, max_right_rows=1000
    ),
}


@pytest.mark.parametrize("place", WHERE)
def test_work_is_counted_wherever_an_expression_stands_in_a_relation(place: str) -> None:
    """25 steps a byte for LOWER, on 12,000 bytes or, of the floor, 16,384."""
    made = [rows_of(WHERE[place](lower(times=times)), clinic()).work for times in (1, 2)]
    assert made[1] - made[0] >= 25 * 12_000


OUTSIDE: dict[str, Callable[[Plan, Expression], object]] = {
    "a key": lambda plan, text: plan.group_by.add(expression=text),
    "a filter": lambda plan, text: plan.statistics.add().filter.CopyFrom(one_of(text, "b")),
    "a term": lambda plan, text: plan.statistics.add().non_null_count.term.CopyFrom(text),
    "a sum": lambda plan, text: plan.statistics.add().bounded_sum.term.CopyFrom(call("length", text)),
    "a tree": lambda plan, text: plan.statistics.add().range_counts.term.CopyFrom(call("length", text)),
    "a key of norms": lambda plan, text: plan.statistics.add().unit_norms.keys.append(text),
    "a vector of norms": lambda plan, text: (
        plan.statistics.add().unit_norms.vector.add().non_null_count.term.CopyFrom(text)
    ),
    "a key that is selected": lambda plan, text: plan.key_selection.keys.append(text),
}


@pytest.mark.parametrize("place", OUTSIDE)
def test_work_is_counted_wherever_an_expression_stands_in_a_plan(place: str) -> None:
    plan = Plan(relation=VISITS)
    assert total_work(plan, clinic()) == 0
    OUTSIDE[place](plan, lower())
    assert total_work(plan, clinic()) >= 25 * 12_000


def test_a_text_that_is_put_together_has_a_greatest_length() -> None:
    """Or an engine, which holds many rows at a time, could run out of memory for what they are."""
    declaration = clinic()
    declaration.tables[0].max_rows_per_unit = 1
    declaration.tables[0].columns[0].max_length = 2**16
    over, most = rows_of(VISITS, declaration), MAX_TEXT // 2**16
    check_expression_work(call("concatenate", *[NOTE] * most), over, "x")
    with pytest.raises(PlanError, match="puts together"):
        check_expression_work(call("concatenate", *[NOTE] * (most + 1)), over, "x")


def doubled(times: int) -> Relation:
    below = VISITS
    for _ in range(times):
        below = projected(below, {"note": call("concatenate", NOTE, NOTE)})
    return below


def test_texts_do_not_grow_without_end_from_projection_to_projection() -> None:
    works = [rows_of(doubled(times), clinic()).work for times in range(1, 7)]
    assert all(more > 1.9 * less for less, more in pairwise(works))


def test_an_enclave_refuses_a_plan_that_goes_through_too_much_text(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Whatever the gateway says: the declaration is the enclave's own."""
    note = next(each for each in declaration.tables[0].columns if each.name == "note")
    note.max_length = 50_000
    asked = Plan()
    asked.CopyFrom(plan)
    asked.statistics[0].filter.CopyFrom(one_of(lower(), "b"))
    price(asked)
    check_plan(asked, declaration, dataset_version=VERSION)
    assert MAX_WORK // 2 < total_work(asked, declaration) <= MAX_WORK
    asked.statistics[2].filter.CopyFrom(one_of(lower(), "c"))
    price(asked)
    with pytest.raises(PlanError, match=r"goes through one unit's texts in .* steps; 8,000,000 are allowed"):
        check_plan(asked, declaration, dataset_version=VERSION)
