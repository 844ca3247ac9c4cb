"""Small networks and additive models of bins: what to ask for. How they are asked for is in `round_learning`."""

from __future__ import annotations

from dataclasses import dataclass, field

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Fit, Network, TrainingRound
from yingbi.models.balance import ClassWeight, class_weights_message
from yingbi.models.round_specs import ModelInRounds, weighed
from yingbi.rounds import MAX_HIDDEN, MAX_LAYERS


@dataclass(frozen=True)
class NeuralNetwork(ModelInRounds):
    """A network of one or two tanh layers, by gradients that are cut for each person: `response ~ regressors`.

    Args:
        formula: "died ~ age + male"; the response a bool, a number with two values, a category with declared ones, or
            a number with bounds, which is then what is predicted.
        rows, where: as of `LinearRegression`.
        rounds: how many jobs; each but the first takes a step.
        hidden: widths of the hidden layers.
        class_weight, score: as of `LogisticRegression`.
    """

    rounds: int = 31
    hidden: tuple[int, ...] = (32,)
    class_weight: ClassWeight = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        class_weights_message(self.class_weight)
        _refuse_early_stop(self)
        if not 1 <= len(self.hidden) <= MAX_LAYERS or not all(1 <= each <= MAX_HIDDEN for each in self.hidden):
            message = f"A network has one or two hidden layers of 1 to {MAX_HIDDEN}, not {self.hidden}."
            raise Problem(Kind.MALFORMED, "hidden", message, field="hidden", hint="(32,) by default")

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_NEURAL_NETWORK

    @property
    def training(self) -> TrainingRound:
        found = super().training
        found.network.CopyFrom(Network(hidden=self.hidden))
        return found

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        return weighed(super().message(own), self.class_weight)


@dataclass(frozen=True)
class ExplainableBoosting(ModelInRounds):
    """What each variable adds, bin by bin, to the odds of a class or to a number: `response ~ a + b`.

    Args:
        formula: "died ~ age + C(ward)"; no products. The response a bool, one of two values, or a number with bounds.
        rows, where: as of `LinearRegression`.
        rounds: how many jobs; each but the first takes a step.
    """

    rounds: int = 14

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_early_stop(self)

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_EXPLAINABLE_BOOSTING


def _refuse_early_stop(model: ModelInRounds) -> None:
    if model.early_stop:
        message = "Steps of this model become smaller by a plan, which its last rounds are part of."
        hint = "leave early_stop out, and say a smaller number of rounds"
        raise Problem(Kind.MALFORMED, "early_stop", message, field="early_stop", hint=hint)
