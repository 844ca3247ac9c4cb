"""Grouping sets add groups up; HAVING, ORDER BY, LIMIT and OFFSET choose among rows, and nothing else."""

from __future__ import annotations

import math

import made_plans as made  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_plans import formula, grid
from yingbi.answer import PlanError, table_of
from yingbi.api.v1.plan_pb2 import Formula, OutputOrdering, Plan
from yingbi.forecasts import predicted_errors

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
COUNT = made.count(0)
NULL = formula("DIVIDE", 1, 0)
TRUE, FALSE = formula("LESS", 1, 2), formula("LESS", 2, 1)
UNKNOWN = formula("LESS", NULL, 1)


def letters(*sets: list[int], **presentation: object) -> Plan:
    """COUNT(*) by letter and sign, and a half of it that is NULL below 3."""
    half = formula("SQUARE_ROOT", formula("SUBTRACT", COUNT, 3))
    plan: Plan = made.plan([made.rows()], [0, 1, COUNT, half], keys=["abc", "+-"], sets=sets)
    for name, item in presentation.items():
        if isinstance(item, list):
            getattr(plan.presentation, name).extend(item)
        elif isinstance(item, int):
            setattr(plan.presentation, name, item)
        else:
            getattr(plan.presentation, name).CopyFrom(item)
    return plan


CELLS = grid(4, 1, 2, 5, 12, 3)


def shown(plan: Plan) -> list[str]:
    """The keys of the rows shown, `.` for one that is missing."""
    return ["".join(str(key or ".") for key in row[:2]) for row in table_of(plan, CELLS).rows]


def test_without_sets_there_is_a_row_for_every_group() -> None:
    assert shown(letters()) == ["a+", "a-", "b+", "b-", "c+", "c-"]


def test_each_set_has_its_rows_and_missing_keys_are_null() -> None:
    table = table_of(letters([0, 1], [0], [1], []), CELLS)
    assert shown(letters([0, 1], [0], [1], [])) == [
        "a+", "a-", "b+", "b-", "c+", "c-", "a.", "b.", "c.", ".+", ".-", "..",
    ]  # fmt: skip
    assert [row[2] for row in table.rows] == [4, 1, 2, 5, 12, 3, 5, 7, 15, 18, 9, 27]
    assert table.rows[-1][:2] == (None, None)


def test_the_noise_of_added_groups_adds_in_quadrature() -> None:
    table = table_of(letters([0, 1], [0], [1], []), CELLS)
    errors = [row[2] for row in table.std_errors]
    leaves = [1] * 6 + [2] * 3 + [3] * 2 + [6]
    assert errors == pytest.approx([ERROR * math.sqrt(each) for each in leaves])
    assert predicted_errors(letters([0, 1], [0], [1], [])).std_errors[-1][2] == pytest.approx(errors[-1])
    assert predicted_errors(letters([0, 1], [0], [1], [])).groups[6] == ("a", None)


def test_trees_are_added_up_node_by_node() -> None:
    plan = made.plan([made.ranges(2, 1, 0, 10)], [made.quantile(0, 0.5)], keys=["ab"], sets=[[]])
    assert table_of(plan, grid(100, 300, 500, 100)).rows[0][0] == pytest.approx(10 / 2 * 500 / 600)


@given(st.sets(st.sampled_from(range(3))), st.lists(st.integers(-50, 50), min_size=24, max_size=24))
def test_rows_of_any_set_add_up_to_the_whole(keys: set[int], cells: list[int]) -> None:
    plan = made.plan([made.rows()], [COUNT], keys=["ab", "xyz", "1234"], sets=[sorted(keys)])
    table = table_of(plan, cells)
    assert len(table.rows) == math.prod((2, 3, 4)[key] for key in keys)
    assert sum(row[0] for row in table.rows) == sum(cells) * made.STEP  # type: ignore[misc]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (formula("GREATER", COUNT, 3), ["a+", "b-", "c+"]),
        (formula("GREATER_OR_EQUAL", COUNT, 3), ["a+", "b-", "c+", "c-"]),
        (formula("EQUAL", COUNT, 5), ["b-"]),
        (formula("NOT_EQUAL", COUNT, 5), ["a+", "a-", "b+", "c+", "c-"]),
        (formula("LESS", COUNT, formula("NEGATE", -2)), ["a-"]),
        (formula("LESS_OR_EQUAL", COUNT, 2), ["a-", "b+"]),
        (formula("AND", formula("LESS", COUNT, 5), formula("GREATER", COUNT, 2)), ["a+", "c-"]),
        (formula("OR", formula("LESS", COUNT, 2), formula("GREATER", COUNT, 10)), ["a-", "c+"]),
        (formula("NOT", formula("LESS", COUNT, 5)), ["b-", "c+"]),
        (formula("IS_NULL", formula("SQUARE_ROOT", formula("SUBTRACT", COUNT, 3))), ["a-", "b+"]),
        (formula("LESS", formula("SQUARE_ROOT", formula("SUBTRACT", COUNT, 3)), 1.2), ["a+", "c-"]),
    ],
)
def test_having_keeps_rows_for_which_it_is_true(condition: Formula, rows: list[str]) -> None:
    assert shown(letters(having=condition)) == rows


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (TRUE, True), (FALSE, False), (UNKNOWN, False), (formula("NOT", UNKNOWN), False),
        (formula("AND", TRUE, UNKNOWN), False), (formula("NOT", formula("AND", FALSE, UNKNOWN)), True),
        (formula("OR", TRUE, UNKNOWN), True), (formula("OR", FALSE, UNKNOWN), False),
        (formula("NOT", formula("OR", FALSE, UNKNOWN)), False), (formula("IS_NULL", UNKNOWN), True),
        (formula("IS_NULL", TRUE), False), (formula("IS_NULL", NULL), True),
    ],
)  # fmt: skip
def test_conditions_have_three_values(condition: Formula, kept: bool) -> None:
    assert bool(shown(letters(having=condition))) is kept


def order(output: int | Formula, *, descending: bool = False, nulls_first: bool = False) -> OutputOrdering:
    if isinstance(output, Formula):
        return OutputOrdering(formula=output, descending=descending, nulls_first=nulls_first)
    return OutputOrdering(output=output, descending=descending, nulls_first=nulls_first)


@pytest.mark.parametrize(
    ("orderings", "rows"),
    [
        ([order(2)], ["a-", "b+", "c-", "a+", "b-", "c+"]),
        ([order(2, descending=True)], ["c+", "b-", "a+", "c-", "b+", "a-"]),
        ([order(1), order(2)], ["b+", "a+", "c+", "a-", "c-", "b-"]),
        ([order(1), order(0, descending=True)], ["c+", "b+", "a+", "c-", "b-", "a-"]),
        ([order(3)], ["c-", "a+", "b-", "c+", "a-", "b+"]),
        ([order(3, descending=True)], ["c+", "b-", "a+", "c-", "a-", "b+"]),
        ([order(3, nulls_first=True)], ["a-", "b+", "c-", "a+", "b-", "c+"]),
        ([order(3, descending=True, nulls_first=True)], ["a-", "b+", "c+", "b-", "a+", "c-"]),
        ([order(formula("ABSOLUTE", formula("SUBTRACT", COUNT, 4)))], ["a+", "b-", "c-", "b+", "a-", "c+"]),
    ],
)
def test_rows_are_ordered_and_equal_ones_keep_their_order(orderings: list[OutputOrdering], rows: list[str]) -> None:
    assert shown(letters(order_by=orderings)) == rows


def test_missing_keys_are_ordered_as_null() -> None:
    assert shown(letters([0], [], order_by=[order(0, descending=True)])) == ["c.", "b.", "a.", ".."]
    assert shown(letters([0], [], order_by=[order(0, nulls_first=True)])) == ["..", "a.", "b.", "c."]


def test_limit_and_offset_cut_after_ordering() -> None:
    by_count = [order(2, descending=True)]
    assert shown(letters(order_by=by_count, limit=2)) == ["c+", "b-"]
    assert shown(letters(order_by=by_count, limit=2, offset=1)) == ["b-", "a+"]
    assert shown(letters(offset=4)) == ["c+", "c-"]
    assert shown(letters(limit=0)) == []
    assert shown(letters(offset=2**64 - 1, limit=2**64 - 1)) == []


def test_errors_and_intervals_are_cut_with_the_rows() -> None:
    table = table_of(letters(having=formula("GREATER", COUNT, 3), order_by=[order(2)], limit=2), CELLS)
    assert len(table.rows) == len(table.std_errors) == len(table.intervals) == 2
    for row, ends in zip(table.rows, table.intervals, strict=True):
        assert ends[2] is not None
        assert sum(ends[2]) / 2 == pytest.approx(row[2])


def test_a_preview_has_all_rows() -> None:
    plan = letters(having=FALSE, limit=0)
    assert len(predicted_errors(plan).groups) == len(predicted_errors(plan).std_errors) == 6


@pytest.mark.parametrize(
    "plan",
    [
        letters(having=COUNT_FORMULA)
        for COUNT_FORMULA in (made.part(COUNT), made.part(1), Formula(), formula("ADD", COUNT, 1), formula("AND"))
    ]
    + [
        letters([2]),
        letters(order_by=[order(4)]),
        letters(order_by=[OutputOrdering()]),
        letters(order_by=[order(TRUE)]),
        letters(having=formula("AND", COUNT, TRUE)),
        letters(having=formula("NOT", TRUE, TRUE)),
        letters(having=formula("LESS", 1, 2, 3)),
    ],
)
def test_a_presentation_that_means_nothing_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError):
        table_of(plan, CELLS)
