"""A preview tells the error that the answer will have, as far as that is public."""

from __future__ import annotations

import math
import random
import statistics

import made_plans as made  # type: ignore[import-not-found]
import pytest
from made_plans import formula, grid
from yingbi.answer import columns_of, table_of
from yingbi.display import average_sentences, cell_text, forecast_rows, key_text
from yingbi.forecasts import predicted_errors

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
COUNT, SUM, UNITS = made.count(0), made.sum_of(1, 0), made.count(2)
STATISTICS = [made.non_null(), made.total(0, 100), made.units(), made.ranges(4, 2, 0, 16)]
LINEAR = formula("SUBTRACT", formula("DIVIDE", SUM, 1000), COUNT)
RATIO = formula("DIVIDE", SUM, COUNT)
PLAN = made.plan(
    STATISTICS,
    [
        0, COUNT, SUM, made.mean(1, 0), made.quantile(3, 0.5), LINEAR, RATIO,
        formula("DIVIDE", COUNT, UNITS), formula("SQUARE_ROOT", COUNT),
    ],
    keys=["ab"],
)  # fmt: skip
MEAN, MEDIAN, FORMULA, SHARE, PER_UNIT, ROOT = ("c3", "c4", "c5", "c6", "c7", "c8")


def errors_by_size(column: str) -> list[float | None]:
    return [entry.std_error for entry in predicted_errors(PLAN).average_errors if entry.column == column]


def test_columns_are_told_by_kind() -> None:
    kinds = ["key", "count", "sum", "mean", "quantile", *["formula"] * 4]
    assert [column.kind for column in columns_of(PLAN)] == kinds


def test_what_is_linear_is_told_exactly_for_each_row() -> None:
    answer = table_of(PLAN, [1000] * 2 * 23)
    for foreseen, actual in zip(predicted_errors(PLAN).std_errors, answer.std_errors, strict=True):
        assert foreseen[0] is None
        assert (foreseen[1], foreseen[2], foreseen[5]) == (actual[1], actual[2], actual[5])
        assert all(foreseen[place] is None for place in (3, 4, 6, 7, 8))


def test_a_ratio_of_a_sum_is_told_as_its_mean_is() -> None:
    assert errors_by_size(SHARE) == pytest.approx(errors_by_size(MEAN))
    assert errors_by_size(MEAN)[2] == pytest.approx(50 * ERROR / 10_000)


def test_a_ratio_is_told_for_values_in_the_middle_of_their_range() -> None:
    around_zero = made.total(0, 100)
    around_zero.bounded_sum.centre, around_zero.bounded_sum.half_range = 0, 100
    ratio = formula("DIVIDE", made.sum_of(1), COUNT)
    foreseen = predicted_errors(made.plan([made.rows(), around_zero], [ratio])).average_errors[2].std_error
    answer = table_of(made.plan([made.rows(), around_zero], [ratio]), grid(10_000, 5_000))
    assert answer.rows[0][0] == 50
    assert foreseen == pytest.approx(answer.std_errors[0][0])


def test_what_depends_on_the_data_is_not_told() -> None:
    assert errors_by_size(PER_UNIT) == [None, None, None]
    assert errors_by_size(ROOT) == [None, None, None]


def test_a_quantile_is_told_for_rows_that_are_spread_evenly() -> None:
    """As many answers show it; `test_client_quantile_errors` has other trees and quantiles."""
    one_group = made.plan(STATISTICS, [made.quantile(3, 0.5)])
    noise, nodes = random.Random(4), [2500.0] * 4 + [625.0] * 16
    medians = []
    for _ in range(1000):
        noisy = (node + noise.gauss(0, ERROR) for node in nodes)
        median = table_of(one_group, grid(10_000, 0, 0, *noisy)).rows[0][0]
        assert isinstance(median, float)
        medians.append(median)
    assert errors_by_size(MEDIAN)[2] == pytest.approx(statistics.pstdev(medians), rel=0.1)


def test_subtotals_are_rows_of_their_own() -> None:
    plan = made.plan(STATISTICS, [1, 0, COUNT], keys=["ab", "xy"], sets=[[0, 1], [1], []])
    forecast = predicted_errors(plan)
    assert len(forecast.groups) == len(forecast.std_errors) == 4 + 2 + 1
    assert [row[2] for row in forecast.std_errors] == pytest.approx([ERROR] * 4 + [ERROR * 2**0.5] * 2 + [ERROR * 2])
    assert [row[:2] for row in forecast_rows(forecast)][3:] == [["y", "b"], ["x", "–"], ["y", "–"], ["–", "–"]]


def test_sentences_say_what_is_told_by_size_and_what_is_not() -> None:
    sentences = dict(line.split(": ", 1) for line in average_sentences(predicted_errors(PLAN)))
    assert set(sentences) == {MEAN, MEDIAN, SHARE, PER_UNIT, ROOT}
    assert sentences[ROOT] == "± depends on the data; the answer tells it"
    assert sentences[SHARE] == sentences[MEAN]
    row = forecast_rows(predicted_errors(PLAN))[0]
    assert row[0] == "a"
    assert [row[place] for place in (3, 4, 6, 8)] == ["± by size", "± by size", "± by size", "± ?"]


def test_keys_read_alike_whatever_their_type_and_numbers_have_separators() -> None:
    assert [key_text(value) for value in (1400, 1400.0, 12345.678, 0.1 + 0.2, -3.0, None)] == [
        "1400", "1400", "12345.678", "0.3", "-3", "–",
    ]  # fmt: skip
    assert cell_text(1400.0, 1.0) == "1,400.0 ± 1.0"
