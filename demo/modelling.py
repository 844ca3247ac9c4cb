"""A model of deaths, trained on rows that nobody sees, and tried on them as somebody else's would be."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yingbi
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

FORMULA = "status ~ age + male + bmi"
COLUMNS = ["age", "male", "bmi"]
EPSILON_TRAIN, EPSILON_EVALUATE = 1.0, 0.5


def trained(dataset: yingbi.Dataset) -> yingbi.RoundsModel:
    """By rounds of noised gradients."""
    return dataset.train(yingbi.LogisticRegression(FORMULA), EPSILON_TRAIN, progress=False)


def evaluated(dataset: yingbi.Dataset, model: yingbi.RoundsModel, folder: Path) -> yingbi.ModelQuality:
    """The same model as a file, as a developer who brings one would have it evaluated."""
    file = folder / "model.onnx"
    model.to_onnx(file)
    return dataset.evaluate(
        file, inputs=COLUMNS, response="status", task="binary", by=["male"], epsilon=EPSILON_EVALUATE, progress=False
    )


def areas(model: yingbi.RoundsModel, patients: pd.DataFrame) -> tuple[float, float]:
    """Under the ROC curves, on these rows: of the model, and of one that was trained on them."""
    complete = patients.dropna(subset=[*COLUMNS, "status"])
    clear = LogisticRegression(C=1e6, max_iter=1000).fit(complete[COLUMNS], complete["status"])
    rows = {name: complete[name].tolist() for name in COLUMNS}
    own = [chances[1] for chances in model.predict_proba(rows)]
    return (
        float(roc_auc_score(complete["status"], own)),
        float(roc_auc_score(complete["status"], clear.predict_proba(complete[COLUMNS])[:, 1])),
    )
