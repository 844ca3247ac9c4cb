"""Numbers and tables as people read them: an error of two significant digits decides how many are shown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from yingbi.cells import Cell, to_json

if TYPE_CHECKING:
    from yingbi.answer import Table
    from yingbi.forecasts import Forecast

MISSING = "–"
BY_SIZE = "± by size"
"""In a forecast, of a cell whose error depends on how many rows its group has."""
_EXACT = 2.0**53


def decimals_for(error: float) -> int:
    """Decimal places that show `error` with two significant digits; never more than needed for 1e-9."""
    if not (error > 0 and math.isfinite(error)):
        return 0
    return min(9, max(0, 1 - math.floor(math.log10(error))))


def cell_text(value: Cell, error: float | None = None) -> str:
    """`1,234 ± 56`; without an error the value alone."""
    if value is None:
        return MISSING
    if isinstance(value, float):
        if error is None:
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        places = decimals_for(error)
        # -0.4 rounds to 0, not to -0.
        return f"{round(value, places) + 0.0:,.{places}f} ± {error_text(error)}"
    return str(to_json(value))


def key_text(value: Cell) -> str:
    """A key, whatever its type without separators, so that 1400 reads alike as int64 and as float64."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < _EXACT else f"{value:.10g}"
    return cell_text(value)


def shown_source(text: str) -> str:
    """Text of somebody else's, so that a terminal shows what is there.

    Whatever is no letter, sign or space is shown by its number: control sequences could hide lines, and marks of
    direction could show them in another order than Python reads them in.
    """
    return "".join(mark if mark in "\n\t" or not _is_hidden(mark) else f"\\u{{{ord(mark):x}}}" for mark in text)


def _is_hidden(mark: str) -> bool:
    category = unicodedata.category(mark)
    return category[0] == "C" or category in ("Zl", "Zp")


def error_text(error: float | None) -> str:
    """An error with two significant digits."""
    if error is None:
        return MISSING
    return f"{error:,.{decimals_for(error)}f}" if error < 1e15 else f"{error:.2g}"


def answer_rows(table: Table) -> list[list[str]]:
    """The cells of an answer. A value whose error is too large to tell is marked `± ?`."""
    return [
        [
            key_text(value)
            if column.kind == "key"
            else f"{cell_text(value)} ± ?"
            if column.is_estimate and value is not None and error is None
            else cell_text(value, error)
            for column, value, error in zip(table.columns, row, errors, strict=True)
        ]
        for row, errors in zip(table.rows, table.std_errors, strict=True)
    ]


def forecast_rows(forecast: Forecast) -> list[list[str]]:
    """The expected ± of each cell of a preview; what depends on the group's size follows by size."""
    untold = _untold(forecast)
    unknown = [
        MISSING if column.kind == "rank" else "± ?" if column.name in untold else BY_SIZE for column in forecast.columns
    ]
    return [
        [
            key_text(group[key]) if key is not None else text if error is None else f"± {error_text(error)}"
            for key, error, text in zip(forecast.keys, errors, unknown, strict=True)
        ]
        for group, errors in zip(forecast.groups, forecast.std_errors, strict=True)
    ]


def average_sentences(forecast: Forecast) -> list[str]:
    """One line for each column whose ± depends on more than the plan: what to expect by group size."""
    lines: dict[str, list[str]] = {}
    for entry in forecast.average_errors:
        lines.setdefault(entry.column, []).append(
            f"± {'?' if entry.std_error is None else error_text(entry.std_error)} over {entry.rows:,} rows"
        )
    untold = _untold(forecast)
    return [
        f"{column}: {'± depends on the data; the answer tells it' if column in untold else ', '.join(parts)}"
        for column, parts in lines.items()
    ]


def _untold(forecast: Forecast) -> set[str]:
    """Formulas and counts of distinct values whose ± cannot be told, whatever the size."""
    told = {entry.column for entry in forecast.average_errors if entry.std_error is not None}
    made = {column.name for column in forecast.columns if column.kind in ("formula", "distinct_values")}
    return made - told


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Aligned columns in plain text; `right` says which are numbers."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
