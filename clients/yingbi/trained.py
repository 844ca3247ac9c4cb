"""What comes back of a training, however it went on: a model to predict with, to export and to deploy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yingbi.jobs import Answer
from yingbi.linear_model import Columns
from yingbi.models.kinds import able

if TYPE_CHECKING:
    from yingbi.deployments import Deployment


@dataclass(frozen=True)
class TrainedModel(Answer, ABC):
    """What is common to trained models. ± in the table is the standard error of noise and sampling together."""

    @property
    @abstractmethod
    def fitted(self) -> Any:
        """The model by itself."""

    @property
    @abstractmethod
    def card(self) -> dict[str, object]:
        """What whoever uses the model should know of it."""

    @property
    @abstractmethod
    def words(self) -> list[str]:
        """How good it is, in some sentences."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        found: str = self.fitted.fingerprint
        return found

    def predict(self, rows: Columns) -> list[Any]:
        """The response for rows of one's own: a number, the most probable class, or the nearest centre."""
        return list(able(self.fitted, "predict")(rows))

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The probability of each class, in their order; see `GeneralizedModel.predict_proba`."""
        return list(able(self.fitted, "predict_proba")(rows))

    def transform(self, rows: Columns) -> list[list[float]]:
        """The principal components of rows of one's own; of k-means their distances to all centres."""
        return list(able(self.fitted, "transform")(rows))

    def estimator(self) -> Any:
        """A fitted scikit-learn estimator, on columns as `fitted.frame_of` makes them."""
        return self.fitted.estimator()

    def deploy(self, name: str, **terms: Any) -> Deployment:
        """Keep the model in the zone, for others to use and not to see; see `yingbi.deployments.deploy`."""
        from yingbi.deployments import deploy

        return deploy(self.job.gateway, self.receipt, name, **terms)

    def to_onnx(self, path: str | Path) -> None:
        """Write the model as ONNX; see `models.onnx_export.write_onnx`."""
        from yingbi.models.onnx_export import write_onnx

        write_onnx(self.fitted, path)

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"model": self.card}

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.words])
