"""Constants and the Python values that they stand for."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Value

from enclave_sim.plan import values


@settings(deadline=None)
@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.dates(),
        st.datetimes(),
    )
)
def test_python_values_round_trip(value: values.PythonValue) -> None:
    constant = values.from_python(value)
    assert values.to_python(constant) == value
    assert type(values.to_python(constant)) is type(value)
    assert values.is_valid(constant)


@settings(deadline=None)
@given(st.datetimes())
def test_iso_text_is_read_exactly(moment: datetime.datetime) -> None:
    assert values.to_python(values.parse_timestamp(moment.isoformat(" "))) == moment
    assert values.to_python(values.parse_date(moment.date().isoformat())) == moment.date()


@pytest.mark.parametrize("text", ["2024-02-30", "2024-1-1", "20240101", "tomorrow", "", "2024-01-01 00:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        values.parse_date(text)


@pytest.mark.parametrize("text", ["2024-01-01T25:00", "2024-01-01 00:00:00Z", "2024-01-01 00:00+08:00", "x"])
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        values.parse_timestamp(text)


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(float64_value=float("nan")),
        Value(float64_value=float("inf")),
        Value(date_days=10**8),
        Value(timestamp_micros=2**62),
    ],
)
def test_what_no_column_can_hold_is_invalid(value: Value) -> None:
    assert not values.is_valid(value)
