"""Bars with error bars, as numbers that a template draws: no script and no style is in a chart. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yingbi.answer import Table
from yingbi.display import cell_text, key_text

MOST_CHARTS, MOST_BARS = 4, 40
WIDTH, LABEL, ROW = 720, 190, 26
"""Of a chart: its width, what of it labels take, and the height of a bar's row, in the picture's own units."""
_LABEL_MARKS = 26


@dataclass(frozen=True)
class Bar:
    """One row of the answer: where its bar is, and from where to where its error bar goes; None where it has none."""

    label: str
    text: str
    y: int
    x: float
    width: float
    error: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """One column of the answer."""

    title: str
    bars: list[Bar]
    # Where zero is.
    axis: float
    height: int


def charts_of(table: Table) -> list[Chart]:
    """A chart for each of the first columns of numbers with noise, of the first rows that have one."""
    places = [place for place, column in enumerate(table.columns) if column.is_estimate]
    return [chart for place in places[:MOST_CHARTS] if (chart := _chart(table, place)) is not None]


def _chart(table: Table, place: int) -> Chart | None:
    keys = [index for index, column in enumerate(table.columns) if column.kind == "key"]
    found: list[tuple[str, float, float | None]] = []
    for row, errors in zip(table.rows, table.std_errors, strict=True):
        value, error = row[place], errors[place]
        if isinstance(value, int | float) and math.isfinite(value):
            label = " · ".join(key_text(row[key]) for key in keys)
            found.append((label, float(value), error if error is not None and math.isfinite(error) else None))
    found = found[:MOST_BARS]
    if not found:
        return None
    low = min(0.0, *(value - (error or 0.0) for _, value, error in found))
    high = max(0.0, *(value + (error or 0.0) for _, value, error in found))
    whole = (high - low) or 1.0

    def at(value: float) -> float:
        # The share first: of numbers that are next to nothing a scale would be infinite.
        return round(LABEL + (value - low) / whole * (WIDTH - LABEL - 10), 1)

    bars = [
        Bar(
            label=_short(label),
            text=cell_text(value, error),
            y=number * ROW,
            x=min(at(0.0), at(value)),
            width=round(abs(at(value) - at(0.0)), 1),
            error=None if error is None else (at(value - error), at(value + error)),
        )
        for number, (label, value, error) in enumerate(found)
    ]
    return Chart(table.columns[place].name, bars, at(0.0), len(bars) * ROW)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_MARKS else label[: _LABEL_MARKS - 1] + "…"
