"""What comes back of a training in rounds: a model, with the receipts of all rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from yingbi.answer import Table
from yingbi.api import zcdp
from yingbi.display import cell_text
from yingbi.jobs import Job
from yingbi.models.in_rounds import FittedInRounds, objectives_of, round_kind, score_of
from yingbi.models.scores import Score
from yingbi.trained import TrainedModel
from yingbi.training_receipt import TrainingReceipt


@dataclass(frozen=True, repr=False)
class RoundsModel(TrainedModel):
    """A model that was trained in rounds. Its table has the coefficients, recomputed from all rounds' receipts.

    ± is the standard error of noise and sampling together. `job` is the last round's.
    """

    jobs: tuple[Job, ...] = ()

    @property
    def receipt(self) -> TrainingReceipt:
        """Of all rounds."""
        return self._receipt

    @cached_property
    def _receipt(self) -> TrainingReceipt:
        return TrainingReceipt.of([job.receipt.message for job in self.jobs], self.job.gateway.profile.trust)

    @cached_property
    def fitted(self) -> FittedInRounds:
        """The model by itself."""
        return self.receipt.model

    @property
    def score(self) -> Score | None:
        """How well it fits the rows it was trained on, where `score=True` had that measured."""
        return score_of(self.fitted.state)

    @cached_property
    def table(self) -> Table:
        return self.receipt.table()

    @property
    def replayed(self) -> bool:
        """Whether every round is the stored release of an earlier job, at no cost."""
        return all(job.message.replayed for job in self.jobs)

    @property
    def rho_units(self) -> int:
        """What all rounds cost, those among them that were asked before at the time."""
        return self.receipt.rho_units

    @property
    def price(self) -> str:
        if self.replayed:
            return "replayed: no cost"
        body, done = self.receipt.dossier.body, f"{len(self.jobs)} of {self.plan.fit.round.rounds} rounds"
        again = sum(job.message.replayed for job in self.jobs)
        free = f", {again} of them replayed at no cost" if again else ""
        return f"cost: ε {body.epsilon:g}, δ {body.delta:g} at most, in {done}{free}; ρ = {self._rho:.3g}"

    @cached_property
    def card(self) -> dict[str, object]:
        """What whoever uses the model should know of it."""
        body, plan = self.receipt.dossier.body, self.plan
        return {
            **self.fitted.to_json(),
            "score": None if self.score is None else self.score.to_json(),
            "objectives": [each.to_json() for each in objectives_of(self.fitted.state)],
            "trained_as": self.job.message.sql,
            "dataset": plan.dataset,
            "dataset_version": plan.dataset_version.hex(),
            "agreement": self.job.message.agreement or None,
            "jobs": [job.id for job in self.jobs],
            "epsilon": body.epsilon,
            "delta": body.delta,
            "rho": self._rho,
            "mechanism": body.mechanism,
            "notes": list(self.notes),
        }

    @property
    def words(self) -> list[str]:
        """How good it is, in some sentences."""
        state = self.fitted.state
        units = f"{cell_text(state.units, state.units_error)} units"
        lines = [f"{units}; {round_kind(state.fit.model).said(state)}"]
        left = state.fit.round.rounds - len(self.jobs)
        if left:
            lines.append(f"stopped early: {left} rounds were not asked, and are not charged")
        return [*lines, f"fingerprint {self.fingerprint}"]

    @property
    def _rho(self) -> float:
        return self.rho_units / zcdp.RHO_UNITS
