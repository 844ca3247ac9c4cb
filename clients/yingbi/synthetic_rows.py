"""Made-up rows that are like a dataset's, how good they are, and whose they are. What they are made of was released."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from yingbi.answer import Cell, to_json, to_python
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_INT64,
    SynthesisColumn,
)
from yingbi.extras import pandas_extra, typed_frame
from yingbi.synthetic_marginals import Marginal, Measured

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 10_000_000
STEPS_OF_RANGE = 1000
"""How finely a number is written within its range, at least."""


@dataclass(frozen=True)
class Comparison:
    """How far rows are from one marginal, in total variation: 0 where they are alike, 1 where they have nothing in
    common."""

    columns: tuple[str, ...]
    levels: tuple[int, ...]
    """Of each column, as compared."""
    held_out: bool
    """Whether the rows were made without it."""
    distance: float
    """From what was released, whose own noise is in it."""
    noise: float
    """What that noise alone comes to, on average."""
    at_most: float | None
    """Of a held-out one: what the distance from everybody's own marginal is not above, at 95 %."""

    def to_json(self) -> dict[str, object]:
        return {
            "columns": list(self.columns),
            "levels": list(self.levels),
            "held_out": self.held_out,
            "distance": self.distance,
            "noise": self.noise,
            "at_most": self.at_most,
        }


@dataclass(frozen=True)
class Report:
    """How good made-up rows are, by what was released alone."""

    units: float
    comparisons: tuple[Comparison, ...]
    marginals: int
    """How many were there to fit to."""
    used: int
    """How many of them the fit holds."""

    @property
    def fitted(self) -> tuple[Comparison, ...]:
        return tuple(each for each in self.comparisons if not each.held_out)

    @property
    def held_out(self) -> tuple[Comparison, ...]:
        return tuple(each for each in self.comparisons if each.held_out)

    @property
    def distance(self) -> float:
        """From the released marginals of pairs, on average."""
        return math.fsum(each.distance for each in self.fitted) / len(self.fitted)

    @property
    def words(self) -> list[str]:
        noise = math.fsum(each.noise for each in self.fitted) / len(self.fitted)
        lines = [
            f"two columns at a time the rows are {self.distance:.3f} from what was released, on average; the noise of "
            f"that is {noise:.3f} (total variation)"
        ]
        lines += [
            f"held out, {', '.join(each.columns)}: {each.distance:.3f}, the noise is {each.noise:.3f}; "
            f"from everybody's own at most {each.at_most:.3f} (95 %)"
            for each in self.held_out
        ]
        if self.used < self.marginals:
            lines.append(f"the fit holds {self.used} of {self.marginals} pairs, those that depend on each other most")
        return lines

    def to_json(self) -> dict[str, object]:
        return {
            "units": self.units,
            "distance": self.distance,
            "pairs": self.marginals,
            "pairs_fitted": self.used,
            "marginals": [each.to_json() for each in self.comparisons],
        }


@dataclass(frozen=True)
class SyntheticRows:
    """Made-up rows. `card` is what whoever gets them should know."""

    columns: tuple[SynthesisColumn, ...] = field(repr=False)
    rows: tuple[tuple[Cell, ...], ...] = field(repr=False)
    report: Report
    about: dict[str, object] = field(repr=False)
    """Of the release that they are made of, and whom they are for."""

    @property
    def header(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows as CSV, in hexadecimal."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    @property
    def card(self) -> dict[str, object]:
        return {
            "rows": len(self.rows),
            "columns": [_column_json(column) for column in self.columns],
            **self.about,
            "fingerprint": self.fingerprint,
            "report": self.report.to_json(),
        }

    def overlap(self, rows: Sequence[Sequence[object]]) -> float:
        """Which share of some rows is among these, each of these once: how alike a file is to this one."""
        own = Counter(tuple(map(_text, row)) for row in self.rows)
        theirs = Counter(tuple(map(_text, row)) for row in rows)
        total = sum(theirs.values())
        return sum((own & theirs).values()) / total if total else 0.0

    def to_csv(self) -> str:
        """As `dataset add` reads it but for the unit; an empty field is NULL, in a string column the empty text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([_text(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def save_csv(self, path: str | Path) -> None:
        Path(path).write_text(self.to_csv(), encoding="utf-8", newline="")

    def to_pandas(self) -> pd.DataFrame:
        """In types that hold NULL: Int64 and boolean; dates and texts are objects."""
        columns = [(column.name, column.type) for column in self.columns]
        return typed_frame(pandas_extra("synthesize", "to_csv()"), columns, self.rows)

    def to_json(self) -> dict[str, object]:
        return self.card

    def __repr__(self) -> str:
        made = f"{len(self.rows):,} made-up rows of {', '.join(self.header)}"
        return "\n".join([made, *self.report.words, f"fingerprint {self.fingerprint}"])


def made_up(measured: Measured, rows: int | None, seed: bytes, about: dict[str, object]) -> SyntheticRows:
    """Rows drawn from the distribution nearest to what was released: the same for the same release and seed.

    Args:
        rows: by default as many as there are units, as released.

    Raises:
        Problem: MALFORMED "rows"; UNAVAILABLE "mbi_missing".
    """
    check_rows(rows)
    count = min(MAX_ROWS, round(measured.units)) if rows is None else rows
    from yingbi import synthetic_fit

    joint = synthetic_fit.fit(measured)
    levels = joint.draw(count, seed)
    within = synthetic_fit.spread_within(count, seed, len(measured.columns))
    drawn = [
        [cell(int(level), float(place)) for level, place in zip(levels[:, index], within[:, index], strict=True)]
        for index, cell in enumerate(map(_cell_of, measured.columns))
    ]
    comparisons = tuple(
        _compared(measured, marginal, synthetic_fit.shares_of(levels, marginal))
        for marginal in (*measured.fitted, *measured.held_out)
    )
    report = Report(measured.units, comparisons, len(measured.fitted), joint.used)
    return SyntheticRows(measured.columns, tuple(zip(*drawn, strict=True)), report, about)


def check_rows(rows: int | None) -> None:
    """Refuse a number of rows that cannot be made; MALFORMED "rows"."""
    if rows is not None and not 1 <= rows <= MAX_ROWS:
        raise Problem(Kind.MALFORMED, "rows", f"There can be 1 to {MAX_ROWS:,} rows, not {rows:,}.", field="rows")


def _compared(measured: Measured, marginal: Marginal, shares: Sequence[float]) -> Comparison:
    units = measured.units
    return Comparison(
        tuple(measured.columns[column].name for column in marginal.columns),
        marginal.sizes,
        marginal.held_out,
        marginal.distance(shares, units),
        marginal.noise_distance(units),
        marginal.most_distance(shares, units) if marginal.held_out else None,
    )


def _cell_of(column: SynthesisColumn) -> Callable[[int, float], Cell]:
    """What makes a value of a level, and of where within its range it lies, from 0 to below 1."""
    if column.values:
        values = [to_python(value) for value in column.values]
        return lambda level, _: values[level] if level < len(values) else None
    return lambda level, within: None if level >= column.bins else _number(column, level, within)


def _number(column: SynthesisColumn, level: int, within: float) -> Cell:
    lower = column.lower + level * column.width
    upper = min(column.upper, lower + column.width)
    if column.integral:
        whole = min(math.floor(lower + within * (upper - lower)), round(upper) - 1)
        return whole if column.type == COLUMN_TYPE_INT64 else float(whole)
    digits = max(0, math.ceil(math.log10(STEPS_OF_RANGE / column.width)))
    return min(column.upper, max(column.lower, round(lower + within * (upper - lower), digits)))


def _column_json(column: SynthesisColumn) -> dict[str, object]:
    if column.values:
        levels: dict[str, object] = {"values": [to_json(to_python(value)) for value in column.values]}
    else:
        top = column.upper - 1 if column.integral else column.upper
        levels = {"lower": column.lower, "upper": top, "ranges": column.bins}
    return {"name": column.name, **levels, "nullable": column.nullable}


def _text(cell: object) -> str:
    """A cell as CSV has it."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    return cell.isoformat() if isinstance(cell, datetime.date) else str(cell)
