"""A small network from noised gradients: the update rule. Pure.

Everything here is computed from released values and the plans, so it costs nothing, and whoever has the receipts
computes the same.

**Scales.** Round 0 releases means and squares of the regressors z, and of the response. Inputs are (z - mean) times
0.75 / deviation, so that a tanh is neither a line nor a step of them. A number as response is measured in twice its
deviation. The first weights are public: normal numbers that follow from the formula, rows of a layer with k inputs of
length sqrt(3), those of the outputs of 1/2; the last constants say how frequent a class is.

**Steps.** v <- 0.9 v + g / n, theta <- theta - rate v. The rate falls to 0 over the second half; the model is the mean
of theta over the last quarter. The norm that gradients are cut to, and the rate, depend on what is known before the
first gradient: on units over the noise that a gradient of norm 1 has. Below `QUIET` noise decides: a norm of 1 and a
rate of 1, which find little more than a linear model does. Above it a norm of 4 and a rate of 8, or, with one input or
with class weights, of 4. No rate is above 3.75 over the largest curvature of the loss in the outputs' weights, for
inputs that are normal: with this momentum steps beyond 3.8 grow.

With weights of classes, which are 1 at most, units are taken for as many as they count: gradients are divided by what
all weights add up to, and rate and norm follow from that.

Cutting moves a model: persons that it fits badly weigh less. A gradient has no bound that would be of use instead.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from yingbi.api import zcdp
from yingbi.api.model_vectors import layers
from yingbi.api.training import rho_units_of_step, step_rounds
from yingbi.api.v1.plan_pb2 import Fit, Network, Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.matrices import dot
from yingbi.models.balance import Balance, balance_of, shares_of
from yingbi.models.scores import Score
from yingbi.rounds import Released
from yingbi.uncertain import Z

PARAMETER_ONE = 2**20
"""Parameters of plans are whole numbers of this part."""
LARGEST_PARAMETER = 63.0
GRADIENT_UNIT = 2.0**6
"""What a plan's vector is in gradients; see Network in plan.proto."""

SPREAD = 0.75
RESPONSE_SPREAD = 0.5
MOMENTUM = 0.9
QUIET = 450.0
STABLE = 3.75
"""Rate times curvature, at most: below 2 (1 + `MOMENTUM`)."""
_POINTS = 200
"""That stand for a normal distribution."""
_LEAST_DEVIATION = 0.01


@dataclass(frozen=True)
class NetworkState:
    """What is known after some rounds."""

    fit: Fit
    """Of the last round's plan."""
    units: float
    units_error: float
    scales: tuple[float, ...]
    """Of the regressors' z and of the response, as shifts."""
    shifts: tuple[float, ...]
    parameters: tuple[float, ...]
    velocity: tuple[float, ...]
    total: tuple[float, ...]
    """Of the last quarter's parameters, so many."""
    averaged: int
    max_gradient: float
    rate: float
    noise: float = 0.0
    """Deviation of the noise in each coordinate of the last gradient, over the units."""
    gradient: float = 0.0
    """The length of the last gradient, over the units."""
    balance: Balance = Balance()
    score: Score | None = None
    objectives: tuple[Score, ...] = ()
    """Of each step's parameters, before it."""

    @property
    def shape(self) -> Network:
        """Family, classes and layers."""
        return shape_of(self.fit)

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
        """What the noise of the last gradient is long."""
        return self.noise * math.sqrt(len(self.parameters))

    @property
    def counting(self) -> float:
        """What all units count together, with their weights."""
        return max(self.units, self.units_error) * self.balance.mean

    @property
    def response_spread(self) -> float:
        """The deviation of the response, as the network sees it."""
        return RESPONSE_SPREAD

    @property
    def final(self) -> tuple[float, ...]:
        """The model's parameters."""
        return tuple(each / self.averaged for each in self.total) if self.averaged else self.parameters


class NetworkRule:
    """A `Rule`."""

    def __init__(self, hidden: Sequence[int]) -> None:
        self._hidden = tuple(hidden)

    def first(self, rounds: int) -> TrainingRound:
        return TrainingRound(number=0, rounds=rounds, network=Network(hidden=self._hidden))

    def after(self, state: NetworkState | None, released: Released) -> NetworkState:
        try:
            return _measured(released) if state is None else _stepped(state, released)
        except (OverflowError, ZeroDivisionError) as error:
            raise PlanError("the rounds give a model that is not finite") from error

    def next(self, state: NetworkState) -> TrainingRound | None:
        done = state.fit.round
        if done.number + 1 >= step_rounds(done):
            return None
        found = _round_of(state, state.parameters)
        found.number, found.rounds = done.number + 1, done.rounds
        found.class_weights[:] = state.balance.weights
        return found

    def final(self, state: NetworkState) -> TrainingRound:
        """What a round says of the model as it is now."""
        return _round_of(state, state.final)


def _round_of(state: NetworkState, parameters: Sequence[float]) -> TrainingRound:
    network = state.shape
    network.parameters[:] = [round(each * PARAMETER_ONE) for each in parameters]
    network.scales[:], network.shifts[:] = state.scales, state.shifts
    return TrainingRound(network=network, max_gradient=state.max_gradient)


def shape_of(fit: Fit) -> Network:
    """Family, classes and layers of a network, without its parameters."""
    classes, hidden = len(fit.classes), fit.round.network.hidden
    if not classes:
        return Network(family=Network.FAMILY_IDENTITY, hidden=hidden)
    if classes == 2:
        return Network(family=Network.FAMILY_BERNOULLI_LOGIT, hidden=hidden)
    return Network(family=Network.FAMILY_MULTINOMIAL_LOGIT, classes=classes, hidden=hidden)


def layers_of(fit: Fit, parameters: Sequence[float]) -> list[list[list[float]]]:
    """Parameters by layer, a row for each of its sums, the constant's weight first."""
    numbers = iter(parameters)
    return [
        [list(itertools.islice(numbers, inputs + 1)) for _ in range(sums)]
        for sums, inputs in layers(shape_of(fit), len(fit.columns) - 1)
    ]


def _measured(released: Released) -> NetworkState:
    """After round 0: values are 1, means and squares, of the regressors and, but for several classes, the response."""
    fit, values, noise = released.plan.fit, released.values, released.deviation
    terms = (len(values) - 1) // 2
    units = max(values[0], noise)
    means = [min(max(value / units, -1.0), 1.0) for value in values[1 : 1 + terms]]
    squares = [value / units for value in values[1 + terms :]]
    least = max(2 * noise / units, _LEAST_DEVIATION**2)
    deviations = [
        math.sqrt(min(max(square - mean * mean, least), 1.0)) for square, mean in zip(squares, means, strict=True)
    ]
    regressors = len(fit.columns) - 1
    scales = [SPREAD / deviation for deviation in deviations[:regressors]]
    shifts = [-mean * scale for mean, scale in zip(means, scales, strict=False)]
    # A class is a class.
    scale = 1.0 if fit.classes else RESPONSE_SPREAD / deviations[-1]
    shift = 0.0 if fit.classes else -means[-1] * scale
    balance = balance_of(fit, shares_of(fit, means, squares), noise / units)
    parameters = _start(fit, means[-1], balance)
    is_quiet = units * balance.mean / unit_noise(released.plan) < QUIET
    nothing = (0.0,) * len(parameters)
    return NetworkState(
        fit,
        values[0],
        noise,
        (*scales, scale),
        (*shifts, shift),
        parameters,
        nothing,
        nothing,
        0,
        1.0 if is_quiet else 4.0,
        min(1.0 if is_quiet else _longest_rate(regressors, balance), STABLE / _curvature(fit, parameters)),
        balance=balance,
    )


def _longest_rate(inputs: int, balance: Balance) -> float:
    """Where all sums look at one input, or few units count as many, the layers before the last bend the loss too."""
    return 4.0 if inputs == 1 or balance.weights else 8.0


def unit_noise(plan: Plan) -> float:
    """Deviation of the noise in a sum of gradients whose norm is 1, in a round after the first ones."""
    rho = rho_units_of_step(zcdp.bought(plan.epsilon, plan.delta)[0], plan.fit.round) / zcdp.RHO_UNITS
    # Noise is for those whose share nobody knows; all add theirs.
    shares = math.sqrt(plan.noise.parties / max(plan.noise.parties - plan.noise.curious, 1))
    return plan.noise.parties_per_unit * shares / math.sqrt(2 * rho)


def expected_errors(plan: Plan, units: int) -> list[tuple[str, float]]:
    """A weight has no error; told is the noise of a mean gradient's coordinates, the gradients' norm being 1.

    Raises:
        PlanError: the plan's price means nothing.
    """
    try:
        return [("(each part of a gradient)", unit_noise(plan) / units)]
    except zcdp.BadPrivacyParameter as error:
        raise PlanError("the plan's price means nothing") from error


def _start(fit: Fit, mean: float, balance: Balance) -> tuple[float, ...]:
    """Weights that follow from the formula, constants of 0 but for the last of two classes."""
    shape = shape_of(fit)
    text = f"{fit.formula}\n{list(shape.hidden)}"
    # Public on purpose: whoever has the receipt draws the same. `random()` is the same in all versions of Python.
    draw = random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))  # noqa: S311
    normal, found = NormalDist(), list[float]()
    made = layers(shape, len(fit.columns) - 1)
    for place, (sums, inputs) in enumerate(made):
        length = math.sqrt(3.0) if place + 1 < len(made) else 0.5
        for _ in range(sums):
            found.append(0.0)
            found += [length / math.sqrt(inputs) * normal.inv_cdf(max(draw.random(), 1e-9)) for _ in range(inputs)]
    if len(fit.classes) == 2:
        share = min(max(mean, 0.02), 0.98)
        found[-1 - shape.hidden[-1]] = math.log(share / (1 - share)) + balance.log_odds
    return tuple(map(_rounded, found))


def _curvature(fit: Fit, parameters: Sequence[float]) -> float:
    """The largest eigenvalue of what the loss's second derivatives in the weights of one output are, at most.

    That is the mean of (1, a)(1, a)ᵀ times the largest variance of a residual, a being what comes to the outputs of
    independent normal inputs.
    """
    draw, normal = random.Random(0), NormalDist()  # noqa: S311
    *hidden, _ = layers_of(fit, parameters)
    rows = []
    for _ in range(_POINTS):
        values = [SPREAD * normal.inv_cdf(max(draw.random(), 1e-9)) for _ in fit.columns[:-1]]
        for layer in hidden:
            values = [math.tanh(dot(own, (1.0, *values))) for own in layer]
        rows.append((1.0, *values))
    vector = [1.0] * len(rows[0])
    found = 1.0
    for _ in range(20):
        along = [dot(row, vector) for row in rows]
        vector = [math.fsum(a * row[place] for a, row in zip(along, rows, strict=True)) for place in range(len(vector))]
        length = math.hypot(*vector)
        found, vector = length / len(rows), [each / length for each in vector]
    return found * {0: 1.0, 2: 0.25}.get(len(fit.classes), 0.5)


def _rounded(value: float) -> float:
    """As plans have it."""
    return round(min(max(value, -LARGEST_PARAMETER), LARGEST_PARAMETER) * PARAMETER_ONE) / PARAMETER_ONE


def _stepped(state: NetworkState, released: Released) -> NetworkState:
    """After a gradient."""
    own = released.plan.fit.round
    units = state.counting
    gradient = [value / (units * GRADIENT_UNIT) for value in released.values]
    velocity = tuple(MOMENTUM * before + part for before, part in zip(state.velocity, gradient, strict=True))
    share = own.number / step_rounds(own)
    rate = state.rate * min(1.0, 2 * (1 - share))
    moved = zip(state.parameters, velocity, strict=True)
    parameters = tuple(_rounded(value - rate * move) for value, move in moved)
    is_last = share > 0.75
    return replace(
        state,
        fit=released.plan.fit,
        parameters=parameters,
        velocity=velocity,
        total=tuple(map(sum, zip(state.total, parameters, strict=True))) if is_last else state.total,
        averaged=state.averaged + is_last,
        noise=released.deviation / (units * GRADIENT_UNIT),
        gradient=math.hypot(*gradient),
    )
