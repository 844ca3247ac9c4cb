"""The likelihood ratio attack: whether a person was in the data, from what many models say of them.

Carlini, Chien, Nasr, Song, Terzis, Tramèr, "Membership Inference Attacks From First Principles" (2022), in its online
form with several queries: confidences of models that were trained with the person, and of others that were trained
without, are fitted by a normal distribution each; a model that is attacked is guessed to be of the first kind where
that is so many times as likely. The attacker here knows all other rows, so that models differ by noise and by the
person alone: nobody can know more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta  # type: ignore[import-untyped]
from yingbi.api.zcdp import delta_of

Floats = NDArray[np.float64]
Confidences = Callable[[bool, int], Floats]
"""Of so many models with the person in their data, or without: a row each, log-odds at the points that are asked."""

FALSE_POSITIVE_RATES = (0.01, 0.05, 0.2)
"""That the attacker aims at; what is reached is counted."""

MOST_LOG_ODDS = 20.0
_RIDGE = 1e-6


@dataclass(frozen=True)
class Caught:
    """Guesses on models that the attacker had no part in: `models` with the person, and as many without."""

    models: int
    true: int
    false: int

    def rates(self) -> tuple[float, float]:
        """False and true positives."""
        return self.false / self.models, self.true / self.models

    def ends(self, alarm: float) -> tuple[float, float]:
        """What the rates are surely within, by Clopper and Pearson: false positives at most, true ones at least.

        Each is wrong with probability `alarm`.
        """
        most = float(beta.isf(alarm, self.false + 1, self.models - self.false)) if self.false < self.models else 1.0
        least = float(beta.ppf(alarm, self.true, self.models - self.true + 1)) if self.true else 0.0
        return most, least


def attacked(confidences: Confidences, shadows: int, models: int) -> list[Caught]:
    """Fit so many shadow models of each kind, then guess so many others, at each rate of `FALSE_POSITIVE_RATES`."""
    trained = [confidences(is_in, shadows) for is_in in (False, True)]
    kinds = [_Normal(each) for each in trained]

    def ratios(found: Floats) -> Floats:
        return kinds[1].log_density(found) - kinds[0].log_density(found)

    without, within = (ratios(confidences(is_in, models)) for is_in in (False, True))
    # Thresholds are of shadow models, and of no model that is guessed.
    fitted = ratios(trained[0])
    return [
        Caught(models, int((within > threshold).sum()), int((without > threshold).sum()))
        for threshold in np.quantile(fitted, [1 - rate for rate in FALSE_POSITIVE_RATES])
    ]


def breaks(found: list[Caught], allowed: Callable[[float], float], alarm: float) -> bool:
    """Whether true positives are surely more than the largest rate of false ones allows, at some threshold."""
    return any(least > allowed(most) for most, least in (each.ends(alarm) for each in found))


def by_epsilon(epsilon: float, delta: float) -> Callable[[float], float]:
    """The true positives that (ε, δ) allows: e^ε · FPR + δ (Kairouz, Oh, Viswanath 2015)."""
    return lambda rate: min(1.0, math.exp(epsilon) * rate + delta)


def by_charge(rho: float) -> Callable[[float], float]:
    """That all (ε, δ) together allow which the ledger reads from a charge of ρ."""
    curve = [by_epsilon(epsilon, delta_of(rho, epsilon)) for epsilon in np.geomspace(0.01, 20, 200).tolist()]
    return lambda rate: min(each(rate) for each in curve)


class _Normal:
    def __init__(self, found: Floats) -> None:
        self._mean = found.mean(axis=0)
        # Without noise all are the same.
        self._covariance = np.atleast_2d(np.cov(found.T)) + _RIDGE * np.eye(found.shape[1])
        self._inverse = np.linalg.inv(self._covariance)
        self._log_volume = float(np.linalg.slogdet(self._covariance)[1])

    def log_density(self, found: Floats) -> Floats:
        """But for a constant."""
        away = found - self._mean
        return np.asarray(-(np.einsum("ij,jk,ik->i", away, self._inverse, away) + self._log_volume) / 2)


def log_odds(probabilities: list[list[float]]) -> Floats:
    """Of the second class."""
    shares = np.array(probabilities)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(shares[:, 1]) - np.log(shares[:, 0]), -MOST_LOG_ODDS, MOST_LOG_ODDS))
