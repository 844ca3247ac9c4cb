"""Residuals of additive models, by the bin that a row is in. Scores are whole numbers, so their sums are exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.model_vectors import width
from yingbi.api.v1.plan_pb2 import BinnedGradient, ModelVector

from enclave_sim.privacy.clipping import Integers
from enclave_sim.privacy.product_clipping import clipped_units

Floats: TypeAlias = NDArray[np.float64]

_SCORE_ONE = 2.0**20
_GRID_ONE = 2.0**16


def binned_gradients(vector: ModelVector) -> Callable[[Floats], Floats]:
    """See BinnedGradient in plan.proto."""
    bins = _bins(vector)

    def of_rows(terms: Floats) -> Floats:
        residuals, cells = _residuals(vector, bins, terms)
        vectors = np.zeros((len(terms), width(vector)))
        np.put_along_axis(vectors, cells, residuals[:, np.newaxis], axis=1)
        return vectors

    return of_rows


def binned_sums(vector: ModelVector) -> Callable[[Floats, Integers], Integers]:
    """The sum over units with few rows of their clipped vectors, in steps of 2^-16; units begin at these rows.

    A row's vector is one number times a 1 for each feature, at different places.
    """
    bins = _bins(vector)

    def of_rows(terms: Floats, starts: Integers) -> Integers:
        residuals, cells = _residuals(vector, bins, terms)
        ones = np.ones(cells.shape)
        (clipped,) = clipped_units([residuals[:, np.newaxis] * _GRID_ONE], [ones], starts, vector.max_norm)
        sums = np.bincount(cells.ravel(), np.repeat(clipped[:, 0], cells.shape[1]), width(vector))
        return sums.astype(np.int64)

    return of_rows


def expected(vector: ModelVector) -> Callable[[Floats], tuple[Floats, Floats]]:
    """What is expected of each row: the chances of both classes, or one number; and its response, scaled likewise."""
    bins = _bins(vector)

    def of_rows(terms: Floats) -> tuple[Floats, Floats]:
        means, _ = _means(vector, bins, terms)
        is_binary = vector.binned_gradient.family == BinnedGradient.FAMILY_BERNOULLI_LOGIT
        chances = np.column_stack([1.0 - means, means]) if is_binary else means[:, np.newaxis]
        return chances, _scaled_response(vector, terms)

    return of_rows


def _bins(vector: ModelVector) -> list[tuple[Floats, Floats]]:
    """Each feature's edges and scores."""
    features = vector.binned_gradient.features
    return [(np.array(each.edges, np.float64), np.array(each.scores, np.float64)) for each in features]


def _scaled_response(vector: ModelVector, terms: Floats) -> Floats:
    """The response as the model sees it."""
    model = vector.binned_gradient
    scaled: Floats = model.scale * terms[:, -1] + model.shift
    return scaled


def _residuals(vector: ModelVector, bins: Sequence[tuple[Floats, Floats]], terms: Floats) -> tuple[Floats, Integers]:
    """Each row's residual, and its cell of each feature."""
    means, cells = _means(vector, bins, terms)
    if vector.binned_gradient.family == BinnedGradient.FAMILY_COUNT:
        return np.ones(len(terms)), cells
    residuals = _scaled_response(vector, terms) - means
    return np.nan_to_num(np.clip(residuals, -1.0, 1.0), nan=0.0), cells


def _means(vector: ModelVector, bins: Sequence[tuple[Floats, Floats]], terms: Floats) -> tuple[Floats, Integers]:
    """What is expected of each row's response, and its cell of each feature."""
    model = vector.binned_gradient
    cells = np.empty((len(terms), len(model.features)), np.int64)
    scores, start = np.full(len(terms), float(model.intercept)), 0
    for place, (edges, of_bins) in enumerate(bins):
        own = np.searchsorted(edges, terms[:, place], side="right")
        scores += of_bins[own]
        cells[:, place] = own + start
        start += len(of_bins)
    predictors = scores / _SCORE_ONE
    is_binary = model.family == BinnedGradient.FAMILY_BERNOULLI_LOGIT
    return 0.5 + 0.5 * np.tanh(0.5 * predictors) if is_binary else predictors, cells
