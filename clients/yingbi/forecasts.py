"""What can be said of an answer before it is asked: the errors that its numbers will have. Pure; of the plan alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yingbi import quality
from yingbi.answer import Column, columns_of
from yingbi.api.v1.plan_pb2 import BoundedSum, Measure, Plan
from yingbi.cells import Cell, Layout, PlanError, Row
from yingbi.measures import Measures
from yingbi.models.in_rounds import foretold_of
from yingbi.models.kinds import check_model, foretold, lines_of, noise_by_name
from yingbi.plan_reader import Reader, estimate_of, kind_of, labels_of
from yingbi.quantile_forecasts import draws_for, expected_error
from yingbi.rounds import check_round
from yingbi.uncertain import Linear, Number, Ratio

FIT_SIZES = (1_000, 10_000, 100_000)
"""Units that the errors of coefficients are foretold for."""


@dataclass(frozen=True)
class AverageError:
    """The standard error that a column will have over `rows` rows; None where it cannot be told."""

    column: str
    rows: int
    std_error: float | None


@dataclass(frozen=True)
class Forecast:
    """What can be said before anything is spent: a standard error for each row and output.

    `groups` are the keys of every row to come, in the plan's order, None for those that a grouping set lacks, and
    then what keys are shown as where that is something else; HAVING, QUALIFY, ORDER BY and LIMIT are left out,
    since they depend on the answer. `std_errors` has None for keys and for all that depends on the data. For those,
    `average_errors` tells the error by size of group: for means, ratios of sums and counts, and quantiles, as if each
    row counted in full in all of the column's statistics, with values in the middle of their range, or spread evenly
    over it for quantiles, whose errors are simulated (`quantile_forecasts`) and so right within 10 % for such rows.
    Where there are several grouping sets, it is for rows of the fewest groups.
    """

    columns: tuple[Column, ...]
    groups: tuple[tuple[Cell, ...], ...]
    std_errors: tuple[tuple[float | None, ...], ...]
    average_errors: tuple[AverageError, ...]
    keys: tuple[int | None, ...]
    """Of each column: its place in `groups`; None for what is no key."""


def predicted_errors(plan: Plan, group_sizes: Sequence[int] = (100, 1_000, 10_000)) -> Forecast:
    """The standard errors that the answer to `plan` will have, before it is asked.

    Raises:
        PlanError: the plan is not one this version can read.
    """
    reader = Reader.of(plan)
    if plan.HasField("fit"):
        return _foretold_rounds(plan) if plan.fit.HasField("round") else _foretold_coefficients(plan)
    if plan.HasField("evaluation"):
        return _foretold_measures(plan)
    places = list(reader.layout.places())
    labels = [labels_of(reader.layout, output) if output.labels else None for output in plan.outputs]
    try:
        errors = _foretold_errors(reader)
        averages = tuple(_average_errors(reader, errors, reader.layout.finest, group_sizes)) if places else ()
    except OverflowError as error:
        raise PlanError("the plan's scale gives a number that is not finite") from error
    return Forecast(
        columns_of(plan),
        tuple((*keys, *_labelled(plan, labels, keys)) for keys, _ in places),
        errors,
        averages,
        tuple(_places_of_keys(plan)),
    )


def _foretold_measures(plan: Plan) -> Forecast:
    """The noise of everybody's measures by how many persons there are, for a model as `quality.expected` has it."""
    quality.check_evaluation(plan)
    found = {units: quality.expected(plan, units).everybody.measures for units in FIT_SIZES}
    names = list(found[FIT_SIZES[0]])
    return Forecast(
        columns_of(plan),
        tuple((quality.EVERYBODY, name) for name in names),
        tuple((None, None, None) for _ in names),
        tuple(AverageError(name, units, found[units][name].noise_error) for name in names for units in FIT_SIZES),
        (0, 1, None),
    )


def _foretold_coefficients(plan: Plan) -> Forecast:
    """The noise of a model's numbers by how many units there are, of independent columns spread evenly."""
    check_model(plan)
    found = {units: noise_by_name(foretold(plan, units)) for units in FIT_SIZES}
    lines, columns = lines_of(foretold(plan, FIT_SIZES[0])), columns_of(plan)
    keys = [place for place, column in enumerate(columns) if column.kind == "key"]
    return Forecast(
        columns,
        tuple(each.keys for each in lines),
        tuple((None,) * len(columns) for _ in lines),
        tuple(AverageError(name, units, found[units][name]) for name in found[FIT_SIZES[0]] for units in FIT_SIZES),
        tuple(place if place in keys else None for place in range(len(columns))),
    )


def _foretold_rounds(plan: Plan) -> Forecast:
    """The same of a model in rounds."""
    check_round(plan)
    found = {units: dict(foretold_of(plan, units)) for units in FIT_SIZES}
    names, columns = list(found[FIT_SIZES[0]]), columns_of(plan)
    keys = len(columns) - 1
    return Forecast(
        columns,
        tuple((*("each",) * (keys - 1), name) for name in names),
        tuple((None,) * len(columns) for _ in names),
        tuple(AverageError(name, units, found[units][name]) for name in names for units in FIT_SIZES),
        (*range(keys), None),
    )


def _labelled(plan: Plan, labels: Sequence[dict[Cell, Cell] | None], keys: tuple[Cell, ...]) -> Iterator[Cell]:
    for output, of_output in zip(plan.outputs, labels, strict=True):
        if of_output is not None:
            yield of_output.get(keys[output.key])


def _places_of_keys(plan: Plan) -> Iterator[int | None]:
    """Of each column: where `Forecast.groups` has it."""
    place = len(plan.group_by)
    for output in plan.outputs:
        if output.WhichOneof("kind") != "key":
            yield None
        elif output.labels:
            yield place
            place += 1
        else:
            yield output.key


def _foretold_errors(reader: Reader) -> tuple[tuple[float | None, ...], ...]:
    """Of each row: the errors of numbers that are linear in the cells, the same whatever the cells are.

    What is made of several rows is foretold where all rows are kept and their order is public.
    """
    layout = reader.layout
    if not reader.windows:
        by_set = [_linear_errors(reader, _made_up(layout, number, 0)) for number in range(len(layout.sets))]
        return tuple(by_set[number] for number in layout.set_of_rows())
    cells = _made_up(layout, 0, 0).cells
    where = enumerate(zip(layout.places(), layout.parts(), strict=True))
    rows = [Row(keys, leaves, cells, place, parts) for place, ((keys, leaves), parts) in where]
    if reader.presentation.having is None:
        reader.compute(rows, public=True)
    return tuple(_linear_errors(reader, row) for row in rows)


def _linear_errors(reader: Reader, row: Row) -> tuple[float | None, ...]:
    found = (None if number is None else number(row) for number in reader.numbers)
    return tuple(estimate_of(number).std_error if isinstance(number, Linear) else None for number in found)


def _average_errors(
    reader: Reader, errors: Sequence[Sequence[float | None]], finest: int, group_sizes: Sequence[int]
) -> Iterator[AverageError]:
    plan = reader.layout.plan
    draws = _draws(reader, len(group_sizes))
    foretold = [any(of_row[column] is not None for of_row in errors) for column in range(len(plan.outputs))]
    for output, number, is_known in zip(plan.outputs, reader.numbers, foretold, strict=True):
        # Of a median over blocks no number of rows tells.
        if number is None or is_known or kind_of(output) in ("rank", "median"):
            continue
        for rows in group_sizes:
            if kind_of(output) == "quantile":
                yield AverageError(output.name, rows, _quantile_error(reader, output.measure, finest, rows, draws))
                continue
            found = number(_made_up(reader.layout, finest, rows))
            told = _can_be_told(plan, found)
            yield AverageError(output.name, rows, estimate_of(found).std_error if told else None)


def _can_be_told(plan: Plan, number: Number | None) -> bool:
    """Whether the error of what is no quantile follows from the number of rows.

    A ratio's does unless it has units in it, of which nobody knows how many rows they have.
    """
    if not isinstance(number, Ratio):
        return False
    sources = (*number.numerator.noise, *number.denominator.noise)
    return all(plan.statistics[source.statistic].WhichOneof("kind") != "distinct_units" for source in sources)


def _quantile_error(reader: Reader, measure: Measure, finest: int, rows: int, draws: int) -> float | None:
    question, leaves = Measures(reader.layout).question(measure.quantile), reader.layout.leaves_of(finest)
    deviation = reader.layout.deviation(measure.quantile.range_counts) * math.sqrt(leaves)
    error = expected_error(question, rows, deviation, draws)
    return error if error is not None and math.isfinite(error) else None


def _draws(reader: Reader, sizes: int) -> int:
    outputs = [output for output in reader.layout.plan.outputs if kind_of(output) == "quantile"]
    widths = (reader.layout.widths[output.measure.quantile.range_counts] for output in outputs)
    return draws_for(sizes * sum(widths))


def _made_up(layout: Layout, number: int, rows: int) -> Row:
    """A row of a grouping set, of so many rows of full weight.

    Their values are in the middle of their range, or spread evenly over it.
    """
    full = rows / layout.step if layout.step else 0.0
    cells: list[Sequence[float]] = []
    for statistic, width in zip(layout.plan.statistics, layout.widths, strict=True):
        match statistic.WhichOneof("kind"):
            case "range_counts":
                tree = statistic.range_counts
                sizes = (tree.branching**level for level in range(1, tree.levels + 1))
                cells.append([full / size for size in sizes for _ in range(size)])
            case "bounded_sum":
                cells.append([full * _middle(statistic.bounded_sum)])
            case "unit_norms":
                cells.append([0.0] * width)
            case _:
                cells.append([full] * width)
    return Row((), layout.leaves_of(number), tuple(cells), set=number)


def _middle(shape: BoundedSum) -> float:
    """The term of a value in the middle of its range."""
    term = ((shape.lower + shape.upper) / 2 - shape.centre) / shape.half_range if shape.half_range else 0.0
    return term if math.isfinite(term) else 0.0
