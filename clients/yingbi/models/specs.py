"""What is asked for: models by their formulas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Fit


@dataclass(frozen=True)
class ModelSpec(ABC):
    """A model and the rows that it is of.

    Args:
        formula: what it is about.
        rows: which rows, as FROM has it: "labs JOIN patients USING (id)". By default the one table that has all the
            formula's columns, or those that have one each, joined.
        where: which of them, as WHERE has it.
    """

    formula: str
    rows: str = ""
    where: str = ""

    @property
    @abstractmethod
    def message(self) -> job_pb2.TrainQuery:
        """What is asked."""


@dataclass(frozen=True)
class GaussianNB(ModelSpec):
    """Gaussian naive Bayes: `class ~ columns`, as docs/models.md says.

    The class is a category with declared values, or a bool.
    """

    @property
    def message(self) -> job_pb2.TrainQuery:
        model = Fit.MODEL_GAUSSIAN_NAIVE_BAYES
        return job_pb2.TrainQuery(model=model, formula=self.formula, rows=self.rows, where=self.where)


@dataclass(frozen=True)
class PCA(ModelSpec):
    """Principal components, and with them means, variances and covariances: `~ columns`, as docs/models.md says.

    Args:
        components: how many are told; 0 for all.
        standardized: of the columns over their standard deviations, so of their correlations.
    """

    components: int = 0
    standardized: bool = False

    @property
    def message(self) -> job_pb2.TrainQuery:
        return job_pb2.TrainQuery(
            model=Fit.MODEL_PRINCIPAL_COMPONENTS,
            formula=self.formula,
            rows=self.rows,
            where=self.where,
            components=self.components,
            standardized=self.standardized,
        )
