"""Models that are trained in rounds, as who asks for them describes them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from yingbi.api.problem import Kind, Problem
from yingbi.api.training import MAX_ROUNDS, MIN_ROUNDS
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Fit, TrainingRound
from yingbi.models.balance import ClassWeight, class_weights_message

DEFAULT_ROUNDS = 12


@dataclass(frozen=True)
class ModelInRounds(ABC):
    """What is common to models that are trained in rounds."""

    formula: str
    rows: str = ""
    where: str = ""
    rounds: int = DEFAULT_ROUNDS
    early_stop: bool = False
    score: bool = field(default=False, kw_only=True)
    """Measure in one more round, for 5 % of the price, how well the model fits the rows it was trained on."""

    def __post_init__(self) -> None:
        if self.score and self.rounds == MAX_ROUNDS:
            message = f"With a score there are {MAX_ROUNDS - 1} rounds at most before it."
            raise Problem(Kind.MALFORMED, "rounds", message, field="rounds", hint=f"{type(self).rounds} by default")
        if not MIN_ROUNDS <= self.rounds <= MAX_ROUNDS:
            message = f"A model is trained in {MIN_ROUNDS} to {MAX_ROUNDS} rounds, not {self.rounds}."
            raise Problem(Kind.MALFORMED, "rounds", message, field="rounds", hint=f"{type(self).rounds} by default")

    @property
    @abstractmethod
    def model(self) -> Fit.Model.ValueType:
        """As plans name it."""

    @property
    def training(self) -> TrainingRound:
        """What is said of every round: how many there are, and that steps tell how well the model fits."""
        return TrainingRound(rounds=self.rounds + self.score, scored=self.score, objective=True)

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        """What is asked in one round."""
        return job_pb2.TrainQuery(model=self.model, formula=self.formula, rows=self.rows, where=self.where, round=own)


@dataclass(frozen=True)
class LogisticRegression(ModelInRounds):
    """The odds of a class: `response ~ regressors`, as docs/learning.md says.

    Args:
        formula: "died ~ age + male"; the response a bool, a number with two values, or a category with declared ones.
            Of more than two values, the odds of each but the first against the first.
        rows, where: as of `LinearRegression`.
        rounds: how many jobs; each but the first two takes a step.
        early_stop: ask no further round where a gradient is no longer than its noise. Rounds that are not asked are
            not charged; asked, they would make the noise of the model less.
        alpha: of half the sum of squared coefficients but the constant, beside the sum of all persons' losses:
            scikit-learn's 1 / C. It costs nothing.
        class_weight: {"yes": 5} has rows of this class count five times; "balanced" every class as much.
        score: measure in a last round how well the model fits.
    """

    alpha: float = field(default=0.0, kw_only=True)
    class_weight: ClassWeight = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)
        class_weights_message(self.class_weight)

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_LOGISTIC_REGRESSION

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        return weighed(penalised(super().message(own), self.alpha), self.class_weight)


@dataclass(frozen=True)
class PoissonRegression(ModelInRounds):
    """The logarithm of a mean count: `response ~ regressors`; the response a number from 0 with a declared bound.

    Args: as of `LogisticRegression`; but `alpha` is beside the mean of all persons' losses, as scikit-learn's
        PoissonRegressor has it.
    """

    alpha: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_POISSON_REGRESSION

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        return penalised(super().message(own), self.alpha)


def check_alpha(alpha: float) -> None:
    """Refuse (MALFORMED "alpha") a penalty that is no number from 0."""
    if not 0 <= alpha < math.inf:
        message = f"alpha is a number from 0, not {alpha:g}."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out for no penalty")


def penalised(message: job_pb2.TrainQuery, alpha: float) -> job_pb2.TrainQuery:
    """The same with a penalty."""
    if alpha:
        message.alpha = alpha
    return message


def weighed(message: job_pb2.TrainQuery, given: ClassWeight) -> job_pb2.TrainQuery:
    """The same with weights of classes."""
    weights = class_weights_message(given)
    if weights is not None:
        message.class_weights.CopyFrom(weights)
    return message
