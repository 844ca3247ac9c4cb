"""From a plan and its opened integers to the table that a person reads. Pure; needs nothing but the plan.

The noise of every opened integer is public (`cells.Layout.deviation`), so all errors and intervals follow from it
and from released values alone. `cells` says where integers lie, `measures` and `formulas` what they mean,
`uncertain` and `quantiles` how sure that is, `windows` what is made of several rows, `presentation` which of them
are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yingbi import quality
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cells import Cell, PlanError, Row, to_json, to_python
from yingbi.models.in_rounds import round_kind
from yingbi.models.kinds import check_model, fitted_of, header_of, lines_of
from yingbi.models.lines import FitLine
from yingbi.plan_reader import ColumnKind, Reader, kind_of
from yingbi.regression import Coefficient
from yingbi.rounds import check_round
from yingbi.uncertain import CONFIDENCE, Interval, Z

__all__ = [
    "CONFIDENCE", "Cell", "Column", "ColumnKind", "Interval", "PlanError", "Table",
    "check_readable", "columns_of", "table_of", "to_json", "to_python",
]  # fmt: skip

EVALUATION_COLUMNS = ("group", "measure", "value")


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


def columns_of(plan: Plan) -> tuple[Column, ...]:
    """The answer's columns, in order."""
    if plan.HasField("fit"):
        keys, numbers = _header(plan)
        return *(Column(name, "key") for name in keys), *(Column(name, "coefficient") for name in numbers)
    if plan.HasField("evaluation"):
        group, measure, value = EVALUATION_COLUMNS
        return Column(group, "key"), Column(measure, "key"), Column(value, "coefficient")
    return tuple(Column(output.name, kind_of(output)) for output in plan.outputs)


def check_readable(plan: Plan) -> None:
    """Refuse a plan whose answer could not be read: to be asked before anything is paid for it.

    Raises:
        PlanError: the plan is malformed or too large, or in another version of the language.
    """
    Reader.of(plan)
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
    reader = Reader.of(plan)
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


def _value_of(number: Coefficient | None) -> float | None:
    return None if number is None else number.value


def _error_of(number: Coefficient | None) -> float | None:
    return None if number is None else number.std_error


def _interval_of(number: Coefficient | None) -> Interval | None:
    return _around(_value_of(number), _error_of(number))


def _header(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a model's table: the names of what numbers go by, and of the numbers."""
    if not plan.fit.HasField("round"):
        return header_of(plan.fit)
    kind = round_kind(plan.fit.model)
    return kind.keys, kind.numbers


def _rows(reader: Reader, opened: Sequence[int]) -> Iterable[Row]:
    """The rows to be shown, with what is made of several of them."""
    kept = filter(reader.presentation.keeps, reader.layout.rows(opened, compared=bool(reader.windows)))
    if not reader.windows:
        return filter(reader.presentation.qualifies, kept)
    rows = list(kept)
    reader.compute(rows)
    return filter(reader.presentation.qualifies, rows)
