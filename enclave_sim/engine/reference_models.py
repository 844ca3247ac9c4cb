"""What a row makes for a step of training, in plain Python: slow and obviously right; for tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from yingbi.api.model_vectors import layers, predicts_classes, width
from yingbi.api.v1.plan_pb2 import BinnedGradient, GeneralizedLinear, ModelVector, Network

from enclave_sim.engine.protocol import EngineError

LARGEST = 2.0**10
ROW_BITS = 19
LARGEST_TERM = 16.0
TERM_BITS, COEFFICIENT_BITS = 18, 22


def unit_vector(vector: ModelVector, rows: Sequence[Sequence[float | None]], fraction_bits: int) -> list[int]:
    """The clipped vector of a unit whose rows have these terms, in grid steps."""
    complete = [[float(term) for term in row if term is not None] for row in rows]
    if vector.second_moments.products:
        rows_of = [row for row in complete if len(row) == len(vector.terms) and not _has_nan(row)]
        return _products(vector, rows_of, fraction_bits)
    vectors = [_row_vector(vector, row) for row in complete if len(row) == len(vector.terms) and not _has_nan(row)]
    if not vectors:
        return [0] * width(vector)
    mean = [sum(parts) / len(vectors) for parts in zip(*vectors, strict=True)]
    one, bound = 1 << fraction_bits, vector.max_norm
    has_factors = vector.WhichOneof("kind") in ("network", "binned_gradient") and not vector.HasField("score")
    if has_factors and 1 < len(vectors) <= 16 and fraction_bits == 16:
        # These are cut by the mean of their rows' lengths.
        lengths = sum(math.ceil(min(max(math.hypot(*each) * one, 1.0), 2.0**40)) for each in vectors)
        mean = [part * min(1.0, len(vectors) * bound / lengths) for part in mean]
    length = _length([one * part for part in mean])
    factor = max(bound - math.sqrt(len(mean)) / 2, bound / 2) / length if length > bound else 1.0
    whole = [min(max(round(part * factor * one), -bound), bound) for part in mean]
    square = sum(part * part for part in whole)
    norm = math.isqrt(square - 1) + 1 if square else 0
    if norm <= bound:
        return whole
    return [abs(part) * bound // norm * (1 if part > 0 else -1) for part in whole]


def _length(parts: Sequence[float]) -> float:
    """As `vector_clipping` has it: of whole numbers beside the largest part."""
    bits = (52 - (len(parts) - 1).bit_length()) // 2
    exponent = math.frexp(max(map(abs, parts)))[1] - bits
    return math.ldexp(math.sqrt(sum(round(math.ldexp(part, -exponent)) ** 2 for part in parts)), exponent)


def _has_nan(row: Sequence[float]) -> bool:
    return any(map(math.isnan, row))


def _row_vector(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    kind = vector.WhichOneof("kind") or ""
    if kind not in _KERNELS:
        raise EngineError("the plan has a model's vector of an unknown kind")
    made = _score(vector, terms) if vector.HasField("score") else _KERNELS[kind](vector, terms)
    return [_in_steps(min(max(part, -LARGEST), LARGEST), ROW_BITS) if math.isfinite(part) else 0.0 for part in made]


def _in_steps(number: float, bits: int) -> float:
    return round(number * 2.0**bits) * 2.0**-bits


def _product(coefficients: Sequence[float], terms: Sequence[float]) -> float:
    """Terms in steps of 2^-18 within ±16, coefficients in 22 bits beside the largest of them."""
    if not all(map(math.isfinite, terms)):
        return math.nan
    exponent = math.frexp(max((abs(each) for each in coefficients), default=0.0))[1] - COEFFICIENT_BITS
    whole = [round(math.ldexp(each, -exponent)) for each in coefficients]
    steps = [round(min(max(each, -LARGEST_TERM), LARGEST_TERM) * 2.0**TERM_BITS) for each in terms]
    try:
        return math.ldexp(sum(a * b for a, b in zip(whole, steps, strict=True)), exponent - TERM_BITS)
    except OverflowError:
        return math.inf


def _score(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    """See Score in plan.proto."""
    limit = vector.score.limit
    expected, response = _EXPECTED[vector.WhichOneof("kind") or ""](vector, terms)
    if not predicts_classes(vector):
        error = abs(expected[0] - response) / limit
        return [0.5 if math.isnan(error) else min(error, 1.0) ** 2 - 0.5]
    place = _class_of(response, len(expected))
    chance = expected[place]
    if math.isnan(chance):
        return [-0.5, 0.5]
    loss = -math.log(chance) / limit if chance > 0 else 1.0
    return [0.5 if expected.index(max(expected)) == place else -0.5, min(max(loss, 0.0), 1.0) - 0.5]


def _class_of(response: float, classes: int) -> int:
    return 0 if math.isnan(response) else int(min(max(response, 0), classes - 1))


def _class_weight(vector: ModelVector, response: float) -> float:
    weights = vector.class_weights
    return weights[_class_of(response, len(weights))] if weights else 1.0


def _expected_linear(vector: ModelVector, terms: Sequence[float]) -> tuple[list[float], float]:
    _, means = _predicted(vector, terms)
    is_number = not predicts_classes(vector)
    return (means if is_number else [1.0 - sum(means), *means]), terms[-1]


def _gradient(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    model = vector.generalized_linear
    x, means = _predicted(vector, terms)
    weight = _class_weight(vector, terms[-1])
    length = math.sqrt(_total([part * part for part in x]))
    if math.isfinite(model.max_length) and not length <= model.max_length:
        weight *= model.max_length / length
    return [residual * weight * part for residual in _residuals(model, means, terms[-1]) for part in x]


def _predicted(vector: ModelVector, terms: Sequence[float]) -> tuple[list[float], list[float]]:
    """x, and what is expected of the response."""
    model, (*z, _) = vector.generalized_linear, terms
    columns = len(terms)
    transform = [model.transform[start : start + columns] for start in range(0, len(model.transform), columns)]
    x = [row[0] + _product(row[1:], z) for row in transform]
    size = len(x)
    sets = [model.parameters[start : start + size] for start in range(0, len(model.parameters), size)]
    return x, _means(model, [_total([a * b for a, b in zip(theta, x, strict=True)]) for theta in sets])


def _residuals(model: GeneralizedLinear, means: Sequence[float], response: float) -> list[float]:
    match model.family:
        case GeneralizedLinear.FAMILY_BERNOULLI_LOGIT:
            possible, found = [[means[0]], [means[0] - 1]], [means[0] - response]
        case GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT:
            possible = [
                [mean - (number == each) for number, mean in enumerate(means, 1)] for each in range(len(means) + 1)
            ]
            found = [mean - (response == number) for number, mean in enumerate(means, 1)]
        case _:
            cut = model.max_residual
            (residual,) = (mean - response for mean in means)
            return [residual if math.isnan(residual) else min(max(residual, -cut), cut)]
    longest = max(math.hypot(*each) for each in possible)
    return [residual * min(1.0, model.max_residual / longest) for residual in found]


def _means(model: GeneralizedLinear, predictors: Sequence[float]) -> list[float]:
    match model.family:
        case GeneralizedLinear.FAMILY_BERNOULLI_LOGIT:
            return [0.5 + 0.5 * math.tanh(0.5 * each) for each in predictors]
        case GeneralizedLinear.FAMILY_POISSON_LOG:
            return [_exp(min(each, model.max_exponent)) if each == each else math.nan for each in predictors]  # noqa: PLR0124
        case GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT:
            if not all(map(math.isfinite, predictors)):
                return [math.nan] * len(predictors)
            largest = max(0.0, *predictors)
            powers = [_exp(each - largest) for each in predictors]
            return [power / (sum(powers) + _exp(-largest)) for power in powers]
        case _:
            return list(predictors)


def _around_nearest(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    own, size = vector.nearest_centre, len(terms)
    centres = [own.centres[start : start + size] for start in range(0, len(own.centres), size)]
    squares = [_square_apart(terms, centre) for centre in centres]
    nearest = squares.index(min(squares))
    length = math.sqrt(squares[nearest])
    inside = min(1.0, length / own.max_distance)
    away = [(x - c) / max(length, own.max_distance) for x, c in zip(terms, centres[nearest], strict=True)]
    cells = [0.5, *away, 0.25 * inside * inside]
    return [cell for place in range(len(centres)) for cell in (cells if place == nearest else [0.0] * len(cells))]


def _square_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Added one after another, as `sum` does not: which centre is nearest is to be the same to the last bit."""
    square = 0.0
    for a, b in zip(one, other, strict=True):
        square += (a - b) * (a - b)
    return square


def _second_moments(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    return [1.0, *terms, *(term * term for term in terms)]


def _products(vector: ModelVector, rows: Sequence[Sequence[float]], fraction_bits: int) -> list[int]:
    """Of a unit: the sum of 5 or 7 times the products of its rows' numbers, whole in steps of 2^-8, each over m."""
    if fraction_bits != 16:
        raise EngineError("products are in steps of 2^-16")
    if not rows:
        return [0] * width(vector)
    whole = [[256.0, *(round(min(max(term, -32.0), 32.0) * 256) * 1.0 for term in row)] for row in rows]
    most, safe = vector.max_norm // 5, 1 - 2.0**-40
    square = sum(part * part for row in whole for part in row)
    if len(rows) > 64:
        share = min(1 / len(rows), most / square) * safe
        return [int(weight * sum(row[i] * row[j] for row in whole) * share) for i, j, weight in _pairs(len(whole[0]))]
    factor = math.sqrt(min(1 / len(rows), most / square))
    parts = [[round(part * factor) for part in row] for row in whole]
    if sum(part * part for row in parts for part in row) > most:
        factor = math.sqrt(most / square) * safe
        parts = [[int(part * factor) for part in row] for row in whole]
    return [weight * sum(row[i] * row[j] for row in parts) for i, j, weight in _pairs(len(whole[0]))]


def _pairs(size: int) -> list[tuple[int, int, int]]:
    return [(i, j, 5 if i == j else 7) for i in range(size) for j in range(i, size)]


def _network(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    """In steps of 2^-16, from whole numbers of 2^-11 and parameters of 2^-20."""
    network = vector.network
    weights, inputs, sums, response = _through_layers(network, terms)
    found: list[float] = []
    weight = _class_weight(vector, response)
    residuals = [weight * _cut(each, 8.0) for each in _network_residuals(network, sums, response)]
    # Within 2^17 steps, as further back, whatever weights are.
    derivatives = [_fixed(_cut(each, 64.0)) for each in residuals]
    for place in range(len(weights) - 1, -1, -1):
        found[:0] = [one * other / 2**16 for one in derivatives for other in inputs[place]]
        behind = [
            sum(each * row[column] for each, row in zip(derivatives, weights[place], strict=True)) / 2**20
            for column in range(1, len(inputs[place]))
        ]
        slopes = [1 - (activation / 2048) ** 2 for activation in inputs[place][1:]]
        derivatives = [round(_cut(slope * each, 2.0**17)) for slope, each in zip(slopes, behind, strict=True)]
    return found


def _expected_network(vector: ModelVector, terms: Sequence[float]) -> tuple[list[float], float]:
    _, _, sums, response = _through_layers(vector.network, terms)
    match vector.network.family:
        case Network.FAMILY_BERNOULLI_LOGIT:
            (chance,) = _network_residuals(vector.network, sums, 0.0)
            return [1.0 - chance, chance], response
        case Network.FAMILY_MULTINOMIAL_LOGIT:
            return _network_residuals(vector.network, sums, -1.0), response
        case _:
            return sums, response


def _through_layers(
    network: Network, terms: Sequence[float]
) -> tuple[list[list[Sequence[int]]], list[list[int]], list[float], float]:
    """The weights of each layer and its inputs, what the last one sums up to, and the response."""
    scaled = [term * scale + shift for term, scale, shift in zip(terms, network.scales, network.shifts, strict=True)]
    response, start = scaled.pop(), 0
    weights: list[list[Sequence[int]]] = []
    for sums, count in layers(network, len(scaled)):
        weights.append([network.parameters[start + (count + 1) * row :][: count + 1] for row in range(sums)])
        start += sums * (count + 1)
    inputs = [[2048, *(_fixed(_cut(each, 8.0)) for each in scaled)]]
    sums_of: list[list[float]] = []
    for layer in weights:
        exact = [sum(a * w for a, w in zip(inputs[-1], row, strict=True)) for row in layer]
        sums_of.append([each / 2**31 for each in exact])
        inputs.append([2048, *(_fixed(math.tanh(each)) for each in sums_of[-1])])
    return weights, inputs, sums_of[-1], response


def _network_residuals(network: Network, sums: Sequence[float], response: float) -> list[float]:
    match network.family:
        case Network.FAMILY_BERNOULLI_LOGIT:
            return [0.5 + 0.5 * math.tanh(0.5 * sums[0]) - min(max(response, 0.0), 1.0)]
        case Network.FAMILY_MULTINOMIAL_LOGIT:
            powers = [math.exp(each - max(sums)) for each in sums]
            return [power / sum(powers) - (response == number) for number, power in enumerate(powers)]
        case _:
            return [sums[0] - response]


def _binned_gradient(vector: ModelVector, terms: Sequence[float]) -> list[float]:
    model, (*values, response) = vector.binned_gradient, terms
    found: list[float] = []
    predictor = model.intercept / 2**20
    for value, feature in zip(values, model.features, strict=True):
        own = sum(edge <= value for edge in feature.edges)
        found += [float(place == own) for place in range(len(feature.scores))]
        predictor += feature.scores[own] / 2**20
    if model.family == BinnedGradient.FAMILY_COUNT:
        return found
    residual = _cut(model.scale * response + model.shift - _binned_mean(model, predictor), 1.0)
    return [residual * each for each in found]


def _binned_mean(model: BinnedGradient, predictor: float) -> float:
    is_binary = model.family == BinnedGradient.FAMILY_BERNOULLI_LOGIT
    return 0.5 + 0.5 * math.tanh(0.5 * predictor) if is_binary else predictor


def _expected_bins(vector: ModelVector, terms: Sequence[float]) -> tuple[list[float], float]:
    model, (*values, response) = vector.binned_gradient, terms
    pairs = zip(values, model.features, strict=True)
    scores = [feature.scores[sum(edge <= value for edge in feature.edges)] for value, feature in pairs]
    mean = _binned_mean(model, (model.intercept + sum(scores)) / 2**20)
    is_number = model.family == BinnedGradient.FAMILY_IDENTITY
    return [mean] if is_number else [1.0 - mean, mean], model.scale * response + model.shift


def _fixed(value: float) -> int:
    return 0 if math.isnan(value) else round(value * 2048)


def _cut(value: float, bound: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, -bound), bound)


def _exp(power: float) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf


def _total(parts: Sequence[float]) -> float:
    return sum(parts)


_KERNELS: Mapping[str, Callable[[ModelVector, Sequence[float]], list[float]]] = {
    "generalized_linear": _gradient,
    "nearest_centre": _around_nearest,
    "second_moments": _second_moments,
    "network": _network,
    "binned_gradient": _binned_gradient,
}
_EXPECTED: Mapping[str, Callable[[ModelVector, Sequence[float]], tuple[list[float], float]]] = {
    "generalized_linear": _expected_linear,
    "network": _expected_network,
    "binned_gradient": _expected_bins,
}
