"""One plan has one encoding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    ColumnReference,
    Expression,
    Membership,
    Negation,
    NullTest,
    Plan,
    Value,
)

from enclave_sim.plan.canonical import MAX_PLAN_BYTES, NotCanonicalError, decode, encode, plan_hash
from enclave_sim.plan.expressions import MAX_DEPTH

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
    st.builds(Expression, null_test=st.builds(NullTest, column=columns)),
    st.builds(Expression, membership=st.builds(Membership, column=columns, values=st.lists(values, max_size=3))),
)
filters = st.recursive(
    leaves, lambda inner: st.builds(Expression, negation=st.builds(Negation, operand=inner)), max_leaves=5
)
plans = st.builds(
    Plan,
    language_version=st.integers(0, 3),
    dataset=texts,
    dataset_version=st.binary(max_size=8),
    filter=st.none() | filters,
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
        (b"\x2a\x03\xf8\x3f\x01", "an unknown field inside the filter"),
    ],
)
def test_other_encodings_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotCanonicalError):
        decode(data)


def test_a_plan_has_a_largest_size() -> None:
    with pytest.raises(NotCanonicalError, match="at most"):
        decode(encode(Plan(dataset="x" * MAX_PLAN_BYTES)))


def test_the_deepest_filter_that_is_allowed_can_be_decoded() -> None:
    expression = Expression(null_test=NullTest(column=ColumnReference(name="a", type=COLUMN_TYPE_BOOL)))
    for _ in range(MAX_DEPTH - 1):
        expression = Expression(negation=Negation(operand=expression))
    plan = Plan(filter=expression)
    assert decode(encode(plan)) == plan


def test_the_hash_names_the_bytes(plan: Plan) -> None:
    data = encode(plan)
    assert len(plan_hash(data)) == 32
    assert plan_hash(data) != plan_hash(data + b"\x00")
