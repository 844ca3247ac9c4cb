"""Yingbi: ask questions of data that stays where it is.

    zone = yingbi.connect()
    liver = zone.dataset("nafld")
    answer = liver.sql("SELECT test, AVG(value) FROM labs GROUP BY test").run(epsilon=0.5)
    answer.receipt.verify()

Everything is loaded on first use, so that `import yingbi.api` pulls in nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yingbi.agreements import Agreement
    from yingbi.api.problem import Problem
    from yingbi.batch import Batch
    from yingbi.datasets import Dataset
    from yingbi.evaluation import Evaluation, ModelQuality
    from yingbi.jobs import Answer, Job
    from yingbi.learning import (
        PCA,
        GaussianNB,
        LinearRegression,
        Model,
        Ridge,
        Training,
    )
    from yingbi.models.kmeans import KMeans
    from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
    from yingbi.models.round_specs import LogisticRegression, PoissonRegression
    from yingbi.query import Preview, Query
    from yingbi.receipt import Receipt
    from yingbi.rounds_model import RoundsModel
    from yingbi.search import Search, SearchResult
    from yingbi.synthesis import MeasuredMarginals, Synthesis
    from yingbi.synthetic_rows import SyntheticRows
    from yingbi.zone import Zone, connect

__all__ = [
    "PCA",
    "Agreement",
    "Answer",
    "Batch",
    "Dataset",
    "Evaluation",
    "ExplainableBoosting",
    "GaussianNB",
    "Job",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "MeasuredMarginals",
    "Model",
    "ModelQuality",
    "NeuralNetwork",
    "PoissonRegression",
    "Preview",
    "Problem",
    "Query",
    "Receipt",
    "Ridge",
    "RoundsModel",
    "Search",
    "SearchResult",
    "Synthesis",
    "SyntheticRows",
    "Training",
    "Zone",
    "connect",
]

_HOMES = {
    "Agreement": "yingbi.agreements",
    "Answer": "yingbi.jobs",
    "Batch": "yingbi.batch",
    "Dataset": "yingbi.datasets",
    "Evaluation": "yingbi.evaluation",
    "ModelQuality": "yingbi.evaluation",
    "Job": "yingbi.jobs",
    "GaussianNB": "yingbi.learning",
    "KMeans": "yingbi.models.kmeans",
    "LinearRegression": "yingbi.learning",
    "ExplainableBoosting": "yingbi.models.network_specs",
    "LogisticRegression": "yingbi.models.round_specs",
    "NeuralNetwork": "yingbi.models.network_specs",
    "MeasuredMarginals": "yingbi.synthesis",
    "Model": "yingbi.learning",
    "PCA": "yingbi.learning",
    "PoissonRegression": "yingbi.models.round_specs",
    "Ridge": "yingbi.learning",
    "RoundsModel": "yingbi.rounds_model",
    "Search": "yingbi.search",
    "SearchResult": "yingbi.search",
    "Synthesis": "yingbi.synthesis",
    "SyntheticRows": "yingbi.synthetic_rows",
    "Training": "yingbi.learning",
    "Preview": "yingbi.query",
    "Problem": "yingbi.api.problem",
    "Query": "yingbi.query",
    "Receipt": "yingbi.receipt",
    "Zone": "yingbi.zone",
    "connect": "yingbi.zone",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
