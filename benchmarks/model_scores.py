"""How good models are, of ours and of others: as tables, and for the plot of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.model_tables import EPSILONS

Score = Callable[[float], float]
"""Of a new model for an ε: how good it is."""


@dataclass(frozen=True)
class Scores:
    """Of one kind of model on one table: by whose model it is, as many scores for each of `EPSILONS`."""

    model: str
    rows: str
    measure: str
    clear: float
    """The score of a model in the clear."""
    found: Mapping[str, Sequence[Sequence[float]]]
    less_is_better: bool = False

    @property
    def title(self) -> str:
        return f"{self.model}, {self.rows}: {self.measure} {self.clear:.3f} in the clear"

    def worst(self, scores: Sequence[float]) -> float:
        return max(scores) if self.less_is_better else min(scores)


def scored(ways: Mapping[str, Score], repeats: int) -> dict[str, list[list[float]]]:
    """What each way's models score, `repeats` of them for each ε."""
    return {name: [[score(epsilon) for _ in range(repeats)] for epsilon in EPSILONS] for name, score in ways.items()}


def show(console: Console, scores: Scores) -> None:
    """A table of medians, with the worst in brackets."""
    table = Table(title=scores.title, title_justify="left")
    for header in ("", *(f"ε = {epsilon:g}" for epsilon in EPSILONS)):
        table.add_column(header)
    for name, found in scores.found.items():
        table.add_row(name, *(_cell(statistics.median(each), scores.worst(each)) for each in found))
    console.print(table)


def _cell(middle: float, worst: float) -> str:
    return f"{middle:.3f} (worst {worst:.3f})" if abs(worst) < 10 else f"{middle:.3g} (worst {worst:.2g})"
