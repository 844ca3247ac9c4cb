"""The models that are trained in rounds: what `yingbi.round_learning` asks for, by their kind. One row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from yingbi import round_forecasts
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.display import error_text
from yingbi.generalized_linear import GeneralizedLinearRule, State
from yingbi.generalized_model import GeneralizedModel
from yingbi.linear_model import Columns
from yingbi.models import boosting_rule, clusters, network_rule, round_rows
from yingbi.models.boosting import BoostedModel
from yingbi.models.boosting_rule import BoostingRule, BoostingState
from yingbi.models.clusters import ClusterState, KMeansModel, KMeansRule
from yingbi.models.lines import FitLine
from yingbi.models.network_rule import NetworkRule, NetworkState
from yingbi.models.networks import NetworkModel
from yingbi.models.scores import Score, StepRule, WithObjective, WithScore, largest_loss, objective_error, score_error
from yingbi.rounds import Rule

FittedInRounds = GeneralizedModel | KMeansModel | NetworkModel | BoostedModel
AnyState = State | ClusterState | NetworkState | BoostingState


@dataclass(frozen=True)
class RoundKind:
    """What there is to do with a model of one kind that is trained in rounds."""

    keys: tuple[str, ...]
    """Of the table that it is shown as: what its numbers go by."""
    numbers: tuple[str, ...]
    rule: Callable[[TrainingRound], Rule[Any]]
    """Of a training, any of whose rounds is this one."""
    model: Callable[[Any], FittedInRounds]
    """From what is known after the last round."""
    lines: Callable[[Any], Sequence[FitLine]]
    foretold: Callable[[Plan, int], list[tuple[str, float]]]
    """Of so many units: numbers by their names, and the error of noise alone."""
    said: Callable[[Any], str]
    """One line about a round."""
    has_steps: Callable[[Any], bool]
    """Whether there was a round that makes a model."""
    phases: tuple[str, str]
    """What the first two rounds do, and what the others are."""
    rows: Callable[[Fit, Columns], Iterable[tuple[float, ...]]]
    """Of a unit's made-up rows the terms of the plan's vector; NaN where there is none. Raises Problem."""
    row_vector: Callable[[Plan, Sequence[float]], list[float]]
    """What terms add to a round."""


def _said(state: State | NetworkState | BoostingState) -> str:
    own = state.fit.round
    if state.score is not None:
        return f"round {own.rounds} of {own.rounds}: {state.score.words}"
    line = f"round {own.number + 1} of {own.rounds}"
    if not state.gradients:
        return f"{line}: scales"
    objective = f"{state.objectives[-1].objective_words}; " if state.objectives else ""
    noise = error_text(state.noise_length)
    return f"{line}: {objective}gradient {error_text(state.gradient)}, of which noise is {noise}"


def _coefficients(model: GeneralizedModel | NetworkModel | BoostedModel) -> list[FitLine]:
    return [FitLine((each.name,), (each,)) for each in model.coefficients]


def _has_gradients(state: State | NetworkState | BoostingState) -> bool:
    return state.gradients > 0


_GENERALIZED = RoundKind(
    ("term",),
    ("coefficient",),
    lambda _: GeneralizedLinearRule(),
    GeneralizedModel,
    _coefficients,
    round_forecasts.expected_errors,
    _said,
    _has_gradients,
    ("2 that find scales", "gradients"),
    round_rows.with_outcomes,
    round_rows.generalized_vector,
)
_KINDS: Mapping[Fit.Model.ValueType, RoundKind] = {
    Fit.MODEL_LOGISTIC_REGRESSION: _GENERALIZED,
    Fit.MODEL_POISSON_REGRESSION: _GENERALIZED,
    Fit.MODEL_K_MEANS: RoundKind(
        ("cluster", "term"),
        ("value",),
        lambda _: KMeansRule(),
        KMeansModel,
        lambda model: model.lines,
        clusters.expected_errors,
        clusters.said,
        lambda state: state.fit.round.number > 0,
        ("one that finds where to begin, one step", "further steps"),
        round_rows.without_response,
        clusters.row_vector,
    ),
    Fit.MODEL_NEURAL_NETWORK: RoundKind(
        ("term",),
        ("coefficient",),
        lambda own: NetworkRule(own.network.hidden),
        NetworkModel,
        _coefficients,
        network_rule.expected_errors,
        _said,
        _has_gradients,
        ("one that finds scales, one step", "further steps"),
        round_rows.with_numbers,
        round_rows.network_vector,
    ),
    Fit.MODEL_EXPLAINABLE_BOOSTING: RoundKind(
        ("term",),
        ("coefficient",),
        lambda _: BoostingRule(),
        BoostedModel,
        _coefficients,
        boosting_rule.expected_errors,
        _said,
        _has_gradients,
        ("one that counts by bins, one step", "further steps"),
        round_rows.with_numbers,
        round_rows.binned_vector,
    ),
}


def rule_of(own: TrainingRound, model: Fit.Model.ValueType) -> Rule[Any]:
    """The rule of a training, any of whose rounds is this one; raises PlanError as `round_kind`."""
    steps = round_kind(model).rule(own)
    if own.objective:
        steps = WithObjective(cast(StepRule[Any], steps))
    return WithScore(cast(StepRule[Any], steps)) if own.scored else steps


def score_of(state: AnyState) -> Score | None:
    """What the last round released of how well the model fits, if it is over."""
    return None if isinstance(state, ClusterState) else state.score


def objectives_of(state: AnyState) -> tuple[Score, ...]:
    """Of each step how well its parameters fitted before it, where that was measured."""
    return () if isinstance(state, ClusterState) else state.objectives


def foretold_of(plan: Plan, units: int) -> list[tuple[str, float]]:
    """Of so many units: numbers by their names, and the error of noise alone, those of score and objective among them.

    Raises:
        PlanError: the plan's price means nothing, or its model is not known.
    """
    found = round_kind(plan.fit.model).foretold(plan, units)
    if plan.fit.round.objective:
        name = "(objective of each step)" if plan.fit.classes else "(objective of each step, over its limit)"
        limit = largest_loss(plan.fit) if plan.fit.classes else 1.0
        found = [*found, (name, limit * objective_error(plan, units))]
    if plan.fit.round.scored:
        name = "(accuracy)" if plan.fit.classes else "(squared error, over its limit)"
        found = [*found, (name, score_error(plan, units))]
    return found


def round_kind(model: Fit.Model.ValueType) -> RoundKind:
    """Raises PlanError for a model that this version does not train in rounds."""
    found = _KINDS.get(model)
    if found is None:
        raise PlanError("the plan's model is one that this version does not know")
    return found
