"""What each step of a training in rounds says of the model before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from yingbi.answer import check_readable
from yingbi.api.v1.plan_pb2 import (
    Plan,
    TrainingRound,
)
from yingbi.cells import PlanError
from yingbi.display import cell_text
from yingbi.forecasts import predicted_errors
from yingbi.models.in_rounds import round_kind
from yingbi.models.kmeans import KMeans
from yingbi.models.round_specs import LogisticRegression
from yingbi.models.scores import objective_of
from yingbi.rounds import Released

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.clients.trained_in_rounds import (
    SCORED,
    measured,
    model_of,
    people,
    rounds_of,
    score_in,
    trained,
)

STEPPED = {name: replace(each, score=False) for name, each in SCORED.items()}


@cache
def stepped(name: str) -> list[Released]:
    """What all rounds release of 1,500 people, without noise."""
    return rounds_of(STEPPED[name], people(1500))


@pytest.mark.parametrize("name", ["logistic", "multinomial", "poisson", "network", "network of numbers"])
def test_the_objective_of_a_step_is_what_the_model_before_it_says_of_the_rows(name: str) -> None:
    rounds, at = stepped(name), 4
    before, objective = model_of(rounds[:at]), objective_of(rounds[at])
    assert objective is not None
    limited = replace(before, state=replace(before.state, score=objective))
    response = STEPPED[name].formula.partition(" ~")[0]
    told = [each.value for each in objective.measures]
    assert told == pytest.approx(measured(limited, people(1500), response), rel=0.01, abs=0.004)


@pytest.mark.parametrize("name", ["boosting", "boosting of numbers"])
def test_bins_begin_with_what_a_constant_says_and_come_to_the_score(name: str) -> None:
    """Their model is an average of steps, so that the last objective is near to the score and not the same."""
    rows = people(1500)
    model = trained(SCORED[name], rows)
    losses = [each.loss.value for each in model.state.objectives]
    share = rows["ill"].mean()
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert losses[0] == pytest.approx(entropy if name == "boosting" else rows["mass"].var(), rel=0.1)
    assert losses[-1] == pytest.approx(score_in(model).loss.value, rel=0.1)
    assert losses[-1] <= losses[0] * 1.001


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("rows_each", [1, 2])
def test_both_engines_add_up_the_same_objective(name: str, rows_each: int) -> None:
    plan, columns = stepped(name)[3].plan, {key: pa.array(each) for key, each in people(60).items()}
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(60) // rows_each), **columns})
    cells = cells_of(plan, plan.statistics[1])
    one, other = (
        np.array(engine.contribution(plan, lambda _, names: table.select(list(names))))[-cells:]
        for engine in (DuckDBEngine(), ReferenceEngine())
    )
    # Of powers the last digit is the processor's.
    assert abs(one - other).max() <= 2
    assert abs(one).max() > 0


def test_what_objectives_say_is_off_by_their_error() -> None:
    rows, spec, within, count = people(1500), STEPPED["logistic"], 0, 0
    for seed in range(4):
        rounds = rounds_of(spec, rows, epsilon=1.0, seed=seed)
        for at in range(3, len(rounds)):
            before, objective = model_of(rounds[:at]), objective_of(rounds[at])
            assert objective is not None
            limited = replace(before, state=replace(before.state, score=objective))
            pairs = zip(objective.measures, measured(limited, rows, "ill"), strict=True)
            # Near to 0 and 1 shares are cut to what they can be, which is no further away.
            found = [abs(each.value - exact) <= 2 * each.error for each, exact in pairs]
            within, count = within + sum(found), count + len(found)
    assert within >= 0.85 * count


def test_a_preview_tells_how_exact_objectives_would_be() -> None:
    rounds = rounds_of(STEPPED["logistic"], people(10_000), epsilon=1.0)
    told = {(each.column, each.rows): each.std_error for each in predicted_errors(rounds[0].plan).average_errors}
    assert told["(objective of each step)", 10_000] == pytest.approx(
        model_of(rounds).state.objectives[-1].loss.error, rel=0.3
    )


def _without_score(plan: Plan) -> None:
    del plan.statistics[1]


def _cut_shorter(plan: Plan) -> None:
    plan.statistics[1].model_vector.max_norm -= 1


def _of_other_parameters(plan: Plan) -> None:
    plan.statistics[1].model_vector.generalized_linear.parameters[0] += 1


def _of_another_limit(plan: Plan) -> None:
    plan.fit.round.score_limit = 5.0


def _of_nobody(plan: Plan) -> None:
    plan.fit.round.units = 0.0


@pytest.mark.parametrize("change", [_without_score, _cut_shorter, _of_other_parameters, _of_another_limit, _of_nobody])
def test_a_step_whose_score_is_not_its_models_is_not_read(change: Callable[[Plan], None]) -> None:
    plan = Plan()
    plan.CopyFrom(stepped("logistic")[4].plan)
    check_readable(plan)
    change(plan)
    with pytest.raises(PlanError, match="its round"):
        check_readable(plan)


def test_a_step_that_counts_other_units_than_round_0_does_not_follow() -> None:
    """So that no receipt tells an objective of other people than there are."""
    rounds = stepped("logistic")
    plan = Plan()
    plan.CopyFrom(rounds[4].plan)
    plan.fit.round.units *= 2
    check_readable(plan)
    with pytest.raises(PlanError, match="round 4 does not follow"):
        model_of([*rounds[:4], replace(rounds[4], plan=plan)])


def test_trainings_without_objectives_are_read_as_ever_and_not_mixed_with_others() -> None:
    with_them, without = stepped("logistic"), rounds_of(_Silent("ill ~ age + mass", rounds=8), people(1500))
    assert model_of(without).state.objectives == ()
    assert len(model_of(with_them).state.objectives) == 6
    with pytest.raises(PlanError, match="round 4 does not follow"):
        model_of([*with_them[:4], without[4]])


class _Silent(LogisticRegression):
    """As trainings were before steps had objectives."""

    @property
    def training(self) -> TrainingRound:
        return TrainingRound(rounds=self.rounds)


def test_the_steps_of_kmeans_tell_inertia_with_its_error() -> None:
    spec, rows = KMeans("~ age + mass", rounds=6, clusters=3), people(1500)
    exact = model_of(rounds_of(spec, rows)).state.inertia
    model = model_of(rounds_of(spec, rows, epsilon=4.0))
    assert abs(model.state.inertia - exact) <= 3 * model.state.inertia_error + 0.1 * exact
    assert f"objective {cell_text(model.state.inertia, model.state.inertia_error)}" in round_kind(spec.model).said(
        model.state
    )
