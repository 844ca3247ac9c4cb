"""Made-up rows, and rows of one's own, for rehearsing a model: unit by unit. Nothing of the zone's data is in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Fit, FitColumn
from yingbi.cells import to_json
from yingbi.linear_model import Columns, design_column, level_numbers
from yingbi.mock import MockTable, mock_tables


@dataclass(frozen=True)
class UnitRows:
    """One unit's rows."""

    columns: Columns


def length(unit: UnitRows) -> int:
    """How many rows a unit has."""
    return len(next(iter(unit.columns.values()), ()))


def scaled(column: FitColumn, rows: Columns) -> list[float]:
    """A column of the design as the plan has it."""
    if column.levels:
        return [each / max(len(column.levels) - 1, 1) for each in level_numbers(column, rows)]
    z = ((value - column.centre) / column.half_range for value in design_column(column, rows))
    return [each if math.isnan(each) else min(max(each, column.lower), column.upper) for each in z]


def rows_of(frame: Columns) -> list[UnitRows]:
    """Each row as a unit of its own."""
    names = list(frame)
    return [
        UnitRows({name: [cell] for name, cell in zip(names, row, strict=True)})
        for row in zip(*(list(frame[name]) for name in names), strict=True)
    ]


def mock_units(
    declaration: DatasetDeclaration, fit: Fit, rows: int, seed: int | None, *, in_sql: bool
) -> list[UnitRows]:
    """Made-up rows of a model's variables; REFUSED "mock" where the rows are said in SQL, which nothing here reads."""
    if in_sql:
        raise no_mock("rows and where are SQL")
    variables = dict.fromkeys(factor.variable for each in fit.columns for factor in each.factors)
    if fit.response:
        variables[fit.response] = None
    return joined(mock_tables(declaration, rows, seed), list(variables), declaration.privacy_unit)


def joined(tables: Sequence[MockTable], variables: Sequence[str], unit: str) -> list[UnitRows]:
    """The variables of made-up rows; where they are in several tables, every pair of a unit's rows."""
    homes: dict[str, tuple[int, int]] = {}
    for variable in variables:
        places = [
            (number, table.header.index(name))
            for number, table in enumerate(tables)
            for name in table.header
            if variable.lower() in (name.lower(), f"{table.name}.{name}".lower())
        ]
        if not places:
            raise no_mock(f"{variable} is SQL, or another name for a column")
        holding = {number for number, _ in homes.values()}
        homes[variable] = next((place for place in places if place[0] in holding), places[0])
    used = sorted({number for number, _ in homes.values()})
    by_unit: list[dict[object, list[Sequence[object]]]] = []
    for number in used:
        place, found = tables[number].header.index(unit), dict[object, list[Sequence[object]]]()
        for row in tables[number].rows:
            found.setdefault(to_json(row[place]), []).append(row)
        by_unit.append(found)
    made = []
    for one in by_unit[0]:
        rows = list(itertools.product(*(each.get(one, []) for each in by_unit)))
        if rows:
            cells = {
                variable: [row[used.index(number)][place] for row in rows]
                for variable, (number, place) in homes.items()
            }
            made.append(UnitRows(cells))
    return made


def no_mock(why: str) -> Problem:
    """The problem with rows that cannot be made up."""
    return Problem(
        Kind.REFUSED,
        "mock",
        f"Made-up rows cannot be brought into this form here: {why}.",
        field="mock",
        hint="pass a frame of rows of your own, with the formula's variables as columns",
    )
