"""Answers of plans that measure one table by different keys, and plans of that kind that are forged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_plans import count, formula, mean, plan, rows, total, units  # type: ignore[import-not-found]
from yingbi.answer import PlanError, check_readable, table_of
from yingbi.api.v1.plan_pb2 import GroupingSet, Plan, Statistic, Window
from yingbi.forecasts import predicted_errors

KEYS = [("a", "b"), ("x", "y", "z")]
SETS = [(0, 1), (0,), ()]


def by(statistic: Statistic, *keys: int, sigma: int = 600) -> Statistic:
    statistic.marginal.CopyFrom(GroupingSet(keys=keys))
    statistic.sigma = sigma
    return statistic


def made(*statistics: Statistic) -> Plan:
    found: Plan = plan(statistics or (rows(), by(rows(), 0), by(rows())), [0, 1, count(0)], KEYS, SETS)
    return found


def test_what_agrees_is_left_as_it_is() -> None:
    opened = [64 * number for number in (1, 2, 3, 4, 5, 6, 6, 15, 21)]
    table = table_of(made(), opened)
    assert [row[2] for row in table.rows] == pytest.approx([1, 2, 3, 4, 5, 6, 6, 15, 21])
    assert [row[0] for row in table.rows[-3:]] == ["a", "b", None]


def test_what_does_not_agree_is_divided_among_the_parts() -> None:
    """Six groups of one noise say 0, their sum with the same noise says 7: each is 1 of 6 + 1 parts."""
    table = table_of(made(rows(), by(rows())), [0] * 6 + [7 * 64])
    assert [row[2] for row in table.rows] == pytest.approx([1] * 6 + [3, 3, 6])


def test_a_measure_may_name_any_of_the_marginals() -> None:
    one, other = made(), made()
    other.outputs[2].measure.count.statistic = 2
    opened = list(range(0, 900, 100))
    assert table_of(one, opened) == table_of(other, opened)


def test_columns_of_one_table_share_their_noise() -> None:
    shown = [formula("SUBTRACT", count(0), count(1)), formula("ADD", count(0), count(2))]
    forecast = predicted_errors(plan((rows(), by(rows(), 0), by(rows())), [*shown, count(0)], KEYS, SETS))
    for difference, both, single in forecast.std_errors:
        assert difference == 0
        assert both == pytest.approx(2 * (single or 0))


def test_a_mean_is_of_two_tables() -> None:
    asked = plan((total(), rows(), by(rows(), 0), by(total(), 0)), [mean(0, 1)], KEYS, SETS)
    found = table_of(asked, [0] * 6 + [64_000] * 6 + [192_000] * 2 + [0] * 2)
    assert [row[0] for row in found.rows] == pytest.approx([50] * 9)


def test_the_rest_is_in_totals_alone() -> None:
    asked = plan((rows(), by(rows(), 0)), [0, 1, count(0)], KEYS, [(0, 1), (0,), (1,), ()])
    for key in asked.group_by:
        key.rest = True
    opened = [64 * number for number in (1, 2, 3, 4, 5, 6, 6, 15)]
    rows_ = table_of(asked, opened).rows
    assert [(a, b, round(n)) for a, b, n in rows_ if isinstance(n, float)] == [
        ("a", "x", 1), ("a", "y", 2), ("a", None, 6), (None, "x", 5), (None, "y", 7), (None, None, 21),
    ]  # fmt: skip
    assert predicted_errors(asked).groups == tuple((a, b) for a, b, _ in rows_)


def _no_noise(asked: Plan) -> None:
    asked.statistics[1].sigma = 0


def _twice(asked: Plan) -> None:
    asked.statistics[1].marginal.CopyFrom(asked.statistics[2].marginal)


def _of_units(asked: Plan) -> None:
    asked.statistics[1].CopyFrom(by(units(), 0))


def _no_such_key(asked: Plan) -> None:
    asked.statistics[1].marginal.keys.append(7)


def _not_covered(asked: Plan) -> None:
    del asked.statistics[0]


def _no_values(asked: Plan) -> None:
    del asked.group_by[1].values[:]


def _compared(asked: Plan) -> None:
    asked.outputs[2].formula.window.CopyFrom(Window(function=Window.FUNCTION_ROW_NUMBER))


@pytest.mark.parametrize("change", [_no_noise, _twice, _of_units, _no_such_key, _not_covered, _no_values, _compared])
def test_what_makes_no_table_is_not_read(change: Callable[[Plan], None]) -> None:
    asked = made()
    check_readable(asked)
    change(asked)
    with pytest.raises(PlanError):
        check_readable(asked)


def test_a_vector_of_another_length_is_no_answer() -> None:
    with pytest.raises(PlanError, match="9"):
        table_of(made(), [0] * 18)
