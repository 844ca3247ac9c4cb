"""k-means on two real tables; see `models`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from rich.console import Console
from yingbi.api.v1.plan_pb2 import TrainingRound
from yingbi.models.clusters import ClusterState, KMeansRule
from yingbi.models.kmeans import KMeans
from yingbi.models.round_specs import DEFAULT_ROUNDS
from yingbi.rounds import Released

from benchmarks.model_peers import DIFFPRIVLIB, Asked, answers
from benchmarks.model_scores import Score, Scores, scored
from benchmarks.model_tables import DELTA, EPSILONS, Floats, RealTable, tables

CLUSTERS = 5


def k_means(console: Console, repeats: int) -> Iterator[Scores]:
    """The mean squared distance to the nearest centre, of columns scaled by their bounds, over that in the clear."""
    for table in (each.of_numbers() for each in tables()):
        clear = _clear(table)
        ways = {"Yingbi": _score(table, clear, partial(centres, table))}
        bounds = ((-1.0, 1.0),) * len(table.names)
        said = answers(
            DIFFPRIVLIB, Asked("kmeans", table.scaled, bounds, EPSILONS, DELTA, repeats, parts=CLUSTERS), console
        )
        if said is not None:
            ways[DIFFPRIVLIB.name] = _score(table, clear, said)
        alone = float(np.mean(np.sum((table.scaled - table.scaled.mean(axis=0)) ** 2, axis=1)))
        console.print(f"{table.name}: one centre alone has {alone / clear:.2f} times the distance of {CLUSTERS}")
        model, found = f"k-means, {CLUSTERS} centres", scored(ways, repeats)
        yield Scores(model, table.name, "relative distance", 1.0, found, less_is_better=True)


def centres(table: RealTable, epsilon: float, rounds: int = DEFAULT_ROUNDS) -> Floats:
    """Of our model, in scaled columns."""
    spec, rule = KMeans(f"~ {' + '.join(table.names)}", rounds=rounds, clusters=CLUSTERS), KMeansRule()
    own: TrainingRound | None = rule.first(rounds)
    state: ClusterState | None = None
    while own is not None:
        plan, opened = table.asked(spec.message(own), epsilon)
        state = rule.after(state, Released.of(plan, opened))
        own = rule.next(state)
    assert state is not None
    return np.array([each.centre for each in state.clusters])


def _score(table: RealTable, clear: float, made: Callable[[float], Floats]) -> Score:
    return lambda epsilon: _inertia(table, made(epsilon)) / clear


def _inertia(table: RealTable, found: Floats) -> float:
    squares = ((table.scaled[:, np.newaxis, :] - found[np.newaxis]) ** 2).sum(axis=2)
    return float(squares.min(axis=1).mean())


def _clear(table: RealTable) -> float:
    from sklearn.cluster import KMeans as Theirs

    return _inertia(table, Theirs(CLUSTERS, n_init=10, random_state=0).fit(table.scaled).cluster_centers_)
