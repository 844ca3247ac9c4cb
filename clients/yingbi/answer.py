"""From a plan and its opened integers to the table that a person reads. Pure; needs nothing but the plan.

The noise of every opened integer is public (`cells.Layout.deviation`), so all errors and intervals follow from it
and from released values alone. `cells` says where integers lie, `measures` and `formulas` what they mean,
`uncertain` and `quantiles` how sure that is, `windows` what is made of several rows, `presentation` which of them
are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from yingbi import quality
from yingbi.api.v1.plan_pb2 import BoundedSum, Measure, Output, Plan
from yingbi.cells import Cell, Layout, PlanError, Row, constants, to_json, to_python
from yingbi.formulas import NODE_COST, Formulas, wide_parts
from yingbi.measures import Measures, Reading
from yingbi.models.in_rounds import foretold_of, round_kind
from yingbi.models.kinds import check_model, fitted_of, foretold, header_of, lines_of, noise_by_name
from yingbi.models.lines import FitLine
from yingbi.presentation import Estimate, Line, Presentation
from yingbi.quantile_forecasts import draws_for, expected_error
from yingbi.regression import Coefficient
from yingbi.rounds import check_round
from yingbi.uncertain import CONFIDENCE, Interval, Linear, Number, Ratio, Z, interval, std_error
from yingbi.windows import COUNTING, Window, is_share

__all__ = [
    "CONFIDENCE", "AverageError", "Cell", "Column", "ColumnKind", "Forecast", "Interval", "PlanError", "Table",
    "check_readable", "columns_of", "predicted_errors", "table_of", "to_json", "to_python",
]  # fmt: skip

MAX_OUTPUTS = 256
MAX_WORK = 40_000_000
"""Rows times what computing one costs; see `formulas.NODE_COST`."""

EVALUATION_COLUMNS = ("group", "measure", "value")
FIT_SIZES = (1_000, 10_000, 100_000)
"""Units that the errors of coefficients are foretold for."""

MAX_NOISES = 10_000_000
"""Rows times parts of formulas times sources of noise, where numbers are made of many rows: some seconds."""

ColumnKind = Literal[
    "key", "count", "sum", "mean", "quantile", "median", "distinct_values", "formula", "rank", "coefficient"
]
"""A rank, or what else counts rows of the answer, has no error."""


@dataclass(frozen=True)
class Column:
    name: str
    kind: ColumnKind

    @property
    def is_estimate(self) -> bool:
        """Whether its numbers have noise: not keys, and not ranks, of which no error can be told."""
        return self.kind not in ("key", "rank")


@dataclass(frozen=True)
class Table:
    """An answer. `std_errors` and `intervals` have the shape of `rows`; None where there is none."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    std_errors: tuple[tuple[float | None, ...], ...]
    intervals: tuple[tuple[Interval | None, ...], ...]


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


@dataclass(frozen=True)
class _Reader:
    """A plan, checked and ready to be computed."""

    layout: Layout
    outputs: tuple[Callable[[Row], Estimate], ...]
    numbers: tuple[Reading | None, ...]
    """Of each output that is no key: its number, before it is shown."""
    windows: tuple[Window, ...]
    most_sources: int
    """Of noise, in a number that is made of many rows: with more, its error is not told."""
    presentation: Presentation

    @classmethod
    def of(cls, plan: Plan) -> _Reader:
        if max(len(plan.outputs), len(plan.presentation.order_by)) > MAX_OUTPUTS:
            raise PlanError(f"the plan has more than {MAX_OUTPUTS} outputs")
        layout = Layout.of(plan)
        formulas = Formulas(Measures(layout))
        numbers = tuple(_number(plan, output, formulas) for output in plan.outputs)
        outputs = tuple(_shown(layout, output, number) for output, number in zip(plan.outputs, numbers, strict=True))
        presentation = Presentation.of(plan, formulas)
        cost = formulas.cost + NODE_COST * (len(plan.outputs) + len(plan.presentation.order_by))
        several = bool(formulas.windows) and len(layout.sets) > 1
        if formulas.windows and not layout.is_comparable:
            raise PlanError("the plan compares rows whose noises it does not tell apart")
        noises = len(layout.sets) * layout.groups if several else layout.row_count
        if noises * cost > MAX_WORK:
            raise PlanError("the plan's answer is too large")
        most_sources = MAX_NOISES // max(1, layout.row_count * _wide_parts(plan))
        return cls(layout, outputs, numbers, tuple(formulas.windows), most_sources, presentation)

    def line(self, row: Row) -> Line:
        return Line(row, tuple(output(row) for output in self.outputs))

    def compute(self, rows: Sequence[Row], *, public: bool = False) -> None:
        """Put the numbers of all windows into the rows; only of those whose order is public, if so wanted."""
        for index, window in enumerate(self.windows):
            if window.is_public or not public:
                found = window.compute(rows, self.most_sources)
                for row in rows:
                    row.windows[index] = found[row.place]


def columns_of(plan: Plan) -> tuple[Column, ...]:
    """The answer's columns, in order."""
    if plan.HasField("fit"):
        keys, numbers = _header(plan)
        return *(Column(name, "key") for name in keys), *(Column(name, "coefficient") for name in numbers)
    if plan.HasField("evaluation"):
        group, measure, value = EVALUATION_COLUMNS
        return Column(group, "key"), Column(measure, "key"), Column(value, "coefficient")
    return tuple(Column(output.name, _kind(output)) for output in plan.outputs)


def check_readable(plan: Plan) -> None:
    """Refuse a plan whose answer could not be read: to be asked before anything is paid for it.

    Raises:
        PlanError: the plan is malformed or too large, or in another version of the language.
    """
    _Reader.of(plan)
    if plan.fit.HasField("round"):
        check_round(plan)
    elif plan.HasField("fit"):
        check_model(plan)
    if plan.HasField("evaluation"):
        quality.check_evaluation(plan)


def table_of(plan: Plan, opened: Sequence[int]) -> Table:
    """The answer that `opened` is, under `plan`.

    Raises:
        PlanError: the vector does not fit the plan, or the plan is not one this version can read.
    """
    reader = _Reader.of(plan)
    if plan.fit.HasField("round"):
        raise PlanError("the plan is one round of a model, which has no answer of its own")
    if plan.HasField("fit"):
        return lines_table(plan, lines_of(fitted_of(plan, opened)))
    if plan.HasField("evaluation"):
        return _measures(plan, opened)
    try:
        lines = reader.presentation.arranged([reader.line(row) for row in _rows(reader, opened)])
    except OverflowError as error:
        raise PlanError("the plan's scale gives a number that is not finite") from error
    estimates = [line.estimates for line in lines]
    return Table(
        columns_of(plan),
        tuple(tuple(cell.value for cell in row) for row in estimates),
        tuple(tuple(cell.std_error for cell in row) for row in estimates),
        tuple(tuple(cell.interval for cell in row) for row in estimates),
    )


def predicted_errors(plan: Plan, group_sizes: Sequence[int] = (100, 1_000, 10_000)) -> Forecast:
    """The standard errors that the answer to `plan` will have, before it is asked.

    Raises:
        PlanError: the plan is not one this version can read.
    """
    reader = _Reader.of(plan)
    if plan.HasField("fit"):
        return _foretold_rounds(plan) if plan.fit.HasField("round") else _foretold_coefficients(plan)
    if plan.HasField("evaluation"):
        return _foretold_measures(plan)
    places = list(reader.layout.places())
    labels = [_labels(reader.layout, output) if output.labels else None for output in plan.outputs]
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


def lines_table(plan: Plan, found: Sequence[FitLine]) -> Table:
    """A model as a table, its numbers by their names; ± has the noise and the sampling."""
    columns = columns_of(plan)
    keys = [(None,) * len(each.keys) for each in found]
    return Table(
        columns,
        tuple((*each.keys, *map(_value_of, each.numbers)) for each in found),
        tuple((*no, *map(_error_of, each.numbers)) for no, each in zip(keys, found, strict=True)),
        tuple((*no, *map(_interval_of, each.numbers)) for no, each in zip(keys, found, strict=True)),
    )


def _measures(plan: Plan, opened: Sequence[int]) -> Table:
    """What an evaluation says, a row for each measure of each group; ± has the noise and the sampling."""
    found = quality.rows_of(quality.quality_of(plan, opened))
    return Table(
        columns_of(plan),
        tuple((group, name, each.value) for group, name, each in found),
        tuple((None, None, each.std_error) for _, _, each in found),
        tuple((None, None, _around(each.value, each.std_error)) for _, _, each in found),
    )


def _around(value: float | None, error: float | None) -> Interval | None:
    return None if value is None or error is None else (value - Z * error, value + Z * error)


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


def _value_of(number: Coefficient | None) -> float | None:
    return None if number is None else number.value


def _error_of(number: Coefficient | None) -> float | None:
    return None if number is None else number.std_error


def _interval_of(number: Coefficient | None) -> Interval | None:
    error = _error_of(number)
    return None if number is None or error is None else (number.value - Z * error, number.value + Z * error)


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


def _header(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a model's table: the names of what numbers go by, and of the numbers."""
    if not plan.fit.HasField("round"):
        return header_of(plan.fit)
    kind = round_kind(plan.fit.model)
    return kind.keys, kind.numbers


def _rows(reader: _Reader, opened: Sequence[int]) -> Iterable[Row]:
    """The rows to be shown, with what is made of several of them."""
    kept = filter(reader.presentation.keeps, reader.layout.rows(opened, compared=bool(reader.windows)))
    if not reader.windows:
        return filter(reader.presentation.qualifies, kept)
    rows = list(kept)
    reader.compute(rows)
    return filter(reader.presentation.qualifies, rows)


def _wide_parts(plan: Plan) -> int:
    """Parts of formulas whose numbers may carry the noise of many rows."""
    presented = [ordering.formula for ordering in plan.presentation.order_by]
    formulas = [*(output.formula for output in plan.outputs), plan.presentation.qualify, *presented]
    return sum(map(wide_parts, formulas))


def _labels(layout: Layout, output: Output) -> dict[Cell, Cell]:
    """What the values of a key are shown as."""
    labels = constants(output.labels)
    if len(labels) != len(layout.values[output.key]):
        raise PlanError(f"column {output.name!r} has not a label for each value of its key")
    return dict(zip(layout.values[output.key], labels, strict=True))


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


def _kind(output: Output) -> ColumnKind:
    kind = output.WhichOneof("kind")
    if kind == "measure":
        measured = output.measure.WhichOneof("kind")
        if measured == "range_count":
            return "count"
        if measured == "block_mean":
            return "mean"
        if measured == "block_median":
            return "median"
        if measured is not None:
            return measured
    elif kind == "formula" and output.formula.window.function in COUNTING:
        return "rank"
    elif kind is not None:
        return kind
    raise PlanError(f"column {output.name!r} is of a kind that this version does not know")


def _number(plan: Plan, output: Output, formulas: Formulas) -> Reading | None:
    match output.WhichOneof("kind"):
        case "measure":
            return formulas.measure(output.measure)
        case "formula":
            return formulas.number(output.formula)
        case "key" if output.key < len(plan.group_by):
            return None
        case "key":
            raise PlanError("an output of the plan is a key that is not there")
    raise PlanError(f"column {output.name!r} is of a kind that this version does not know")


def _shown(layout: Layout, output: Output, number: Reading | None) -> Callable[[Row], Estimate]:
    if number is None:
        key = output.key
        if not output.labels:
            return lambda row: Estimate(row.keys[key])
        labels = _labels(layout, output)
        return lambda row: Estimate(labels.get(row.keys[key]))
    if _kind(output) == "rank" and not is_share(output.formula.window):
        return lambda row: Estimate(_whole(number(row)))
    return lambda row: _estimate(number(row))


def _whole(number: Number | None) -> int | None:
    return None if number is None else int(number.value)


def _estimate(number: Number | None) -> Estimate:
    if number is None:
        return Estimate(None)
    error, ends = std_error(number), interval(number)
    return Estimate(
        number.value,
        error if error is not None and math.isfinite(error) else None,
        ends if ends is not None and all(map(math.isfinite, ends)) else None,
    )


def _foretold_errors(reader: _Reader) -> tuple[tuple[float | None, ...], ...]:
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


def _linear_errors(reader: _Reader, row: Row) -> tuple[float | None, ...]:
    found = (None if number is None else number(row) for number in reader.numbers)
    return tuple(_estimate(number).std_error if isinstance(number, Linear) else None for number in found)


def _average_errors(
    reader: _Reader, errors: Sequence[Sequence[float | None]], finest: int, group_sizes: Sequence[int]
) -> Iterator[AverageError]:
    plan = reader.layout.plan
    draws = _draws(reader, len(group_sizes))
    foretold = [any(of_row[column] is not None for of_row in errors) for column in range(len(plan.outputs))]
    for output, number, is_known in zip(plan.outputs, reader.numbers, foretold, strict=True):
        # Of a median over blocks no number of rows tells.
        if number is None or is_known or _kind(output) in ("rank", "median"):
            continue
        for rows in group_sizes:
            if _kind(output) == "quantile":
                yield AverageError(output.name, rows, _quantile_error(reader, output.measure, finest, rows, draws))
                continue
            found = number(_made_up(reader.layout, finest, rows))
            told = _can_be_told(plan, found)
            yield AverageError(output.name, rows, _estimate(found).std_error if told else None)


def _can_be_told(plan: Plan, number: Number | None) -> bool:
    """Whether the error of what is no quantile follows from the number of rows.

    A ratio's does unless it has units in it, of which nobody knows how many rows they have.
    """
    if not isinstance(number, Ratio):
        return False
    sources = (*number.numerator.noise, *number.denominator.noise)
    return all(plan.statistics[source.statistic].WhichOneof("kind") != "distinct_units" for source in sources)


def _quantile_error(reader: _Reader, measure: Measure, finest: int, rows: int, draws: int) -> float | None:
    question, leaves = Measures(reader.layout).question(measure.quantile), reader.layout.leaves_of(finest)
    deviation = reader.layout.deviation(measure.quantile.range_counts) * math.sqrt(leaves)
    error = expected_error(question, rows, deviation, draws)
    return error if error is not None and math.isfinite(error) else None


def _draws(reader: _Reader, sizes: int) -> int:
    outputs = [output for output in reader.layout.plan.outputs if _kind(output) == "quantile"]
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
