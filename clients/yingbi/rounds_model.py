"""What comes back of a training in rounds: a model, with the receipts of all rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yingbi.answer import Table
from yingbi.api import zcdp
from yingbi.display import cell_text
from yingbi.jobs import Answer, Job
from yingbi.linear_model import Columns
from yingbi.models.in_rounds import FittedInRounds, objectives_of, round_kind, score_of
from yingbi.models.kinds import able
from yingbi.models.scores import Score
from yingbi.training_receipt import TrainingReceipt

if TYPE_CHECKING:
    from yingbi.deployments import Deployment


@dataclass(frozen=True)
class RoundsModel(Answer):
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

    def deploy(self, name: str, **terms: Any) -> Deployment:
        """Keep the model in the zone, for others to use and not to see; see `yingbi.deployments.deploy`."""
        from yingbi.deployments import deploy

        return deploy(self.job.gateway, self.receipt, name, **terms)

    @cached_property
    def table(self) -> Table:
        return self.receipt.table()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        return self.fitted.fingerprint

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

    def predict(self, rows: Columns) -> list[Any]:
        """Classes, counts, or the nearest centres, for rows of one's own."""
        return list(able(self.fitted, "predict")(rows))

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The chances of classes; see `GeneralizedModel.predict_proba`."""
        return list(able(self.fitted, "predict_proba")(rows))

    def transform(self, rows: Columns) -> list[list[float]]:
        """Of k-means: the distances of rows of one's own to all centres."""
        return list(able(self.fitted, "transform")(rows))

    def estimator(self) -> Any:
        """A fitted scikit-learn estimator, on columns as `fitted.frame_of` makes them."""
        return self.fitted.estimator()

    def to_onnx(self, path: str | Path) -> None:
        """Write the model as ONNX; see `models.onnx_export.write_onnx`."""
        from yingbi.models.onnx_export import write_onnx

        write_onnx(self.fitted, path)

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

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"model": self.card}

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.words])

    @property
    def _rho(self) -> float:
        return self.rho_units / zcdp.RHO_UNITS
