"""An additive model of bins from noised residuals: the update rule, and how far noise moves it. Pure.

y or the logarithm of its odds is a constant plus, for each feature, the score of the bin that its value is in.
Everything here is computed from released values and the plans, so it costs nothing, and whoever has the receipts
computes the same.

**Bins.** Round 0 counts units in each bin of each feature, and of the response. Neighbouring bins of a number are
joined until each has units enough beside the noise; categories keep theirs. The response says where the model begins:
its odds, or its mean, around which a number is measured in three times its deviation.

**Steps.** A round adds up residuals by bin, of all features at once. A bin's score moves by a part of its mean residual
over what that changes by the score (c p (1 - p) of odds, p being the share of the second class at the start): 1 /
features, but no less than 0.3. A count is taken for no less than twice its noise, so that no bin moves by noise over
next to nothing. The scores are those of the second half of the rounds, averaged, so that the noise is nearly that of
all of them.

**Smoothing.** Scores of neighbouring bins are near to each other, and how near, the released scores themselves say: of
differences over one, two and four bins what is more than the noise makes. With that as the variance of a step, scores
are the mean of what is then known of them, given what was released (a random walk that is seen through noise); those of
a category are drawn to their mean in the same way. The variance is never taken for less than `PRIOR`, a public guess. ±
is the deviation of what is then not known. It is of the noise alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from yingbi.api import zcdp
from yingbi.api.training import rho_units_of_gradient, rho_units_of_round, step_rounds
from yingbi.api.v1.plan_pb2 import BinnedGradient, Bins, Fit, Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.matrices import SingularError, inverse, multiplied
from yingbi.models.scores import Score
from yingbi.rounds import Released
from yingbi.uncertain import Z

SCORE_ONE = 2**20
"""Scores of plans are whole numbers of this part."""
LARGEST_SCORE = 30.0
LEAST_RATE = 0.3
LONGEST_STEP = 2.0
RESPONSE_SPREAD = 1 / 3
PRIOR = 0.1
"""Variance of scores that is taken for granted, as a share of the square of what scores are measured in."""
_UNITS_OF_NOISE = 2.0
"""What bins are joined to: counts over the noise that all rounds' residuals together have."""
_AVERAGED_NOISE = 1.2
"""What averaged scores have of noise, beside the mean of all rounds."""


@dataclass(frozen=True)
class Feature:
    """What is known of one."""

    edges: tuple[float, ...]
    """In z."""
    counts: tuple[float, ...]
    """Of units, at least twice their noise."""
    scores: tuple[float, ...]
    total: tuple[float, ...]
    """Of the second half's scores."""
    is_category: bool


@dataclass(frozen=True)
class BoostingState:
    """What is known after some rounds."""

    fit: Fit
    """Of the last round's plan."""
    units: float
    units_error: float
    features: tuple[Feature, ...]
    constant: float
    total: float
    """Of the second half's constants, so many."""
    averaged: int
    curvature: float
    """How much a residual changes with the score."""
    scale: float
    """Of the response, which is a number if it is not 1."""
    shift: float
    noise: float = 0.0
    """Deviation of the noise in each coordinate of the last round, over the units."""
    gradient: float = 0.0
    """The length of the last round's mean residuals by bin, over the units."""
    precision: float = 0.0
    """Of the sums of residuals: 1 / variance, added up over rounds."""
    score: Score | None = None
    objectives: tuple[Score, ...] = ()
    """Of each step's parameters, before it."""

    @property
    def response_spread(self) -> float:
        """The deviation of the response, as the model sees it."""
        return RESPONSE_SPREAD

    @property
    def gradients(self) -> int:
        """How many there were."""
        return self.fit.round.number

    @property
    def is_told(self) -> bool:
        """Whether there are units enough beside the noise to tell anything."""
        return self.units > Z * self.units_error

    @property
    def noise_length(self) -> float:
        """What the noise of the last round is long."""
        return self.noise * math.sqrt(sum(len(feature.counts) for feature in self.features))

    @property
    def final_constant(self) -> float:
        """The model's constant."""
        return self.total / self.averaged if self.averaged else self.constant


class BoostingRule:
    """A `Rule`."""

    def first(self, rounds: int) -> TrainingRound:
        return TrainingRound(number=0, rounds=rounds)

    def after(self, state: BoostingState | None, released: Released) -> BoostingState:
        try:
            return _counted(released) if state is None else _stepped(state, released)
        except (OverflowError, ZeroDivisionError) as error:
            raise PlanError("the rounds give a model that is not finite") from error

    def next(self, state: BoostingState) -> TrainingRound | None:
        done = state.fit.round
        if done.number + 1 >= step_rounds(done):
            return None
        found = _round_of(state, state.features, state.constant)
        found.number, found.rounds = done.number + 1, done.rounds
        return found

    def final(self, state: BoostingState) -> TrainingRound:
        """What a round says of the model as it is now."""
        return _round_of(state, shapes_of(state), state.final_constant)


def _round_of(state: BoostingState, shapes: Sequence[Feature | Shape], constant: float) -> TrainingRound:
    made = BinnedGradient(
        family=BinnedGradient.FAMILY_BERNOULLI_LOGIT if state.fit.classes else BinnedGradient.FAMILY_IDENTITY,
        features=[Bins(edges=each.edges, scores=map(_fixed, each.scores)) for each in shapes],
        intercept=_fixed(constant),
        scale=state.scale,
        shift=state.shift,
    )
    return TrainingRound(binned_gradient=made)


def _fixed(score: float) -> int:
    return round(min(max(score, -LARGEST_SCORE), LARGEST_SCORE) * SCORE_ONE)


def _counted(released: Released) -> BoostingState:
    """After round 0."""
    fit, noise = released.plan.fit, released.deviation
    bins = released.plan.statistics[0].model_vector.binned_gradient.features
    counts, start = list[list[float]](), 0
    for each in bins:
        counts.append(list(released.values[start : start + len(each.scores)]))
        start += len(each.scores)
    units = math.fsum(map(math.fsum, counts)) / len(bins)
    error = noise * math.sqrt(start) / len(bins)
    *own, response = counts
    least = max(_UNITS_OF_NOISE * noise_of_all(released.plan, len(own)), 2 * noise)
    features = tuple(
        _feature(each.edges, found, noise, least, is_category=bool(column.levels))
        for each, found, column in zip(bins, own, fit.columns, strict=False)
    )
    constant, curvature, scale, shift = _start(fit, bins[-1].edges, response, noise)
    return BoostingState(fit, units, error, features, constant, 0.0, 0, curvature, scale, shift)


def noise_of_all(plan: Plan, features: int) -> float:
    """Deviation of the noise in the mean of all rounds' sums of residuals."""
    own, bought = plan.fit.round, zcdp.bought(plan.epsilon, plan.delta)[0]
    steps = range(1, step_rounds(own))
    whole = (rho_units_of_round(bought, each, own.rounds, scored=own.scored) for each in steps)
    rho = sum(rho_units_of_gradient(each, own) for each in whole) / zcdp.RHO_UNITS
    shares = math.sqrt(plan.noise.parties / max(plan.noise.parties - plan.noise.curious, 1))
    return plan.noise.parties_per_unit * shares * math.sqrt(features / (2 * rho))


def expected_errors(plan: Plan, units: int) -> list[tuple[str, float]]:
    """What noise adds to the score of a bin of each variable, units being spread evenly over bins, none joined.

    Raises:
        PlanError: the plan's price means nothing.
    """
    fit, features = plan.fit, plan.statistics[0].model_vector.binned_gradient.features
    curvature, unit = (0.25, 1.0) if fit.classes else (1.0, fit.columns[-1].half_range)
    try:
        own = noise_of_all(plan, len(fit.columns) - 1) * unit / curvature
    except zcdp.BadPrivacyParameter as error:
        raise PlanError("the plan's price means nothing") from error
    return [
        (f"{column.name} (each of {len(feature.scores)} bins)", own * len(feature.scores) / units)
        for column, feature in zip(fit.columns[:-1], features, strict=False)
    ]


def _feature(
    edges: Sequence[float], counts: Sequence[float], noise: float, least: float, *, is_category: bool
) -> Feature:
    groups = [[place] for place in range(len(counts))] if is_category else _joined(counts, least)
    kept = tuple(edges[group[-1]] for group in groups[:-1])
    sums = tuple(max(math.fsum(counts[place] for place in group), 2 * noise) for group in groups)
    nothing = (0.0,) * len(sums)
    return Feature(kept, sums, nothing, nothing, is_category)


def _joined(counts: Sequence[float], least: float) -> list[list[int]]:
    """Neighbouring bins, so that each group has that many units; the last ones go with those before."""
    groups, group, total = list[list[int]](), list[int](), 0.0
    for place, count in enumerate(counts):
        group.append(place)
        total += max(count, 0.0)
        if total >= least:
            groups.append(group)
            group, total = [], 0.0
    if group and groups:
        groups[-1] += group
    return groups or [group]


def _start(
    fit: Fit, edges: Sequence[float], counts: Sequence[float], noise: float
) -> tuple[float, float, float, float]:
    """The first constant, how much residuals change with it, and how the response is measured."""
    shares = [max(count, 0.0) for count in counts]
    total = max(math.fsum(shares), noise)
    if fit.classes:
        share = min(max(shares[-1] / total, 0.02), 0.98)
        return math.log(share / (1 - share)), share * (1 - share), 1.0, 0.0
    ends = (fit.columns[-1].lower, *edges, fit.columns[-1].upper)
    middles = [(lower + upper) / 2 for lower, upper in itertools.pairwise(ends)]
    # What noise alone would make of bins that are empty is left out.
    kept = [share if share > 2 * noise else 0.0 for share in shares]
    total = math.fsum(kept) or 1.0
    mean = math.fsum(share * middle for share, middle in zip(kept, middles, strict=True)) / total
    square = math.fsum(share * (middle - mean) ** 2 for share, middle in zip(kept, middles, strict=True)) / total
    width = (ends[-1] - ends[0]) / len(counts)
    scale = RESPONSE_SPREAD / max(math.sqrt(square), width / 2)
    return 0.0, 1.0, scale, -mean * scale


def _stepped(state: BoostingState, released: Released) -> BoostingState:
    """After a round of residuals."""
    own = released.plan.fit.round
    units = max(state.units, state.units_error)
    sums, start = list[tuple[float, ...]](), 0
    for feature in state.features:
        sums.append(released.values[start : start + len(feature.counts)])
        start += len(feature.counts)
    # Each feature's sums add up to the same, but for the noise.
    mean = math.fsum(map(math.fsum, sums)) / (len(sums) * units)
    constant = state.constant + _cut(mean / state.curvature, 1.0)
    rate = max(1 / len(sums), LEAST_RATE)
    is_late = 2 * own.number >= step_rounds(own)
    features = tuple(
        _moved(feature, found, mean, state.curvature, rate, is_late=is_late)
        for feature, found in zip(state.features, sums, strict=True)
    )
    return replace(
        state,
        fit=released.plan.fit,
        features=features,
        constant=constant,
        total=state.total + is_late * constant,
        averaged=state.averaged + is_late,
        noise=released.deviation / units,
        gradient=math.hypot(*released.values) / units,
        precision=state.precision + 1 / max(released.deviation, 1e-9) ** 2,
    )


def _moved(
    feature: Feature, sums: Sequence[float], mean: float, curvature: float, rate: float, *, is_late: bool
) -> Feature:
    moved = [
        score + rate * _cut((found - mean * count) / (curvature * count), LONGEST_STEP)
        for score, found, count in zip(feature.scores, sums, feature.counts, strict=True)
    ]
    # The constant has what all bins have in common.
    middle = math.fsum(a * b for a, b in zip(moved, feature.counts, strict=True)) / math.fsum(feature.counts)
    scores = tuple(score - middle for score in moved)
    total = tuple(a + b for a, b in zip(feature.total, scores, strict=True)) if is_late else feature.total
    return replace(feature, scores=scores, total=total)


def _cut(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


@dataclass(frozen=True)
class Shape:
    """What one feature adds, by bin, as the model has it."""

    edges: tuple[float, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]


def shapes_of(state: BoostingState) -> tuple[Shape, ...]:
    """Of each feature; raises PlanError."""
    try:
        return tuple(_smoothed(state, feature) for feature in state.features)
    except (SingularError, OverflowError, ZeroDivisionError) as error:
        raise PlanError("the rounds give a model that is not finite") from error


def _smoothed(state: BoostingState, feature: Feature) -> Shape:
    averaged = max(state.averaged, 1)
    scores = [total / averaged for total in feature.total] if state.averaged else list(feature.scores)
    deviation = _AVERAGED_NOISE / math.sqrt(state.precision)
    variances = [(deviation / (state.curvature * count)) ** 2 for count in feature.counts]
    prior = PRIOR * (1.0 if state.fit.classes else RESPONSE_SPREAD**2)
    if len(scores) == 1:
        return Shape(feature.edges, (0.0,), (0.0,))
    if feature.is_category:
        return _drawn_together(feature, scores, variances, prior)
    walk = max(_walk(scores, variances), 4 * prior / len(scores))
    precision = [[0.0] * len(scores) for _ in scores]
    for place, variance in enumerate(variances):
        precision[place][place] += 1 / variance
    for place in range(len(scores) - 1):
        for one, other in ((place, place + 1), (place + 1, place)):
            precision[one][one] += 1 / walk
            precision[one][other] -= 1 / walk
    covariance = inverse(precision)
    found = multiplied(covariance, [score / variance for score, variance in zip(scores, variances, strict=True)])
    errors = tuple(math.sqrt(max(covariance[place][place], 0.0)) for place in range(len(scores)))
    return Shape(feature.edges, tuple(found), errors)


def _drawn_together(feature: Feature, scores: Sequence[float], variances: Sequence[float], prior: float) -> Shape:
    total = math.fsum(feature.counts)
    spread = math.fsum(
        count * (score * score - variance)
        for count, score, variance in zip(feature.counts, scores, variances, strict=True)
    )
    own = max(spread / total, prior)
    found = tuple(score * own / (own + variance) for score, variance in zip(scores, variances, strict=True))
    return Shape(feature.edges, found, tuple(math.sqrt(own * each / (own + each)) for each in variances))


def _walk(scores: Sequence[float], variances: Sequence[float]) -> float:
    """The variance of a step between neighbours, by what differences have more than their noise."""
    found = 0.0
    for lag in (1, 2, 4):
        if lag < len(scores):
            pairs = list(zip(scores, scores[lag:], variances, variances[lag:], strict=False))
            weights = [1 / (one + other) ** 2 for *_, one, other in pairs]
            excess = [(right - left) ** 2 - one - other for left, right, one, other in pairs]
            own = math.fsum(w * e for w, e in zip(weights, excess, strict=True)) / math.fsum(weights)
            found = max(found, own / lag)
    return found
