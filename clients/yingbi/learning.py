"""Models to train on data that nobody sees: what to ask for, what it would cost, and what comes back."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cached_property

from yingbi.api import zcdp
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.jobs import Answer, Job, Progress
from yingbi.linear_model import Columns
from yingbi.mock_rows import UnitRows, mock_units, rows_of
from yingbi.models.kinds import Fitted, fitted_of, foretold, noise_by_name, rehearsed
from yingbi.models.specs import PCA, GaussianNB, ModelSpec
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.trained import TrainedModel

__all__ = ["PCA", "GaussianNB", "LinearRegression", "Model", "ModelSpec", "Ridge", "Training", "model_of"]

MOCK_ROWS = 1000


@dataclass(frozen=True)
class LinearRegression(ModelSpec):
    """Least squares: `response ~ regressors`, as docs/learning.md says.

    Args:
        formula: "value ~ age + C(clinic) + age:male".
        rows: which rows, as FROM has it: "labs JOIN patients USING (id)". By default the one table that has all the
            formula's columns, or those that have one each, joined.
        where: which of them, as WHERE has it.
    """

    @property
    def message(self) -> job_pb2.TrainQuery:
        """What is asked."""
        return job_pb2.TrainQuery(
            model=Fit.MODEL_LINEAR_REGRESSION, formula=self.formula, rows=self.rows, where=self.where
        )


@dataclass(frozen=True)
class Ridge(LinearRegression):
    """Least squares with `alpha` for each squared coefficient but the constant, as scikit-learn has it.

    A person counts once, so alpha is beside a sum over persons.
    """

    alpha: float = 1.0

    @property
    def message(self) -> job_pb2.TrainQuery:
        message = super().message
        message.alpha = self.alpha
        return message


@dataclass(frozen=True)
class Training(Query):
    """A model to train on one dataset, not asked yet. `sql` is empty."""

    spec: ModelSpec = field(default_factory=lambda: LinearRegression(""))
    declaration: DatasetDeclaration | None = field(default=None, repr=False, compare=False)

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> Model:
        """Train, and wait for the model; see `Query.run`."""
        return model_of(super().run(epsilon, delta, request_id=request_id, wait=wait, progress=progress))

    def mock(
        self, epsilon: float, *, rows: int = MOCK_ROWS, seed: int | None = None, frame: Columns | None = None
    ) -> Fitted:
        """The same model of made-up rows, with noise as large as the real one would have: nothing of the zone's data.

        Made-up columns are independent of each other, so no coefficient but the constant is far from 0 by more than
        its error.

        Args:
            rows: of each table.
            frame: rows of your own in their place, each a person's one row, with the formula's variables as columns.

        Raises:
            Problem: as `preview`; REFUSED "mock", where the rows are said in SQL, which nothing here reads.
        """
        assert self.declaration is not None
        foreseen = self.preview(epsilon)
        plan = foreseen.plan if foreseen.outlook is None else foreseen.outlook
        made = self._mock_rows(plan, rows, seed) if frame is None else rows_of(frame)
        # No privacy rests on it.
        return rehearsed(plan, [each.columns for each in made], random.Random(seed))  # noqa: S311

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.Query:
        message = super()._message(epsilon, delta)
        message.train.CopyFrom(self.spec.message)
        return message

    def _preview(self, question: job_pb2.Query, first: Job | None = None) -> Preview:
        preview = super()._preview(question, first)
        _check_fit(preview.plan if preview.outlook is None else preview.outlook, question.train)
        return preview

    def _mock_rows(self, plan: Plan, rows: int, seed: int | None) -> list[UnitRows]:
        assert self.declaration is not None
        in_sql = bool(self.spec.rows or self.spec.where)
        return mock_units(self.declaration, plan.fit, rows, seed, in_sql=in_sql)


@dataclass(frozen=True, repr=False)
class Model(TrainedModel):
    """A trained model. Its table has the coefficients, all recomputed from the receipt's opened integers.

    ± is the standard error of noise and sampling together.
    """

    @cached_property
    def fitted(self) -> Fitted:
        """The model by itself."""
        return fitted_of(self.plan, self.receipt.dossier.body.opened)

    @cached_property
    def card(self) -> dict[str, object]:
        """What whoever uses the model should know of it."""
        body, plan = self.receipt.dossier.body, self.plan
        return {
            **self.fitted.to_json(),
            "trained_as": self.job.message.sql,
            "dataset": plan.dataset,
            "dataset_version": plan.dataset_version.hex(),
            "agreement": self.job.message.agreement or None,
            "job": self.job.id,
            "epsilon": body.epsilon,
            "delta": body.delta,
            "rho": body.rho_units / zcdp.RHO_UNITS,
            "mechanism": body.mechanism,
            "predicted_noise_errors": self._predicted(),
            "notes": list(self.notes),
        }

    @property
    def words(self) -> list[str]:
        """How good it is, in some sentences."""
        return self.fitted.words

    def _predicted(self) -> dict[str, float | None]:
        """What the plan alone says of the numbers' noise at this many units, before anything is known of them."""
        units = self.fitted.units
        return noise_by_name(foretold(self.plan, math.floor(units))) if units >= 1 else {}


def model_of(answer: Answer) -> Model:
    """The model that an answer is; BAD_EVIDENCE where its plan trains none."""
    if not isinstance(answer, Model):
        raise not_what_was_asked("trains no model")
    return answer


def _check_fit(plan: Plan, asked: job_pb2.TrainQuery) -> None:
    """The plan trains this model with this formula, and no variable that the formula does not name."""
    fit = plan.fit
    if not plan.HasField("fit") or (fit.model, fit.formula) != (asked.model, asked.formula):
        raise not_what_was_asked("trains another model")
    if (fit.HasField("alpha"), fit.alpha) != (asked.HasField("alpha"), asked.alpha):
        raise not_what_was_asked("has another alpha")
    components = asked.components or (len(fit.columns) if fit.model == Fit.MODEL_PRINCIPAL_COMPONENTS else 0)
    if (fit.components, fit.standardized) != (components, asked.standardized):
        raise not_what_was_asked("has other components")
    if fit.response not in asked.formula or any(
        factor.variable not in asked.formula for column in fit.columns for factor in column.factors
    ):
        raise not_what_was_asked("is about another variable than the formula's")
