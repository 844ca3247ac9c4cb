"""What is asked for: clusters."""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Fit, TrainingRound
from yingbi.models.round_specs import ModelInRounds

DEFAULT_CLUSTERS = 5
MAX_CLUSTERS = 1000


@dataclass(frozen=True)
class KMeans(ModelInRounds):
    """Centres that are nearest to their persons: `~ columns`, as docs/models.md says.

    Args:
        formula: "~ age + bmi"; distances are of columns scaled to [-1, 1] by their bounds.
        rows, where: as of `LinearRegression`.
        rounds: how many jobs; each but the first takes a step.
        clusters: how many centres, from 1 to 1,000.
    """

    clusters: int = DEFAULT_CLUSTERS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.clusters <= MAX_CLUSTERS:
            message = f"There are 1 to {MAX_CLUSTERS:,} clusters, not {self.clusters:,}."
            hint = f"{DEFAULT_CLUSTERS} by default"
            raise Problem(Kind.MALFORMED, "clusters", message, field="clusters", hint=hint)
        if self.score:
            message = "k-means has no score: its rounds say how far rows are from their centres."
            raise Problem(Kind.MALFORMED, "score", message, field="score", hint="leave score out")
        if self.early_stop:
            message = "k-means has no gradient to stop at."
            raise Problem(Kind.MALFORMED, "early_stop", message, field="early_stop", hint="ask fewer rounds")

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_K_MEANS

    @property
    def training(self) -> TrainingRound:
        """Without an objective of its own: its steps say how far units are from their centres."""
        return TrainingRound(rounds=self.rounds)

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        message = super().message(own)
        message.components = self.clusters
        return message
