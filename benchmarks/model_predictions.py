"""Linear and logistic regression, additive models of bins: two real tables for each kind of response; see `models`.

Trained on 70 % of the rows, measured on the others: R² of numbers, the area under the ROC curve of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit
from yingbi.models.kinds import fitted_of
from yingbi.models.network_specs import ExplainableBoosting
from yingbi.models.round_specs import LogisticRegression

from benchmarks.boosting import STUDIES, Study
from benchmarks.model_peers import DIFFPRIVLIB, INTERPRET, Asked, Library, answers
from benchmarks.model_scores import Score, Scores, scored
from benchmarks.model_tables import DELTA, EPSILONS, PARTIES, with_noise
from benchmarks.networks import declared, trained
from benchmarks.rounds import in_the_clear, made_up, ours
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.stages import FirstStage
from gateway.planning.training import plan_training

Floats = NDArray[np.float64]
Way = Callable[[Study, Study, float, int], float]
"""Trained on the first, how good on the second; with ε and a seed."""


def linear(console: Console, repeats: int) -> Iterator[Scores]:
    """R² on other rows."""
    ways: dict[str, Way] = {"Yingbi": _linear(auto=False), "Yingbi, bounds found": _linear(auto=True)}
    for study in (made() for made in STUDIES):
        if not study.is_binary:
            yield _scores(console, "Linear regression", study, repeats, ways, (DIFFPRIVLIB, "linear"))


def logistic(console: Console, repeats: int) -> Iterator[Scores]:
    """The area under the ROC curve on other rows."""
    for study in (made() for made in STUDIES):
        if study.is_binary:
            yield _scores(
                console, "Logistic regression", study, repeats, {"Yingbi": _logistic}, (DIFFPRIVLIB, "logistic")
            )


def few_people(console: Console, repeats: int) -> Iterator[Scores]:
    """Accuracy on other people of a logistic regression of few people and many columns."""
    problem = made_up(5_000, 20)
    *_, (lower, upper) = problem.bounds
    asked = Asked(
        "logistic",
        problem.rows[:, :-1],
        problem.bounds[:-1],
        EPSILONS,
        DELTA,
        repeats,
        response=problem.rows[:, -1],
        response_bounds=(lower, upper),
        judged=problem.judged[:, :-1],
    )
    ways: dict[str, Score] = {"Yingbi": lambda epsilon: problem.quality(ours(problem, epsilon))}
    said = answers(DIFFPRIVLIB, asked, console)
    if said is not None:
        ways[DIFFPRIVLIB.name] = lambda epsilon: problem.accuracy(said(epsilon))
    clear = problem.quality(in_the_clear(problem))
    yield Scores("Logistic regression", problem.name, problem.measure, clear, scored(ways, repeats))


def boosting(console: Console, repeats: int) -> Iterator[Scores]:
    """Both, of an additive model."""
    for study in (made() for made in STUDIES):
        kind = "classes" if study.is_binary else "numbers"
        yield _scores(console, "Additive model of bins", study, repeats, {"Yingbi": _boosting}, (INTERPRET, kind))


def _scores(
    console: Console, model: str, study: Study, repeats: int, ways: dict[str, Way], theirs: tuple[Library, str]
) -> Scores:
    own, others = study.split()
    found = {
        name: [[way(own, others, epsilon, seed) for seed in range(repeats)] for epsilon in EPSILONS]
        for name, way in ways.items()
    }
    library, kind = theirs
    asked = Asked(
        kind,
        own.matrix(),
        tuple(study.bounds[name] for name in study.names),
        EPSILONS,
        DELTA,
        repeats,
        response=own.rows[study.response],
        response_bounds=study.bounds[study.response],
        judged=others.matrix(),
    )
    said = answers(library, asked, console)
    if said is not None:
        found |= scored({library.name: lambda epsilon: others.score(np.nan_to_num(said(epsilon)))}, repeats)
    measure = "AUC" if study.is_binary else "R²"
    return Scores(model, f"{study.name}, {len(own.matrix()):,} rows", measure, own.line(others), found)


def _linear(*, auto: bool) -> Way:
    def way(study: Study, others: Study, epsilon: float, seed: int) -> float:
        del seed  # Its noise is drawn by the enclaves' sampler, which takes none.
        count = len(study.matrix())
        columns = {name: pa.array(_as_declared(study, name)) for name in study.bounds}
        table = pa.table({UNIT_COLUMN: pa.array(np.arange(count)), **columns})
        found: FirstStage | None = None
        plan, opened = None, list[int]()
        for _ in range(2 if auto else 1):
            plan = plan_training(
                TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula=study.formula),
                declared(study.bounds, 2 * count),
                dataset_version=bytes(32),
                parties=PARTIES,
                epsilon=epsilon,
                delta=DELTA,
                auto_bounds=auto,
                first_stage=found,
            ).plan
            opened = with_noise(plan, DuckDBEngine().contribution(plan, lambda _, names: table.select(list(names))))
            found = FirstStage((), tuple(opened))
        assert plan is not None
        model: Any = fitted_of(plan, opened)
        return others.score(np.array(model.predict(others.rows)))

    return way


def _as_declared(study: Study, name: str) -> NDArray[Any]:
    column = study.rows[name]
    return column.astype(np.int64) if study.bounds[name] == (0, 1) else column


def _logistic(study: Study, others: Study, epsilon: float, seed: int) -> float:
    model: Any = trained(LogisticRegression(study.formula), study.rows, study.bounds, epsilon, seed).model
    return others.score(np.array([chances[1] for chances in model.predict_proba(others.rows)]))


def _boosting(study: Study, others: Study, epsilon: float, seed: int) -> float:
    model: Any = trained(ExplainableBoosting(study.formula), study.rows, study.bounds, epsilon, seed).model
    if study.is_binary:
        return others.score(np.array([chances[1] for chances in model.predict_proba(others.rows)]))
    return others.score(np.array(model.predict(others.rows)))
