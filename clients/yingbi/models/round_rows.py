"""What made-up rows add to a round of each kind of model: as the enclaves have it, but for rounding. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from yingbi.api.class_weights import counted_classes
from yingbi.api.model_vectors import PRODUCT, SQUARE
from yingbi.api.training import SET_UP_ROUNDS, is_score_round
from yingbi.api.v1.plan_pb2 import BinnedGradient, Fit, Plan, TrainingRound
from yingbi.cells import to_json, to_python
from yingbi.generalized_linear import means_of, weight_of
from yingbi.linear_model import Columns
from yingbi.matrices import dot
from yingbi.mock_rows import no_mock, scaled
from yingbi.models.network_rule import GRADIENT_UNIT, PARAMETER_ONE, layers_of

_LARGEST = 8.0


def without_response(fit: Fit, rows: Columns) -> Iterable[tuple[float, ...]]:
    """The columns, scaled; NaN where there is no value."""
    return zip(*(scaled(column, rows) for column in fit.columns), strict=True)


def with_outcomes(fit: Fit, rows: Columns) -> Iterable[tuple[float, ...]]:
    """The regressors, scaled, and the index of a class, or a count. Raises Problem, for a response that is SQL."""
    if fit.classes:
        return _with(fit, rows, _classes(fit, rows))
    most = fit.columns[-1].half_range
    counts = [math.nan if cell is None else min(max(float(cell), 0.0), most) for cell in _responses(fit, rows)]
    return _with(fit, rows, counts)


def with_numbers(fit: Fit, rows: Columns) -> Iterable[tuple[float, ...]]:
    """The regressors, scaled, and the index of a class, or a number scaled too. Raises Problem as `with_outcomes`."""
    if fit.classes:
        return _with(fit, rows, _classes(fit, rows))
    _responses(fit, rows)
    return _with(fit, rows, scaled(fit.columns[-1], rows))


def generalized_vector(plan: Plan, row: Sequence[float]) -> list[float]:
    """Moments in the first rounds, then a row's gradient, the response last; see GeneralizedLinear in plan.proto."""
    fit, own, (*z, response) = plan.fit, plan.fit.round, row
    if own.number == 0:
        last = [response / fit.columns[-1].half_range] if len(fit.classes) <= 2 else []
        return _moments([*z, *last, *_indicators(fit, response)])
    if own.number < SET_UP_ROUNDS:
        scaled_z = [1.0, *((a - b) / c for a, b, c in zip(z, own.centres, own.scales, strict=True))]
        return [
            one * scaled_z[other] * (SQUARE if place == other else PRODUCT)
            for place, one in enumerate(scaled_z)
            for other in range(place, len(scaled_z))
        ]
    x, means = _linear(fit, row)
    if is_score_round(own):
        return _score(plan, [1 - math.fsum(means), *means] if fit.classes else means, response)
    size = len(row)
    if fit.classes:
        residuals = [mean - (response == number) for number, mean in enumerate(means, 1)]
    else:
        # The exponent is cut as in the plan.
        most = max(fit.columns[-1].half_range, 1.0)
        residuals = [min(max(min(mean, most) - response, -own.max_residual), own.max_residual) for mean in means]
    weight = weight_of(fit, means) * min(1.0, math.sqrt(size) / math.hypot(*x)) * _class_weight(own, response)
    return [residual * weight * part for residual in residuals for part in x]


def _linear(fit: Fit, row: Sequence[float]) -> tuple[list[float], list[float]]:
    """x, and what is expected of the response."""
    own, size, z = fit.round, len(row), row[:-1]
    rows = [own.transform[start : start + size] for start in range(0, len(own.transform), size)]
    x = [dot(each, (1.0, *z)) for each in rows]
    sets = [own.parameters[start : start + len(x)] for start in range(0, len(own.parameters), len(x))]
    return x, means_of(fit, [dot(each, x) for each in sets])


def network_vector(plan: Plan, row: Sequence[float]) -> list[float]:
    """Moments in round 0, then the gradient of a row's loss, the response last; see Network in plan.proto."""
    fit, network = plan.fit, plan.fit.round.network
    if plan.fit.round.number == 0:
        return _moments([*(row[:-1] if len(fit.classes) > 2 else row), *_indicators(fit, row[-1])])
    layers = layers_of(fit, [each / PARAMETER_ONE for each in network.parameters])
    *inputs, response = (z * a + b for z, a, b in zip(row, network.scales, network.shifts, strict=True))
    values = [[1.0, *(min(max(each, -_LARGEST), _LARGEST) for each in inputs)]]
    sums: list[float] = []
    for layer in layers:
        sums = [dot(own, values[-1]) for own in layer]
        values.append([1.0, *map(math.tanh, sums)])
    if is_score_round(fit.round):
        return _score(plan, _expected(fit, sums), response)
    weight = _class_weight(fit.round, response)
    derivatives = [weight * each for each in _residuals(fit, sums, response)]
    found: list[float] = []
    for place in range(len(layers) - 1, -1, -1):
        found[:0] = [GRADIENT_UNIT * one * other for one in derivatives for other in values[place]]
        behind = [dot(derivatives, [own[column] for own in layers[place]]) for column in range(1, len(values[place]))]
        derivatives = [(1 - value * value) * each for value, each in zip(values[place][1:], behind, strict=True)]
    return found


def binned_vector(plan: Plan, row: Sequence[float]) -> list[float]:
    """A row's residual in the bin of each feature; see BinnedGradient in plan.proto."""
    model = plan.statistics[0].model_vector.binned_gradient
    is_count = model.family == BinnedGradient.FAMILY_COUNT
    values = row if is_count else row[:-1]
    places = [bisect_right(each.edges, value) for each, value in zip(model.features, values, strict=True)]
    residual = 1.0
    if not is_count:
        score = (model.intercept + sum(each.scores[own] for each, own in zip(model.features, places, strict=True))) / (
            PARAMETER_ONE
        )
        is_binary = model.family == BinnedGradient.FAMILY_BERNOULLI_LOGIT
        mean = 0.5 + 0.5 * math.tanh(0.5 * score) if is_binary else score
        if is_score_round(plan.fit.round):
            return _score(plan, [1 - mean, mean] if is_binary else [mean], model.scale * row[-1] + model.shift)
        residual = min(max(model.scale * row[-1] + model.shift - mean, -1.0), 1.0)
    return [
        residual * (place == own)
        for each, own in zip(model.features, places, strict=True)
        for place in range(len(each.scores))
    ]


def _residuals(fit: Fit, sums: Sequence[float], response: float) -> list[float]:
    if len(fit.classes) > 2:
        powers = [math.exp(each - max(sums)) for each in sums]
        return [power / math.fsum(powers) - (response == number) for number, power in enumerate(powers)]
    if fit.classes:
        return [0.5 + 0.5 * math.tanh(0.5 * sums[0]) - response]
    return [min(max(sums[0] - response, -_LARGEST), _LARGEST)]


def _expected(fit: Fit, sums: Sequence[float]) -> list[float]:
    """The chances of all classes, or the number, that a network's last sums are."""
    found = _residuals(fit, sums, -1.0) if len(fit.classes) > 2 else list(sums)
    if len(fit.classes) == 2:
        (chance,) = _residuals(fit, sums, 0.0)
        return [1 - chance, chance]
    return found


def _score(plan: Plan, expected: Sequence[float], response: float) -> list[float]:
    """See Score in plan.proto."""
    limit = plan.fit.round.score_limit
    if not plan.fit.classes:
        return [min(abs(expected[0] - response) / limit, 1.0) ** 2 - 0.5]
    chance = expected[int(response)]
    loss = min(-math.log(chance) / limit, 1.0) if chance > 0 else 1.0
    return [0.5 if max(expected) == chance else -0.5, loss - 0.5]


def _indicators(fit: Fit, response: float) -> list[float]:
    return [float(response == number) for number in range(1, counted_classes(fit) + 1)]


def _class_weight(own: TrainingRound, response: float) -> float:
    return own.class_weights[int(response)] if own.class_weights else 1.0


def _moments(terms: Sequence[float]) -> list[float]:
    return [1.0, *terms, *(term * term for term in terms)]


def _with(fit: Fit, rows: Columns, responses: Sequence[float]) -> Iterable[tuple[float, ...]]:
    return zip(*(scaled(column, rows) for column in fit.columns[:-1]), responses, strict=True)


def _classes(fit: Fit, rows: Columns) -> list[float]:
    places = {to_json(to_python(value)): float(place) for place, value in enumerate(fit.classes)}
    return [math.nan if cell is None else places.get(to_json(cell), math.nan) for cell in _responses(fit, rows)]


def _responses(fit: Fit, rows: Columns) -> list[Any]:
    name = fit.columns[-1].factors[0].variable
    if name not in rows:
        raise no_mock(f"{name} is SQL, or another name for a column")
    return list(rows[name])
