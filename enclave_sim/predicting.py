"""What a deployed model says of rows: a dot product and a link. Pure.

Every number of the design is cut to its column's declared range first, as it was when the model was trained. Rounding
would say little otherwise: at a million times the range of a column, an answer has six more digits of its coefficient.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_LOGISTIC,
    MODEL_KIND_MULTINOMIAL,
    MODEL_KIND_POISSON,
    DeployedModel,
    ModelForm,
    ModelKind,
)

Matrix = npt.NDArray[np.float64]

# Beyond it exp is infinite.
_MOST_LOG = 700.0


def predict(model: DeployedModel, design: bytes, decimals: int | None) -> bytes:
    """For each row of the design, a number of each predictor; NaN where one of the row's numbers is none.

    Args:
        design: row by row, binary64, little-endian; as many numbers as the form has columns in each.
        decimals: what answers are rounded to; None leaves them as they are.
    """
    form = model.form
    rows = np.frombuffer(design, dtype="<f8").reshape(-1, len(form.columns))
    coefficients = np.array([list(each.coefficients) for each in model.predictors], dtype=np.float64)
    intercepts = np.array([each.intercept for each in model.predictors], dtype=np.float64)
    with np.errstate(all="ignore"):
        eta = _within_range(form, rows) @ coefficients.T + intercepts
        answers = _linked(form.kind, np.nan_to_num(eta))
    if decimals is not None:
        answers = np.round(answers, decimals)
    answers[~np.isfinite(rows).all(axis=1)] = np.nan
    # -0.0 is 0.
    return bytes((answers + 0.0).astype("<f8").tobytes())


def _within_range(form: ModelForm, rows: Matrix) -> Matrix:
    ends = [sorted((c.centre + c.half_range * c.lower, c.centre + c.half_range * c.upper)) for c in form.columns]
    lower, upper = np.array(ends, dtype=np.float64).T
    return np.clip(np.nan_to_num(rows), lower, upper)


def _linked(kind: ModelKind.ValueType, eta: Matrix) -> Matrix:
    if kind == MODEL_KIND_LOGISTIC:
        return 1 / (1 + np.exp(-eta))
    if kind == MODEL_KIND_POISSON:
        return np.exp(np.minimum(eta, _MOST_LOG))
    if kind == MODEL_KIND_MULTINOMIAL:
        raised = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))
    return eta
