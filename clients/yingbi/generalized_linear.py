"""Logistic and Poisson regression from noised gradients: the update rule, and how far noise moves the model. Pure.

Everything here is computed from released values and the plans, so it costs nothing, and whoever has the receipts
computes the same.

**Scales.** Round 0 releases the means and squares of the regressors z, and of the response y, round 1 the products of
(z - mean) / deviation. Of that matrix, which would be their correlation but for noise, eigenvalues are taken; those
within what the noise alone does to them (2 sqrt(k) times the noise of a cell) are set to 1, and none is below that. x =
(1, C^(-1/2) (z - mean) / deviation) has then second moments near to the identity: a gradient is as long in each
direction, so that one norm fits all, and noise spoils none more than others.

**Steps.** theta <- theta - a_t H(theta)^-1 g_t / n. H is what the matrix of second derivatives would be if x were
normal: it needs nothing but theta. a_t = 1 for the first three gradients, then 1/2, 1/3, ...: near to the solution,
where a gradient is linear, such steps average all further gradients. So the model has the noise of their mean, and
not of the last, and the number of rounds costs nothing but the first three. A step is cut to a length of 2.

**Bounds without bias.** A gradient is r x. Cut to a length, persons whom the model fits badly would weigh less, and the
model would be another one. Here weights depend on x and theta alone (`GeneralizedLinear` in plan.proto): x longer than
the root of its dimension weighs less, and a residual of a class is weighed by the longest that any response could make.
Where the model holds, expected gradients stay 0. For counts there is no such weight; their residuals are cut to two
deviations of the response.

**Weights of classes** c, over the largest, multiply a row's residual (plan.proto). Where the model of the weighed rows
holds, the chance of class j is a p_j / c_j, with a = 1 / sum(p_j / c_j): so derivatives are those without weights times
a, and the variance of a gradient is that of residuals p - (class j), each with the chance a p_j / c_j, times c_j².

**A penalty** of alpha / 2 times the squared coefficients but the constants, in the data's units, adds its derivative P
theta to a gradient after it was released, and P to H. Of classes alpha is beside the sum over persons (scikit-learn's
1 / C), so P has alpha over the number of persons, and over the largest weight; of counts beside the mean, as there too.
As rows and residuals weigh less than 1, the loss is a part of what it would be; that part of P is taken.

**Errors.** Of first order. Noise of deviation s in each of m averaged gradients moves theta by H^-1 s / (n sqrt(m)),
sampling by H^-1 J H^-1 / n, J being the variance of a person's gradient where the model holds. Both are of normal x; of
persons with several rows the second is an upper bound. What the rounds before the first gradient have of noise moves
only how steps are measured, and no solution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

from yingbi.api.model_vectors import PRODUCT, SQUARE
from yingbi.api.training import SET_UP_ROUNDS, step_rounds
from yingbi.api.v1.plan_pb2 import Fit, TrainingRound
from yingbi.cells import PlanError, to_python
from yingbi.matrices import SingularError, dot, eigenvectors, inverse, multiplied
from yingbi.models.balance import Balance, balance_of, shares_of
from yingbi.models.scores import Score
from yingbi.regression import INTERCEPT
from yingbi.rounds import Released
from yingbi.uncertain import Z

FULL_STEPS = 3
LONGEST_STEP = 2.0
CLASS_RESIDUAL = 0.5
"""What residuals of classes are weighed to: of two classes the least that weighs equal chances fully."""
COUNT_DEVIATIONS = 2.0
POINTS = 256
"""That stand for a normal distribution."""

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


@dataclass(frozen=True)
class State:
    """What is known after some rounds."""

    fit: Fit
    """Of the last round's plan."""
    units: float
    units_error: float
    response_mean: float
    """In units of the response; of several classes 0."""
    response_deviation: float
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    transform: tuple[tuple[float, ...], ...] = ()
    theta: tuple[tuple[float, ...], ...] = ()
    """A row for each class but the first, or one."""
    max_residual: float = 0.0
    noise: float = 0.0
    """Deviation of the noise in each coordinate of the last gradient, over the units."""
    gradient: float = 0.0
    """The length of the last gradient, over the units, with what the penalty adds."""
    balance: Balance = Balance()
    score: Score | None = None
    objectives: tuple[Score, ...] = ()
    """Of each step's parameters, before it."""

    @property
    def response_spread(self) -> float:
        """The deviation of counts, and 1 at least."""
        return max(self.response_deviation, 1.0)

    @property
    def gradients(self) -> int:
        """How many there were."""
        return max(self.fit.round.number + 1 - SET_UP_ROUNDS, 0)

    @property
    def is_told(self) -> bool:
        """Whether there are units enough beside the noise to tell anything."""
        return self.units > Z * self.units_error

    @property
    def noise_length(self) -> float:
        """What the noise of the last gradient is long."""
        return self.noise * math.sqrt(sum(map(len, self.theta)))


class GeneralizedLinearRule:
    """A `Rule`."""

    def first(self, rounds: int) -> TrainingRound:
        return TrainingRound(number=0, rounds=rounds)

    def after(self, state: State | None, released: Released) -> State:
        number = released.plan.fit.round.number
        try:
            if state is None:
                return _measured(released)
            return _scaled(state, released) if number < SET_UP_ROUNDS else _stepped(state, released)
        except (SingularError, OverflowError, ZeroDivisionError) as error:
            raise PlanError("the rounds give a model that is not finite") from error

    def next(self, state: State) -> TrainingRound | None:
        done = state.fit.round
        number = done.number + 1
        if number >= step_rounds(done):
            return None
        found = TrainingRound(number=number, rounds=done.rounds)
        if number < SET_UP_ROUNDS:
            found.centres[:], found.scales[:] = state.centres, state.scales
            return found
        found.MergeFrom(self.final(state))
        found.class_weights[:] = state.balance.weights
        return found

    def final(self, state: State) -> TrainingRound:
        """What a round says of the model as it is now."""
        return TrainingRound(
            transform=[each for row in state.transform for each in row],
            parameters=[each for row in state.theta for each in row],
            max_residual=state.max_residual,
        )


def _measured(released: Released) -> State:
    """After round 0: values are 1, means and squares, of the regressors and, but for several classes, the response."""
    fit, values, noise = released.plan.fit, released.values, released.deviation
    terms = (len(values) - 1) // 2
    units = max(values[0], noise)
    means = [value / units for value in values[1 : 1 + terms]]
    squares = [value / units for value in values[1 + terms :]]
    # What noise could make of a square.
    least = max(2 * noise / units, 1e-4)
    centres = tuple(
        min(max(mean, column.lower), column.upper) for mean, column in zip(means, fit.columns[:-1], strict=False)
    )
    scales = tuple(
        math.sqrt(min(max(square - centre * centre, least), 1.0))
        for square, centre in zip(squares, centres, strict=False)
    )
    mean = deviation = 0.0
    if len(fit.classes) <= 2:
        most = fit.columns[-1].half_range
        mean = max(means[-1], noise / units) * most
        deviation = math.sqrt(max(squares[-1] - means[-1] ** 2, noise / units)) * most
    balance = balance_of(fit, shares_of(fit, means, squares), noise / units)
    return State(fit, values[0], noise, mean, deviation, centres, scales, balance=balance)


def _scaled(state: State, released: Released) -> State:
    """After round 1: what makes the regressors' second moments near to the identity, and where to begin."""
    fit, regressors = released.plan.fit, len(state.scales)
    units = max(released.values[0], released.deviation) / SQUARE
    means = [value / (PRODUCT * units) for value in released.values[1 : 1 + regressors]]
    products = iter(released.values[1 + regressors :])
    matrix = [[0.0] * regressors for _ in range(regressors)]
    for row in range(regressors):
        for column in range(row, regressors):
            product = next(products) / units / (SQUARE if row == column else PRODUCT)
            matrix[row][column] = matrix[column][row] = product - means[row] * means[column]
    reach = 2 * math.sqrt(regressors) * released.deviation / (PRODUCT * units)
    whitened = _whitening(matrix, reach)
    slopes = [[part / scale for part, scale in zip(row, state.scales, strict=True)] for row in whitened]
    rows = [(-dot(row, state.centres), *row) for row in slopes]
    transform = ((1.0, *(0.0 for _ in state.scales)), *rows)
    start, residual = _start(fit, state)
    sets = max(len(fit.classes) - 1, 1)
    theta = tuple((start, *(0.0 for _ in state.scales)) for _ in range(sets))
    return replace(state, fit=fit, transform=transform, theta=theta, max_residual=residual)


def _whitening(matrix: Sequence[Sequence[float]], reach: float) -> list[list[float]]:
    """matrix^(-1/2), its eigenvalues taken as 1 where noise may have made the difference, and none below `reach`."""
    values, vectors = eigenvectors(matrix)
    taken = [1.0 if abs(value - 1) <= reach else max(value, reach, 1e-3) for value in values]
    size = range(len(values))
    return [
        [math.fsum(v[i] * v[j] / math.sqrt(value) for value, v in zip(taken, vectors, strict=True)) for j in size]
        for i in size
    ]


def _start(fit: Fit, state: State) -> tuple[float, float]:
    """The first constant, and what residuals are bounded by."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        most = fit.columns[-1].half_range
        mean = min(max(state.response_mean, 1e-6 * most), most)
        return math.log(mean), min(most, max(COUNT_DEVIATIONS * state.response_deviation, mean))
    if len(fit.classes) > 2:
        return 0.0, CLASS_RESIDUAL
    share = min(max(state.response_mean, 0.02), 0.98)
    return math.log(share / (1 - share)) + state.balance.log_odds, CLASS_RESIDUAL


def _stepped(state: State, released: Released) -> State:
    """After a gradient."""
    units = max(state.units, state.units_error)
    found = curvature(state)
    pulled = multiplied(penalty(state, found), [each for row in state.theta for each in row])
    gradient = [value / units + own for value, own in zip(released.values, pulled, strict=True)]
    taken = released.plan.fit.round.number - SET_UP_ROUNDS
    share = 1.0 if taken < FULL_STEPS else 1.0 / (taken - FULL_STEPS + 2)
    step = [share * each for each in multiplied(inverse(penalized(state, found)), gradient)]
    length = math.hypot(*step)
    factor = min(1.0, LONGEST_STEP / length) if length else 1.0
    size = len(state.transform)
    theta = tuple(
        tuple(value - factor * move for value, move in zip(row, step[place * size : (place + 1) * size], strict=True))
        for place, row in enumerate(state.theta)
    )
    return replace(
        state,
        fit=released.plan.fit,
        theta=theta,
        noise=released.deviation / units,
        gradient=math.hypot(*gradient),
    )


def to_units(state: State) -> list[list[float]]:
    """Coefficients of a set, in the data's units, are row · theta: a row for each, the constant first."""
    slopes = [
        [row[place] / column.half_range for row in state.transform]
        for place, column in enumerate(state.fit.columns[:-1], 1)
    ]
    # The constant is where all regressors are 0, and not where they are in the middle.
    centres = [column.centre for column in state.fit.columns[:-1]]
    constant = [
        row[0] - math.fsum(own[place] * centre for own, centre in zip(slopes, centres, strict=True))
        for place, row in enumerate(state.transform)
    ]
    return [constant, *slopes]


def penalty(state: State, found: Curvature) -> list[list[float]]:
    """P: what theta is multiplied with to make the derivative of the penalty, for a unit."""
    size, fit = len(state.transform), state.fit
    own = [[0.0] * size for _ in range(size)]
    if fit.alpha:
        is_mean = fit.model == Fit.MODEL_POISSON_REGRESSION
        units = 1.0 if is_mean else max(state.units, state.units_error) * state.balance.largest
        slopes, factor = to_units(state)[1:], found.kept * fit.alpha / units
        own = [[factor * math.fsum(row[i] * row[j] for row in slopes) for j in range(size)] for i in range(size)]
    sets = len(state.theta)
    return [
        [own[i % size][j % size] if i // size == j // size else 0.0 for j in range(size * sets)]
        for i in range(size * sets)
    ]


def penalized(state: State, found: Curvature) -> list[list[float]]:
    """H + P."""
    pairs = zip(found.hessian, penalty(state, found), strict=True)
    return [[a + b for a, b in zip(one, other, strict=True)] for one, other in pairs]


@dataclass(frozen=True)
class Curvature:
    """Of one unit, where the model holds and regressors are normal."""

    hessian: list[list[float]]
    variance: list[list[float]]
    """Of a gradient."""
    kept: float = 1.0
    """How much of the loss is left where rows and residuals weigh less, so that no gradient is too long."""


def curvature(state: State) -> Curvature:
    """What a unit's gradient and its derivative are on average at the present parameters, x being normal."""
    sets, regressors = len(state.theta), len(state.transform) - 1
    basis, projected = _basis([row[1:] for row in state.theta])
    rank, columns = len(basis), len(state.transform)
    at = range(sets)
    hessian = [[_Block(rank) for _ in at] for _ in at]
    variance = [[_Block(rank) for _ in at] for _ in at]
    kept = whole = 0.0
    for point in _points(rank):
        predictors = [row[0] + dot(own, point) for row, own in zip(state.theta, projected, strict=True)]
        length = math.sqrt(1 + dot(point, point) + regressors - rank)
        weight = min(1.0, math.sqrt(columns) / length)
        slopes, squares = _moments_at(state.fit, predictors, state.balance.weights)
        own = math.fsum(slopes[one][one] for one in at)
        kept += weight * own
        whole += own / weight_of(state.fit, means_of(state.fit, predictors))
        for one in at:
            for other in at:
                hessian[one][other].add(weight * slopes[one][other], point)
                variance[one][other].add(weight**2 * squares[one][other], point)
    slope, spread = (_whole(blocks, basis, regressors) for blocks in (hessian, variance))
    return Curvature(slope, spread, kept / whole if whole > 0 else 1.0)


class _Block:
    """The mean over points of w · (1, u)(1, u)ᵀ, and of w, which is what directions have that no parameter is in."""

    def __init__(self, rank: int) -> None:
        self.inside = [[0.0] * (rank + 1) for _ in range(rank + 1)]

    @property
    def outside(self) -> float:
        return self.inside[0][0]

    def add(self, weight: float, point: Sequence[float]) -> None:
        own = [weight / POINTS, *(weight * each / POINTS for each in point)]
        for row, left in zip(self.inside, (1.0, *point), strict=True):
            for place, right in enumerate(own):
                row[place] += left * right


def _whole(blocks: Sequence[Sequence[_Block]], basis: Sequence[Sequence[float]], regressors: int) -> list[list[float]]:
    """In the coordinates of theta: of each set the constant, then the slopes."""
    size = regressors + 1
    found = [[0.0] * (size * len(blocks)) for _ in range(size * len(blocks))]
    # What each coordinate is in (1, u), and where it is that no parameter is.
    inner = [(1.0, *(0.0 for _ in basis)), *((0.0, *(row[place] for row in basis)) for place in range(regressors))]
    for one, row in enumerate(blocks):
        for other, block in enumerate(row):
            half = [multiplied(block.inside, each) for each in inner]
            for i in range(size):
                for j in range(size):
                    rest = float(i == j > 0) - (dot(inner[i], inner[j]) if i and j else 0.0)
                    found[one * size + i][other * size + j] = dot(inner[i], half[j]) + rest * block.outside
    return found


def _basis(rows: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """Orthonormal directions that rows are in, at least one, and the rows in these coordinates."""
    found: list[list[float]] = []
    for row in rows:
        rest = list(row)
        for each in found * 2:
            part = dot(rest, each)
            rest = [value - part * other for value, other in zip(rest, each, strict=True)]
        length = math.hypot(*rest)
        if length > 1e-9 and len(found) < len(_PRIMES):
            found.append([value / length for value in rest])
    if not found:
        found = [[1.0, *(0.0 for _ in rows[0][1:])]]
    return found, [[dot(row, each) for each in found] for row in rows]


@lru_cache(maxsize=8)
def _points(rank: int) -> tuple[tuple[float, ...], ...]:
    """Points that are spread as a normal distribution is, always the same."""
    normal = NormalDist()
    if rank == 1:
        return tuple((normal.inv_cdf((place + 0.5) / POINTS),) for place in range(POINTS))
    return tuple(
        tuple(normal.inv_cdf(_radical(place + 1, prime)) for prime in _PRIMES[:rank]) for place in range(POINTS)
    )


def _radical(number: int, base: int) -> float:
    """The number's digits after the point in reverse: Halton's sequence."""
    found, digit = 0.0, 1.0
    while number:
        digit /= base
        number, rest = divmod(number, base)
        found += digit * rest
    return found


def coefficient_names(fit: Fit) -> list[str]:
    """In the order of `GeneralizedModel.coefficients`."""
    names = [INTERCEPT, *(column.name for column in fit.columns[:-1])]
    if len(fit.classes) <= 2:
        return names
    return [f"{to_python(value)}: {name}" for value in fit.classes[1:] for name in names]


def means_of(fit: Fit, predictors: Sequence[float]) -> list[float]:
    """What is expected of the response: its mean, or the chances of all classes but the first."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        return [math.exp(min(each, 700.0)) for each in predictors]
    largest = max(0.0, *predictors)
    powers = [math.exp(each - largest) for each in predictors]
    total = math.fsum([*powers, math.exp(-largest)])
    return [power / total for power in powers]


def weight_of(fit: Fit, means: Sequence[float]) -> float:
    """What residuals of a class are weighed by; see `GeneralizedLinear` in plan.proto."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        return 1.0
    square = math.fsum(each * each for each in means)
    return min(1.0, CLASS_RESIDUAL / math.sqrt(max(square, square - 2 * min(means) + 1)))


def _moments_at(
    fit: Fit, predictors: Sequence[float], weights: Sequence[float]
) -> tuple[list[list[float]], list[list[float]]]:
    """Of residuals where the model holds: their derivatives and their variances."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        # Cut as in the plan, so that no rare point decides.
        most = fit.columns[-1].half_range
        mean = min(means_of(fit, predictors)[0], max(most, 1.0))
        return [[mean]], [[mean]]
    means = means_of(fit, predictors)
    weight = weight_of(fit, means)
    spread = [
        [one * (float(place == row) - other) for place, other in enumerate(means)] for row, one in enumerate(means)
    ]
    once = [[weight * each for each in row] for row in spread]
    if not weights:
        return once, [[weight * each for each in row] for row in once]
    chances = [max(1 - math.fsum(means), 0.0), *means]
    share = 1 / math.fsum(chance / own for chance, own in zip(chances, weights, strict=True))
    squares = [[0.0] * len(means) for _ in means]
    for place, (chance, own) in enumerate(zip(chances, weights, strict=True)):
        residual = [mean - float(place == number) for number, mean in enumerate(means, 1)]
        for row, one in enumerate(residual):
            for column, other in enumerate(residual):
                squares[row][column] += weight * weight * share * chance * own * one * other
    return [[share * each for each in row] for row in once], squares
