"""One plan has one encoding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    Call,
    ColumnReference,
    Conditional,
    CountMeasure,
    Expression,
    Formula,
    GroupingSet,
    GroupKey,
    Measure,
    Membership,
    Negation,
    NonNullCount,
    NullTest,
    Operation,
    OutputOrdering,
    Plan,
    Presentation,
    Projection,
    Relation,
    Scan,
    Selection,
    Statistic,
    Value,
)

from enclave_sim.plan.canonical import MAX_PLAN_BYTES, NotCanonicalError, decode, encode, plan_hash
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.size import MAX_DEPTH, check_size

texts = st.text(max_size=8)
values = st.one_of(
    st.booleans().map(lambda v: Value(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: Value(int64_value=v)),
    st.floats(allow_nan=False).map(lambda v: Value(float64_value=v)),
    texts.map(lambda v: Value(string_value=v)),
)
columns = st.builds(ColumnReference, name=texts, type=st.integers(0, 6))
leaves = st.one_of(
    st.builds(Expression, literal=values),
    st.builds(Expression, column=columns),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Expression, negation=st.builds(Negation, operand=inner)),
        st.builds(Expression, null_test=st.builds(NullTest, operand=inner)),
        st.builds(Expression, membership=st.builds(Membership, operand=inner, values=st.lists(values, max_size=3))),
        st.builds(Expression, call=st.builds(Call, function=st.integers(0, 38), operands=st.lists(inner, max_size=2))),
    ),
    max_leaves=5,
)
relations = st.recursive(
    st.builds(Relation, scan=st.builds(Scan, table=texts)),
    lambda inner: st.builds(Relation, selection=st.builds(Selection, input=inner, condition=expressions)),
    max_leaves=3,
)
plans = st.builds(
    Plan,
    language_version=st.integers(0, 3),
    dataset=texts,
    dataset_version=st.binary(max_size=8),
    relation=st.none() | relations,
    grouping_sets=st.lists(st.builds(GroupingSet, keys=st.lists(st.integers(0, 3), max_size=3)), max_size=2),
    fraction_bits=st.integers(0, 20),
    epsilon=st.floats(allow_nan=False),
)


@settings(deadline=None)
@given(plans)
def test_decoding_gives_back_what_was_encoded(plan: Plan) -> None:
    data = encode(plan)
    assert decode(data) == plan
    assert encode(decode(data)) == data


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_one_plan_or_none(data: bytes) -> None:
    try:
        plan = decode(data)
    except NotCanonicalError:
        return
    assert encode(plan) == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff", "no message"),
        (b"\x08\x00", "a default value written out"),
        (b"\x08\x81\x00", "a number longer than it needs to be"),
        (b"\x10\x01\x08\x01", "field 2 of the wrong type"),
        (b"\x12\x01a\x08\x01", "fields out of order"),
        (b"\x08\x01\x08\x01", "a field twice"),
        (b"\x08\x01\xf8\x3f\x01", "an unknown field"),
        (b"\x2a\x00", "the filter of the first version"),
        (b"\x22\x03\xf8\x3f\x01", "an unknown field inside the relation"),
    ],
)
def test_other_encodings_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotCanonicalError):
        decode(data)


def test_a_plan_has_a_largest_size() -> None:
    with pytest.raises(NotCanonicalError, match="at most"):
        decode(encode(Plan(dataset="x" * MAX_PLAN_BYTES)))


def deep(depth: int) -> Expression:
    """Conditionals inside one another: the kind that takes most messages a step. `depth` messages in all."""
    expression = Expression(literal=Value(bool_value=True))
    for _ in range((depth - 2) // 3):
        branch = Conditional.Branch(condition=expression, result=Expression(literal=Value(bool_value=True)))
        expression = Expression(conditional=Conditional(branches=[branch]))
    for _ in range((depth - 2) % 3 // 2):
        expression = Expression(negation=Negation(operand=expression))
    return expression


def deep_formula(depth: int) -> Formula:
    formula = Formula(measure=Measure(count=CountMeasure()))
    for _ in range((depth - 3) // 2):
        formula = Formula(operation=Operation(operands=[formula]))
    return formula


def mixed(depth: int) -> Relation:
    """Relations inside one another, and at the bottom an expression."""
    relation = Relation(selection=Selection(condition=deep(50)))
    for _ in range((depth - 52) // 2):
        relation = Relation(projection=Projection(input=relation))
    return relation


DEEPEST: dict[str, Callable[[], Plan]] = {
    "a term": lambda: Plan(statistics=[Statistic(non_null_count=NonNullCount(term=deep(MAX_DEPTH)))]),
    "a filter": lambda: Plan(statistics=[Statistic(filter=deep(MAX_DEPTH))]),
    "a key": lambda: Plan(group_by=[GroupKey(expression=deep(MAX_DEPTH))]),
    "a relation with an expression": lambda: Plan(relation=mixed(MAX_DEPTH)),
    "an order": lambda: Plan(presentation=Presentation(order_by=[OutputOrdering(formula=deep_formula(MAX_DEPTH))])),
}


@pytest.mark.parametrize("make", DEEPEST.values(), ids=DEEPEST.keys())
def test_the_deepest_that_is_allowed_can_be_decoded(make: Callable[[], Plan]) -> None:
    plan = make()
    assert decode(encode(plan)) == plan


@pytest.mark.parametrize(("make", "deepest"), [(deep, MAX_DEPTH), (mixed, MAX_DEPTH), (deep_formula, MAX_DEPTH - 1)])
def test_what_is_deeper_is_refused(make: Callable[[int], Message], deepest: int) -> None:
    check_size(make(deepest), "here", max_parts=1000)
    with pytest.raises(PlanError, match="deep"):
        check_size(make(deepest + 3), "here", max_parts=1000)


def test_what_has_more_parts_is_refused() -> None:
    check_size(deep(50), "here", max_parts=82)
    with pytest.raises(PlanError, match="more than 81 parts"):
        check_size(deep(50), "here", max_parts=81)


def test_the_hash_names_the_bytes(plan: Plan) -> None:
    data = encode(plan)
    assert len(plan_hash(data)) == 32
    assert plan_hash(data) != plan_hash(data + b"\x00")
