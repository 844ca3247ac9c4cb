"""Linear regression from released moments: coefficients, and how far noise and sampling move them. Pure.

Everything here is computed from released values and the plan, so it costs nothing, and whoever has the receipt
computes the same.

With z_i in [-1, 1], M = Σ (1, z)(1, z)ᵀ over units (each the mean over its rows) and g = Σ (1, z)·z_y, least squares is
M β = g. What is released is M + E and g + e with known normal noise. Solved as it is, a direction in which the
regressors vary less than the noise would get a coefficient of any size. So, as AdaSSP does (Wang, "Revisiting
differentially private linear regression", UAI 2018), a ridge λ is added on the regressors, not on the constant:

    (M + λ·diag(0, 1, ..., 1)) β = g,     λ = max(0, T − λ_min(S)),

S being the regressors' moments around their means, S = P M Pᵀ with P = (−means, I), and T a bound that the norm of S's
noise exceeds with probability 0.05 at most: by Tropp's bound for a sum of fixed matrices with independent normal
weights, P(‖Σ γ_k B_k‖ ≥ t) ≤ 2d·exp(−t² / 2v), v = ‖Σ B_k²‖ ("User-friendly tail bounds", 2012, Theorem 4.1). AdaSSP
pays a third of ε for λ_min; here it is read off the released matrix, whose noise T allows for anyway. Where S is large
beside its noise, λ is 0, and the fit is least squares on the released moments.

Errors are of first order. A source of noise that changes M by dM and g by dg changes β by (M + λD)⁻¹ (dg − dM β).
Sampling adds s²·(M + λD)⁻¹, s² being the released mean squared residual: units are taken to be drawn independently,
with residuals of one variance. What the ridge shrinks is in neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.cells import PlanError
from yingbi.matrices import Matrix, SingularError, dot, eigenvalues, inverse, multiplied
from yingbi.moments import Change, Moments, check_fit, moments_of
from yingbi.uncertain import Z

MISS = 0.05
"""How often the noise may exceed what the ridge allows for, at most."""

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Coefficient:
    """One of y = Σ coefficient · x. Errors are standard errors, None where they cannot be told."""

    name: str
    value: float
    noise_error: float | None
    """Of the noise alone: about the same fit without it."""
    std_error: float | None
    """Of noise and sampling: about what the rows are a sample of."""


@dataclass(frozen=True)
class Regression:
    """A fitted model, in the units of the data."""

    coefficients: tuple[Coefficient, ...]
    """The constant first, if there is one."""
    units: float
    units_error: float
    r_squared: float | None
    """The share of the response's variance that is explained; without a constant, of its mean square."""
    r_squared_error: float | None
    residual: float | None
    """Root of the mean squared residual."""
    ridge: float
    """λ over the units: 0 for least squares."""
    alpha: float

    @property
    def is_determined(self) -> bool:
        """Whether there were enough units to tell anything."""
        return self.residual is not None


def regression_of(plan: Plan, opened: Sequence[int]) -> Regression:
    """The model that `opened` is, under `plan`.

    Raises:
        PlanError: the plan trains no model that this version knows, or the vector does not fit it.
    """
    check_fit(plan)
    return regression(plan.fit, moments_of(plan, opened))


def regression(fit: Fit, moments: Moments) -> Regression:
    """The model that follows from its moments; raises PlanError where they are beyond doubles."""
    if moments.units <= Z * moments.units_error:
        return _undetermined(fit, moments)
    try:
        return _solved(fit, moments)
    except (SingularError, OverflowError, ZeroDivisionError) as error:
        raise PlanError("the plan's scale gives a model that is not finite") from error


@dataclass(frozen=True)
class _System:
    """The normal equations in scaled columns: those of the regressors, the constant first if there is one."""

    used: tuple[int, ...]
    moments: Moments
    penalty: tuple[float, ...]
    ridge: float

    @property
    def response(self) -> int:
        return self.moments.size - 1

    def matrix(self) -> list[list[float]]:
        values = self.moments.values
        return [
            [values[i][j] + (self.penalty[row] if row == column else 0.0) for column, j in enumerate(self.used)]
            for row, i in enumerate(self.used)
        ]

    def target(self) -> list[float]:
        return [self.moments.values[index][self.response] for index in self.used]


def _solved(fit: Fit, moments: Moments) -> Regression:
    system = _system(fit, moments)
    inverted = inverse(system.matrix()) if system.used else []
    beta = multiplied(inverted, system.target())
    moved = [multiplied(inverted, _pull(system, change, beta)) for change in moments.noise]
    rss, total = _Loss(system, beta), _Total(fit, moments)
    changes = [rss.change(change, move) for change, move in zip(moments.noise, moved, strict=True)]
    uncertainty = math.hypot(*changes)
    left = max(moments.units - len(beta), 1.0)
    # A residual below its own noise says no more than that it is small.
    variance = max(rss.value, uncertainty) / left
    scale = _to_units(fit, system.used)
    values = [dot(row, beta) + shift for row, shift in zip(scale.rows, scale.shifts, strict=True)]
    in_units = [[dot(row, move) for row in scale.rows] for move in moved]
    coefficients = []
    for place, (name, value) in enumerate(zip(_names(fit), values, strict=True)):
        noise = math.hypot(*(move[place] for move in in_units))
        sampling = math.sqrt(max(0.0, variance * _quadratic(inverted, scale.rows[place])))
        coefficients.append(Coefficient(name, value, _finite(noise), _finite(math.hypot(noise, sampling))))
    # Squares are not below 0, whatever noise says.
    r_squared = 1 - max(0.0, rss.value) / total.value if total.value > 0 else None
    error = None
    if r_squared is not None:
        parts = zip(changes, moments.noise, strict=True)
        error = math.hypot(*(own - (1 - r_squared) * total.change(change) for own, change in parts)) / total.value
    return Regression(
        tuple(coefficients),
        moments.units,
        moments.units_error,
        r_squared,
        error,
        fit.columns[-1].half_range * math.sqrt(variance),
        system.ridge / moments.units,
        fit.alpha,
    )


def _system(fit: Fit, moments: Moments) -> _System:
    regressors = range(1, moments.size - 1)
    used = (0, *regressors) if fit.intercept else tuple(regressors)
    own = [fit.alpha / fit.columns[index - 1].half_range ** 2 for index in regressors]
    ridge = _ridge(fit, moments, own)
    constant = [0.0] if fit.intercept else []
    return _System(used, moments, (*constant, *(ridge + each for each in own)), ridge)


def _ridge(fit: Fit, moments: Moments, penalty: Sequence[float]) -> float:
    """λ: what lifts the regressors' least moment to where noise does not decide its sign."""
    regressors = range(1, moments.size - 1)
    if not regressors:
        return 0.0
    means = [moments.values[0][index] / moments.units if fit.intercept else 0.0 for index in regressors]
    around = _around(moments.values, means)
    for place, each in enumerate(penalty):
        around[place][place] += each
    # Where there is no noise, as on rows of one's own, what doubles can tell apart.
    bound = max(noise_bound(moments, means), 1e-12 * moments.units)
    return max(0.0, bound - eigenvalues(around)[0])


def noise_bound(moments: Moments, means: Sequence[float]) -> float:
    """T: what the spectral norm of the noise of the regressors' moments around `means` exceeds in `MISS` at most."""
    squares = [[0.0] * len(means) for _ in means]
    for change in moments.noise:
        moved = _around(_matrix(change, moments.size), means)
        for row, left in enumerate(moved):
            if any(left):
                for column, right in enumerate(moved):
                    squares[row][column] += dot(left, right)
    variance = max(0.0, eigenvalues(squares)[-1])
    return math.sqrt(2 * variance * math.log(2 * len(means) / MISS))


def _around(values: Matrix, means: Sequence[float]) -> list[list[float]]:
    """P M Pᵀ: the regressors' moments around these means."""
    count = len(means)
    return [
        [
            values[row + 1][column + 1]
            - means[row] * values[0][column + 1]
            - means[column] * values[0][row + 1]
            + means[row] * means[column] * values[0][0]
            for column in range(count)
        ]
        for row in range(count)
    ]


def _matrix(change: Change, size: int) -> list[list[float]]:
    found = [[0.0] * size for _ in range(size)]
    for (left, right), part in change.items():
        found[left][right] = found[right][left] = part
    return found


def _part(change: Change, left: int, right: int) -> float:
    return change.get((min(left, right), max(left, right)), 0.0)


def _pull(system: _System, change: Change, beta: Sequence[float]) -> list[float]:
    """dg − dM β."""
    return [
        _part(change, left, system.response)
        - math.fsum(_part(change, left, right) * each for right, each in zip(system.used, beta, strict=True))
        for left in system.used
    ]


class _Loss:
    """The sum of squared residuals of β over units, in scaled columns, and what noise does to it."""

    def __init__(self, system: _System, beta: Sequence[float]) -> None:
        self._system, self._beta = system, beta
        self._weights = [*(-each for each in beta), 1.0]
        self._columns = [*system.used, system.response]
        values = system.moments.values
        self.value = dot(
            self._weights, [dot(self._weights, [values[i][j] for j in self._columns]) for i in self._columns]
        )

    def change(self, change: Change, moved: Sequence[float]) -> float:
        """By a source of noise, which moves β too: that matters as far as β is no minimum, by the penalty."""
        own = dot(
            self._weights,
            [dot(self._weights, [_part(change, i, j) for j in self._columns]) for i in self._columns],
        )
        pairs = zip(self._system.penalty, self._beta, moved, strict=True)
        return own - 2 * math.fsum(penalty * each * move for penalty, each, move in pairs)


class _Total:
    """The response's sum of squares: around its mean, where there is a constant."""

    def __init__(self, fit: Fit, moments: Moments) -> None:
        self._response = moments.size - 1
        self._mean = moments.values[0][self._response] / moments.units if fit.intercept else 0.0
        values = moments.values
        self.value = values[self._response][self._response] - self._mean * values[0][self._response]

    def change(self, change: Change) -> float:
        """By a source of noise."""
        response = self._response
        return (
            _part(change, response, response)
            - 2 * self._mean * _part(change, 0, response)
            + self._mean**2 * _part(change, 0, 0)
        )


@dataclass(frozen=True)
class _Scale:
    """Coefficients in the data's units are rows · β + shifts."""

    rows: list[list[float]]
    shifts: list[float]


def _to_units(fit: Fit, used: Sequence[int]) -> _Scale:
    response, rows, shifts = fit.columns[-1], [], []
    for index in used:
        if index:
            size = response.half_range / fit.columns[index - 1].half_range
            rows.append([size if other == index else 0.0 for other in used])
            shifts.append(0.0)
            continue
        # The constant is where all regressors are 0, and not where they are in the middle.
        others = [1.0, *(-fit.columns[other - 1].centre / fit.columns[other - 1].half_range for other in used if other)]
        rows.append([response.half_range * each for each in others])
        shifts.append(response.centre)
    return _Scale(rows, shifts)


def _names(fit: Fit) -> list[str]:
    names = [column.name for column in fit.columns[:-1]]
    return [INTERCEPT, *names] if fit.intercept else names


def _quadratic(matrix: Matrix, vector: Sequence[float]) -> float:
    return dot(vector, multiplied(matrix, vector))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _undetermined(fit: Fit, moments: Moments) -> Regression:
    """Too few units beside the noise to tell anything: the middle of what the response can be."""
    names = _names(fit)
    middle = {INTERCEPT: fit.columns[-1].centre} if fit.intercept else {}
    coefficients = tuple(Coefficient(name, middle.get(name, 0.0), None, None) for name in names)
    return Regression(coefficients, moments.units, moments.units_error, None, None, None, math.inf, fit.alpha)
