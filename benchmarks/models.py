"""Models: how much of what they are in the clear is left at what price. Every measure in one run, on one machine.

`python -m benchmarks.models` runs all of them; with names, those. Models are planned, computed by the engine, noised by
three parties' shares and rebuilt as the SDK does it; encryption is left out, as it changes no number. Other libraries
are given the same rows, bounds, ε and δ, each in a Python of its own that is made on first use: theirs protect rows of
one party.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.model_plot import draw
from benchmarks.model_scores import Scores, show

Measure = Callable[[Console, int], Iterator[Scores]]
"""Of so many models for each cell; on the console it says what could not be compared."""
PLOT = Path("docs/models.svg")

MEASURES: Mapping[str, str] = {
    "naive-bayes": "benchmarks.model_spreads:naive_bayes",
    "pca": "benchmarks.model_spreads:components",
    "kmeans": "benchmarks.model_clusters:k_means",
    "linear": "benchmarks.model_predictions:linear",
    "few-people": "benchmarks.model_predictions:few_people",
    "logistic": "benchmarks.model_predictions:logistic",
    "boosting": "benchmarks.model_predictions:boosting",
}
"""By name: module and function."""


def measure_of(name: str) -> Measure:
    """The function that makes a measure."""
    module, _, function = MEASURES[name].partition(":")
    found: Measure = getattr(import_module(module), function)
    return found


def main() -> None:
    """Run measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", choices=[*MEASURES, []], help="by default all")
    parser.add_argument("--repeats", type=int, default=9, help="models for each cell")
    parser.add_argument("--plot", action="store_true", help=f"draw all that was measured: {PLOT}")
    given, console = parser.parse_args(), Console(width=140)
    if given.plot and given.names:
        parser.error("--plot draws all measures: name none")
    measured: list[Scores] = []
    for name in given.names or MEASURES:
        for scores in measure_of(name)(console, given.repeats):
            show(console, scores)
            measured.append(scores)
    if given.plot:
        PLOT.write_text(draw(measured))


if __name__ == "__main__":
    main()
