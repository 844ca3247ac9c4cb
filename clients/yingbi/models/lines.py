"""What every fitted model has, whatever its kind: the numbers that it tells, with their errors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import FitColumn
from yingbi.cells import Cell
from yingbi.extras import pandas_extra
from yingbi.linear_model import DIGITS, Columns, design_column
from yingbi.regression import Coefficient

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FitLine:
    """A row of the table that a model is shown as."""

    keys: tuple[Cell, ...]
    numbers: tuple[Coefficient | None, ...]


def fingerprint_of(document: Mapping[str, object]) -> str:
    """SHA-256 of a document of texts and lists, as JSON with sorted keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digits(value: float) -> str:
    """A number as fingerprints have it: to so many digits that machines do not round differently."""
    return f"{value + 0.0:.{DIGITS - 1}e}"


def number_json(number: Coefficient | None) -> dict[str, object] | None:
    if number is None:
        return None
    return {"value": number.value, "std_error": number.std_error, "noise_error": number.noise_error}


def variables_of(columns: Sequence[FitColumn]) -> tuple[str, ...]:
    """What the columns are made of, as the formula writes it."""
    return tuple(dict.fromkeys(factor.variable for each in columns for factor in each.factors))


def rows_of(columns: Sequence[FitColumn], rows: Columns) -> list[tuple[float, ...]]:
    """The columns of a design for some rows, one tuple a row; NaN where a variable has no value.

    Raises:
        Problem: MALFORMED "missing_column", where the rows lack a variable; "rows", where columns differ in length.
    """
    lengths = {len(rows[name]) for name in rows}
    if len(lengths) > 1:
        raise Problem(Kind.MALFORMED, "rows", "The columns have different numbers of rows.", field="rows")
    return list(zip(*(design_column(column, rows) for column in columns), strict=True))


def frame_of(columns: Sequence[FitColumn], rows: Columns) -> pd.DataFrame:
    """The same as a frame, with the columns' names. Raises Problem as `rows_of`."""
    names = [each.name for each in columns]
    found: pd.DataFrame = pandas_extra("learn").DataFrame(rows_of(columns, rows), columns=names, dtype="float64")
    return found


def is_complete(row: Sequence[float]) -> bool:
    return all(map(math.isfinite, row))
