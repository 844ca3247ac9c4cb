"""Models to train on data that nobody sees: what to ask for, what it would cost, and what comes back."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from yingbi.answer import to_json
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan
from yingbi.display import cell_text, error_text
from yingbi.jobs import Answer, Job, Progress
from yingbi.linear_model import Columns, LinearModel, design_column, fitted_of
from yingbi.mock import MockTable, mock_tables
from yingbi.moments import exact_moments, expected_moments, pairs
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.regression import regression

MOCK_ROWS = 1000


@dataclass(frozen=True)
class LinearRegression:
    """Least squares: `response ~ regressors`, as docs/learning.md says.

    Args:
        formula: "value ~ age + C(clinic) + age:male".
        rows: which rows, as FROM has it: "labs JOIN patients USING (id)". By default the one table that has all the
            formula's columns, or those that have one each, joined.
        where: which of them, as WHERE has it.
    """

    formula: str
    rows: str = ""
    where: str = ""

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


class _NotThere:
    def __init__(self, *_: object, **__: object) -> None:
        raise not_there(type(self).__name__)


class LogisticRegression(_NotThere):
    """Not there yet."""


class PoissonRegression(_NotThere):
    """Not there yet."""


class GaussianNB(_NotThere):
    """Not there yet."""


class KMeans(_NotThere):
    """Not there yet."""


class PCA(_NotThere):
    """Not there yet."""


def not_there(name: str) -> Problem:
    """The problem with a model that nobody has written."""
    hint = "LinearRegression and Ridge are"
    return Problem(Kind.REFUSED, "model_not_there", f"{name} is not there yet.", field="model", hint=hint)


@dataclass(frozen=True)
class Training(Query):
    """A model to train on one dataset, not asked yet. `sql` is empty."""

    spec: LinearRegression = field(default_factory=lambda: LinearRegression(""))
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
    ) -> LinearModel:
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
        made = self._mock_rows(plan, rows, seed) if frame is None else _rows_of(frame)
        exact = exact_moments(plan, _sums(plan, made))
        # No privacy rests on it.
        drawn = exact.noised(random.Random(seed))  # noqa: S311
        return LinearModel(plan.fit, regression(plan.fit, drawn))

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.Query:
        message = super()._message(epsilon, delta)
        message.train.CopyFrom(self.spec.message)
        return message

    def _preview(self, question: job_pb2.Query, first: Job | None = None) -> Preview:
        preview = super()._preview(question, first)
        _check_fit(preview.plan if preview.outlook is None else preview.outlook, question.train)
        return preview

    def _mock_rows(self, plan: Plan, rows: int, seed: int | None) -> list[_UnitRows]:
        assert self.declaration is not None
        if self.spec.rows or self.spec.where:
            raise _no_mock("rows and where are SQL")
        variables = dict.fromkeys(factor.variable for each in plan.fit.columns for factor in each.factors)
        return _joined(mock_tables(self.declaration, rows, seed), list(variables), self.declaration.privacy_unit)


@dataclass(frozen=True)
class Model(Answer):
    """A trained model. Its table has the coefficients, all recomputed from the receipt's opened integers.

    ± is the standard error of noise and sampling together.
    """

    @cached_property
    def fitted(self) -> LinearModel:
        """The model by itself."""
        return fitted_of(self.plan, self.receipt.dossier.body.opened)

    @property
    def fingerprint(self) -> str:
        """See `LinearModel.fingerprint`."""
        return self.fitted.fingerprint

    def predict(self, rows: Columns) -> list[float]:
        """The response for rows of one's own; see `LinearModel.predict`."""
        return self.fitted.predict(rows)

    def estimator(self) -> Any:
        """A fitted scikit-learn estimator; see `LinearModel.estimator`."""
        return self.fitted.estimator()

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
        found, name = self.fitted.regression, self.plan.fit.columns[-1].name
        units = f"{cell_text(found.units, found.units_error)} {'units' if found.units != 1 else 'unit'}"
        if not found.is_determined:
            return [f"{units}: too few beside the noise to tell anything"]
        r_squared = cell_text(found.r_squared, found.r_squared_error)
        lines = [f"R² {r_squared} over {units}; {name} is within {error_text(found.residual)} of it (root mean square)"]
        if found.ridge > 0:
            lines.append(
                f"a ridge of {found.ridge:.2g} of the units was added, so that noise decides no coefficient: "
                "all are shrunk, which ± does not have"
            )
        return [*lines, f"fingerprint {self.fingerprint}"]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"model": self.card}

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.words])

    def _predicted(self) -> dict[str, float | None]:
        """What the plan alone says of the coefficients' noise at this many units, before anything is known of them."""
        units = self.fitted.regression.units
        if not units >= 1:
            return {}
        foreseen = regression(self.plan.fit, expected_moments(self.plan, math.floor(units)))
        return {each.name: each.noise_error for each in foreseen.coefficients}


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
    if any(factor.variable not in asked.formula for column in fit.columns for factor in column.factors):
        raise not_what_was_asked("is about another variable than the formula's")


@dataclass(frozen=True)
class _UnitRows:
    """One unit's rows."""

    columns: Columns


def _sums(plan: Plan, units: Sequence[_UnitRows]) -> dict[tuple[int, int], float]:
    """Σ over units of the means of z_i · z_j over the unit's rows that have all variables."""
    fit = plan.fit
    sums = dict.fromkeys(pairs(len(fit.columns) + 1), 0.0)
    for unit in units:
        scaled = [[1.0] * _length(unit), *(_scaled(column, unit.columns) for column in fit.columns)]
        complete = [row for row in zip(*scaled, strict=True) if all(map(math.isfinite, row))]
        for left, right in sums if complete else ():
            sums[left, right] += math.fsum(row[left] * row[right] for row in complete) / len(complete)
    return sums


def _length(unit: _UnitRows) -> int:
    return len(next(iter(unit.columns.values()), ()))


def _scaled(column: FitColumn, rows: Columns) -> list[float]:
    z = ((value - column.centre) / column.half_range for value in design_column(column, rows))
    return [each if math.isnan(each) else min(max(each, column.lower), column.upper) for each in z]


def _rows_of(frame: Columns) -> list[_UnitRows]:
    """Each row as a unit of its own."""
    names = list(frame)
    return [
        _UnitRows({name: [cell] for name, cell in zip(names, row, strict=True)})
        for row in zip(*(list(frame[name]) for name in names), strict=True)
    ]


def _joined(tables: Sequence[MockTable], variables: Sequence[str], unit: str) -> list[_UnitRows]:
    """The variables of made-up rows; where they are in several tables, every pair of a unit's rows."""
    homes: dict[str, tuple[int, int]] = {}
    for variable in variables:
        places = [
            (number, table.header.index(name))
            for number, table in enumerate(tables)
            for name in table.header
            if variable.lower() in (name.lower(), f"{table.name}.{name}".lower())
        ]
        if not places:
            raise _no_mock(f"{variable} is SQL, or another name for a column")
        holding = {number for number, _ in homes.values()}
        homes[variable] = next((place for place in places if place[0] in holding), places[0])
    used = sorted({number for number, _ in homes.values()})
    by_unit: list[dict[object, list[Sequence[object]]]] = []
    for number in used:
        place, found = tables[number].header.index(unit), dict[object, list[Sequence[object]]]()
        for row in tables[number].rows:
            found.setdefault(to_json(row[place]), []).append(row)
        by_unit.append(found)
    made = []
    for one in by_unit[0]:
        rows = list(itertools.product(*(each.get(one, []) for each in by_unit)))
        if rows:
            cells = {
                variable: [row[used.index(number)][place] for row in rows]
                for variable, (number, place) in homes.items()
            }
            made.append(_UnitRows(cells))
    return made


def _no_mock(why: str) -> NoReturn:
    raise Problem(
        Kind.REFUSED,
        "mock",
        f"Made-up rows cannot be brought into this form here: {why}.",
        field="mock",
        hint="pass a frame of rows of your own, with the formula's variables as columns",
    )
