"""What an answer will look like, with made-up numbers: from the plan alone, nothing here knows any data."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from yingbi.answer import Table, table_of
from yingbi.api.v1.plan_pb2 import Plan, Statistic
from yingbi.cells import Layout, PlanError
from yingbi.display import answer_rows, average_sentences, forecast_rows
from yingbi.forecasts import predicted_errors
from yingbi.stages import is_first_stage

MOST_ROWS = 40
_ROWS = (80, 1_200)
"""Between how many rows a made-up group has."""


@dataclass(frozen=True)
class Expected:
    """The columns of an answer; rows of expected errors and of made-up values; sentences for errors by size."""

    header: list[str]
    errors: list[list[str]]
    mock: list[list[str]]
    sentences: list[str]


@lru_cache(maxsize=128)
def expected(serialized: bytes) -> Expected | None:
    """What the answer to a serialized plan will look like; None where nobody can tell before it is there."""
    plan = Plan.FromString(serialized)
    if is_first_stage(plan):
        return None
    try:
        forecast = predicted_errors(plan)
        errors = forecast_rows(forecast)[:MOST_ROWS]
        header = [column.name for column in forecast.columns]
        return Expected(header, errors, _mock(plan), average_sentences(forecast))
    except (PlanError, ArithmeticError):
        return None


def _mock(plan: Plan) -> list[list[str]]:
    """Rows of made-up values, as the answer would be shown; none for models, whose numbers would mean nothing."""
    if plan.HasField("fit") or plan.HasField("evaluation") or plan.HasField("synthesis") or plan.HasField("program"):
        return []
    table: Table = table_of(plan, _made_up(plan))
    return answer_rows(table)[:MOST_ROWS]


def _made_up(plan: Plan) -> list[int]:
    """A vector of the plan's shape. The same plan has the same one, so that a page does not change as one looks."""
    layout = Layout.of(plan)
    draw = random.Random(plan.SerializeToString(deterministic=True))  # noqa: S311
    groups = max(layout.groups, 1)
    rows = [draw.randint(*_ROWS) for _ in range(groups)]
    found: list[int] = []
    for index, (statistic, width) in enumerate(zip(plan.statistics, layout.widths, strict=True)):
        deviation = layout.deviation(index) / layout.step if layout.step else 0.0
        length = layout.length_of(index) // max(width, 1)
        for group in range(length):
            full = rows[group % groups] / layout.step if layout.step else 0.0
            parts = _shape(statistic, width, draw)
            found.extend(round(full * part + draw.gauss(0, 1) * deviation) for part in parts)
    return found


def _shape(statistic: Statistic, width: int, draw: random.Random) -> list[float]:
    """Of a group with one row: its cells."""
    match statistic.WhichOneof("kind"):
        case "range_counts":
            tree = statistic.range_counts
            sizes = (tree.branching**level for level in range(1, tree.levels + 1))
            return [1 / size for size in sizes for _ in range(size)][:width]
        case "bounded_sum":
            return [draw.uniform(-0.4, 0.1)]
        case "distinct_units":
            return [0.5]
        case _:
            return [1.0] * width
