"""Searching for a penalty inside the budget: is it worth its price, and does a score say how good the model is.

`python -m benchmarks.searches` prints, for the problems of `benchmarks.rounds`, how good models are (accuracy on other
people; the area under the ROC curve on the patients themselves): of all ε for one model without a penalty; of all ε for
one with each penalty; and of the winner of a search among all of them, for the same ε together. Then the score that the
winner released, with its ± and what is so on the rows it was trained on. Medians of several.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.plan_pb2 import TrainingRound
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.in_rounds import rule_of, score_of
from yingbi.models.round_specs import LogisticRegression
from yingbi.models.scores import Score
from yingbi.rounds import Released
from yingbi.search import part_of

from benchmarks.rounds import DELTA, PARTIES, Floats, Problem, made_up, nafld
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from gateway.planning.training import plan_training

EPSILONS = (0.5, 1.0, 4.0)
PENALTIES = (0.0, 30.0, 300.0)


def trained(problem: Problem, alpha: float, epsilon: float, *, score: bool) -> tuple[Floats, Score | None]:
    """The coefficients of all rounds, and the score."""
    formula = f"{problem.names[-1]} ~ {' + '.join(problem.names[:-1])}"
    spec = LogisticRegression(formula, alpha=alpha, score=score)
    rule, table = rule_of(spec.training, spec.model), problem.table
    own: TrainingRound | None = rule.first(spec.training.rounds)
    state: Any = None
    while own is not None:
        plan = plan_training(
            spec.message(own),
            problem.declaration,
            dataset_version=bytes(32),
            parties=PARTIES,
            epsilon=epsilon,
            delta=DELTA,
        ).plan
        total = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
        for _ in range(PARTIES):
            share = [noise for each in plan.statistics for noise in sample_share(cells_of(plan, each), each.sigma)]
            total = [cell + noise for cell, noise in zip(total, share, strict=True)]
        state = rule.after(state, Released.of(plan, total))
        own = rule.next(state)
    return np.array([each.value for each in GeneralizedModel(state).coefficients]), score_of(state)


def searched(problem: Problem, epsilon: float) -> tuple[Floats, Score]:
    """The winner's coefficients, and its score."""
    part = part_of(epsilon, DELTA, len(PENALTIES))
    found = []
    for alpha in PENALTIES:
        weights, score = trained(problem, alpha, part, score=True)
        assert score is not None
        found.append((weights, score))
    return min(found, key=lambda each: each[1].loss.value)


def _right(problem: Problem, weights: Floats) -> float:
    """How often the model is right about the rows it was trained on."""
    predictor = weights[0] + problem.rows[:, :-1] @ weights[1:]
    return float(np.mean((predictor > 0) == (problem.rows[:, -1] > 0)))


def _told(problem: Problem, found: Sequence[tuple[Floats, Score]]) -> str:
    weights, score = found[len(found) // 2]
    own = score.measures[0]
    return f"{own.value:.3f} ± {own.error:.3f}, {_right(problem, weights):.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    table = Table("problem", "model", *(f"ε = {epsilon:g}" for epsilon in EPSILONS))
    for problem in filter(None, [nafld(), made_up(2_000, 20), made_up(5_000, 20)]):
        for alpha in PENALTIES:
            found = [
                [problem.quality(trained(problem, alpha, epsilon, score=False)[0]) for _ in range(repeats)]
                for epsilon in EPSILONS
            ]
            table.add_row(problem.name, f"alpha {alpha:g}", *(f"{np.median(each):.3f}" for each in found))
        winners = [[searched(problem, epsilon) for _ in range(repeats)] for epsilon in EPSILONS]
        qualities = [np.median([problem.quality(weights) for weights, _ in each]) for each in winners]
        table.add_row("", "searched", *(f"{each:.3f}" for each in qualities))
        table.add_row("", "accuracy as released, and as it is", *(_told(problem, each) for each in winners))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
