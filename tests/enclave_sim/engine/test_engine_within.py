"""Units that nothing weighs down are added up at once, the others clipped: together, what clipping all of them gives.

Where rows.c was not compiled, all units are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import Plan, Statistic

from enclave_sim.engine import native
from enclave_sim.engine.groups import Groups
from enclave_sim.engine.per_unit import Batch, Input, clipped_cells
from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.within import add_up_within

from .drawn import DISTINCT_UNITS, ROW_COUNT, bounded_sum, key, non_null, plan, range_counts

pytestmark = pytest.mark.skipif(not native.is_there(), reason="rows.c was not compiled: there is no C compiler")

SUM = bounded_sum("x:float64", -1, 1, 0, 1)
GROUPS = 3
CODES = [np.uint8, np.uint16, np.int32, np.int64]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 3),
        st.sampled_from([-5.0, -1.0, -0.3, 0.0, 0.5, 1.0, float("nan")]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def asked(statistics: Sequence[Statistic], max_rows: int = 1, max_groups: int = 1, joint_norm: int = 0) -> Plan:
    by = [key("g:int64", *range(GROUPS))]
    return plan(*statistics, by=by, max_rows=max_rows, max_groups=max_groups, joint_norm=joint_norm, fraction_bits=16)


def batch(units: Sequence[int], codes: NDArray[np.integer[Any]], inputs: Sequence[Input]) -> Batch:
    """Code 3 is in no group, and the groups of the others are not in the codes' order."""
    return Batch(np.array(units, np.int32), Groups(codes, np.array([1, 2, 0, -1])), inputs, is_sorted=True)


def both(question: Plan, rows: Batch) -> list[int]:
    total, others = add_up_within(question, rows)
    if others is not None:
        total += clipped_cells(question, others)
    cells: list[int] = total.tolist()
    return cells


@settings(max_examples=300)
@given(
    ROWS,
    st.sampled_from(CODES),
    st.integers(1, 7),
    st.integers(1, 3),
    st.one_of(st.just(0), st.integers(1, 200)),
    st.lists(st.sampled_from(["rows", "some", "sum", "units"]), min_size=1, max_size=4, unique=True),
)
def test_it_adds_up_to_what_clipping_all_units_gives(
    rows: list[tuple[int, int, float, bool]],
    kind: type[np.integer[Any]],
    max_rows: int,
    max_groups: int,
    joint_norm: int,
    chosen: list[str],
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    terms, masks = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    known: dict[str, tuple[Statistic, Input]] = {
        "rows": (ROW_COUNT, None),
        "some": (non_null("x:float64"), masks),
        "sum": (SUM, terms),
        "units": (DISTINCT_UNITS, None),
    }
    question = asked([known[name][0] for name in chosen], max_rows, max_groups, joint_norm)
    codes = np.array([row[1] for row in rows], kind)
    given_rows = batch([row[0] for row in rows], codes, [known[name][1] for name in chosen])
    assert both(question, given_rows) == clipped_cells(question, given_rows).tolist()


def left(question: Plan, units: Sequence[int], codes: Sequence[int]) -> int:
    """How many units are not found to be within."""
    inputs = [np.ones(len(units)) if each.HasField("bounded_sum") else None for each in question.statistics]
    _, others = add_up_within(question, batch(units, np.array(codes, np.uint8), inputs))
    return 0 if others is None else len(set(others.units.tolist()))


def test_a_unit_is_within_up_to_the_norm_of_its_rows_and_not_beyond() -> None:
    # 4² = 16 and 3² + 1² = 10 rows squared; five rows in no group, and two in one.
    units, codes = [0] * 4 + [1] * 4 + [2] * 7, [0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 3, 3, 3, 2, 2]
    for max_rows, expected in ((1, 3), (2, 2), (3, 2), (4, 0)):
        assert left(asked([ROW_COUNT], max_rows), units, codes) == expected
        assert left(asked([SUM, ROW_COUNT], max_rows), units, codes) == expected


def test_a_unit_is_within_up_to_the_number_of_its_groups() -> None:
    units, codes = [0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 3, 1]
    for max_groups, expected in ((1, 1), (2, 1), (3, 0)):
        assert left(asked([DISTINCT_UNITS], max_groups=max_groups), units, codes) == expected


def test_in_the_joint_vector_each_statistic_counts_as_if_its_values_were_the_largest() -> None:
    # Two statistics of three rows in a group: 2 · (16 · 3)² = 4,608, whose root is 67.9.
    units, codes = [0, 0, 0], [0, 0, 0]
    assert left(asked([ROW_COUNT, SUM], 1, joint_norm=67), units, codes) == 1
    assert left(asked([ROW_COUNT, SUM], 1, joint_norm=68), units, codes) == 0


def test_other_statistics_leave_all_units_to_clipping() -> None:
    question = asked([ROW_COUNT, range_counts("x:float64", 0, 1, 2, 2)], max_rows=100)
    total, others = add_up_within(question, batch([0, 1], np.array([0, 1], np.uint8), [None, np.array([0.1, 0.9])]))
    assert not total.any()
    assert others is not None
    assert len(others.units) == 2


def test_units_that_descend_are_refused() -> None:
    """One that comes back would be clipped twice, each time by itself."""
    with pytest.raises(EngineError):
        add_up_within(asked([ROW_COUNT]), batch([0, 1, 0], np.zeros(3, np.uint8), [None]))


ONE_SPAN = np.array([[0, 2]], np.int64)
STARTS = np.array([0, 1], np.int64)


@pytest.mark.parametrize("code", [2, -1, 2**40, -(2**63)])
def test_a_code_that_is_out_of_range_is_refused(code: int) -> None:
    rows = native.GroupedRows(np.array([0, code], np.int64), STARTS, 2)
    with pytest.raises(EngineError):
        rows.units_over(np.array([0, 0], np.int32), 1, 1, is_counted=False)
    with pytest.raises(EngineError):
        rows.count(None, ONE_SPAN)
    with pytest.raises(EngineError):
        rows.add_steps(SUM.bounded_sum, np.zeros(2), 16, ONE_SPAN)


@pytest.mark.parametrize("group", [3, -1, 2**62])
def test_a_group_that_is_out_of_range_is_refused(group: int) -> None:
    rows = native.GroupedRows(np.array([0, 0], np.uint8), np.array([0, group], np.int64), 2)
    with pytest.raises(EngineError):
        rows.units_over(np.array([0, 0], np.int32), 1, 1, is_counted=False)
    with pytest.raises(EngineError):
        rows.count(None, ONE_SPAN)
    with pytest.raises(EngineError):
        rows.add_steps(SUM.bounded_sum, np.zeros(2), 16, ONE_SPAN)


@pytest.mark.parametrize("span", [(-1, 1), (0, 3), (-(2**63), 2**63 - 1)])
def test_a_span_that_is_out_of_range_is_refused(span: tuple[int, int]) -> None:
    rows, spans = native.GroupedRows(np.zeros(2, np.uint8), STARTS, 2), np.array([span], np.int64)
    with pytest.raises(EngineError):
        rows.count(None, spans)
    with pytest.raises(EngineError):
        rows.add_steps(SUM.bounded_sum, np.zeros(2), 16, spans)


def test_arrays_of_different_lengths_are_refused() -> None:
    rows = native.GroupedRows(np.zeros(2, np.uint8), STARTS, 2)
    with pytest.raises(EngineError):
        rows.units_over(np.zeros(3, np.int32), 1, 1, is_counted=False)
    with pytest.raises(EngineError):
        rows.count(np.ones(1, np.bool_), ONE_SPAN)
    with pytest.raises(EngineError):
        rows.add_steps(SUM.bounded_sum, np.zeros(1), 16, ONE_SPAN)


@given(st.lists(st.floats(), max_size=20))
def test_nan_is_found(terms: list[float]) -> None:
    assert native.has_nan(np.array(terms, np.float64)) == bool(np.isnan(terms).any())
