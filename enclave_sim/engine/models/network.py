"""Gradients of small networks, in fixed point.

What a row makes is a function of the row and of the plan alone, bit for bit: products of matrices are of integers whose
sums are below 2^53, so that the order in which they are added, which depends on how many rows there are, says nothing;
all else is done number by number. Bounds of the integers: inputs 2^14, activations 2^11, parameters 2^26, derivatives
2^17, of at most 2^9 + 1 summands: 2^14 · 2^26 · (2^8 + 1) and 2^17 · 2^26 · 2^9 are below 2^53.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.model_vectors import layers
from yingbi.api.v1.plan_pb2 import ModelVector, Network

from enclave_sim.engine.models.class_weights import weighing
from enclave_sim.privacy.clipping import Integers
from enclave_sim.privacy.product_clipping import clipped_units, sums_of_products

Floats: TypeAlias = NDArray[np.float64]

ONE = 2.0**11
"""Of inputs, activations and derivatives; a product of two is in steps of 2^-22."""

_PARAMETER_ONE = 2.0**20
_GRID_ONE = 2.0**16
_LARGEST_INPUT = 8.0
_LARGEST_DERIVATIVE = 2.0**17


def network_gradients(vector: ModelVector) -> Callable[[Floats], Floats]:
    """See Network in plan.proto."""
    prepared = _Prepared.of(vector)

    def of_rows(terms: Floats) -> Floats:
        products = [
            (derivatives[:, :, np.newaxis] * inputs[:, np.newaxis, :]).reshape(len(terms), -1)
            for derivatives, inputs in zip(*_factors(prepared, terms), strict=True)
        ]
        vectors: Floats = np.hstack(products) / _GRID_ONE
        return vectors

    return of_rows


def network_sums(vector: ModelVector) -> Callable[[Floats, Integers], Integers]:
    """The sum over units with few rows of their clipped vectors, in steps of 2^-16; units begin at these rows."""
    prepared = _Prepared.of(vector)

    def of_rows(terms: Floats, starts: Integers) -> Integers:
        derivatives, inputs = _factors(prepared, terms)
        return sums_of_products(clipped_units(derivatives, inputs, starts, vector.max_norm), inputs)

    return of_rows


def expected(vector: ModelVector) -> Callable[[Floats], tuple[Floats, Floats]]:
    """What is expected of each row: the chances of all classes, or one number; and its response, scaled likewise."""
    prepared = _Prepared.of(vector)

    def of_rows(terms: Floats) -> tuple[Floats, Floats]:
        scaled = prepared.scaled(terms)
        inputs = _inputs(prepared.weights, scaled)
        return _means(prepared.network, _sums(inputs[-1], prepared.weights[-1])), scaled[:, -1]

    return of_rows


@dataclass(frozen=True)
class _Prepared:
    """A network's numbers as arrays."""

    network: Network
    weights: Sequence[Floats]
    scales: Floats
    shifts: Floats
    weighed: Callable[[Floats, Floats], Floats]
    """Residuals of rows with these responses, by the weights of their classes."""

    @classmethod
    def of(cls, vector: ModelVector) -> _Prepared:
        network = vector.network
        return cls(network, _weights(vector), np.array(network.scales), np.array(network.shifts), weighing(vector))

    def scaled(self, terms: Floats) -> Floats:
        found: Floats = terms * self.scales + self.shifts
        return found


def _factors(prepared: _Prepared, terms: Floats) -> tuple[list[Floats], list[Floats]]:
    """Of each layer the derivatives of the loss in its sums, and its inputs with the constant first: whole numbers.

    Rows are weighed by their class here, before anything is cut.
    """
    network, weights, scaled = prepared.network, prepared.weights, prepared.scaled(terms)
    inputs, response = _inputs(weights, scaled), scaled[:, -1]
    residuals = prepared.weighed(_residuals(network, _sums(inputs[-1], weights[-1]), response), response)
    derivatives = [_derivatives(_fixed(residuals))]
    for layer, activations in zip(reversed(weights[1:]), reversed(inputs[1:]), strict=True):
        slopes = 1.0 - (activations[:, 1:] / ONE) ** 2
        derivatives.insert(0, _derivatives(slopes * (derivatives[0] @ layer[:, 1:] / _PARAMETER_ONE)))
    return derivatives, inputs


def _inputs(weights: Sequence[Floats], scaled: Floats) -> list[Floats]:
    """Of each layer, with the constant first: whole numbers."""
    inputs = [_with_constant(_fixed(np.clip(scaled[:, :-1], -_LARGEST_INPUT, _LARGEST_INPUT)))]
    for layer in weights[:-1]:
        inputs.append(_with_constant(_fixed(np.tanh(_sums(inputs[-1], layer)))))
    return inputs


def _weights(vector: ModelVector) -> list[Floats]:
    """A row for each sum of a layer, the constant's weight first."""
    parameters, found, start = np.array(vector.network.parameters, np.float64), [], 0
    for sums, inputs in layers(vector.network, len(vector.terms) - 1):
        stop = start + sums * (inputs + 1)
        found.append(parameters[start:stop].reshape(sums, inputs + 1))
        start = stop
    return found


def _sums(inputs: Floats, layer: Floats) -> Floats:
    sums: Floats = inputs @ layer.T / (ONE * _PARAMETER_ONE)
    return sums


def _residuals(network: Network, sums: Floats, response: Floats) -> Floats:
    means = _means(network, sums)
    match network.family:
        case Network.FAMILY_BERNOULLI_LOGIT:
            return means[:, 1:] - np.clip(response, 0.0, 1.0)[:, np.newaxis]
        case Network.FAMILY_MULTINOMIAL_LOGIT:
            residuals: Floats = means - (response[:, np.newaxis] == np.arange(network.classes))
            return residuals
        case _:
            return np.clip(means - response[:, np.newaxis], -_LARGEST_INPUT, _LARGEST_INPUT)


def _means(network: Network, sums: Floats) -> Floats:
    """The chances of all classes, or the number that is expected."""
    match network.family:
        case Network.FAMILY_BERNOULLI_LOGIT:
            chances = 0.5 + 0.5 * np.tanh(0.5 * sums)
            return np.hstack([1.0 - chances, chances])
        case Network.FAMILY_MULTINOMIAL_LOGIT:
            powers = np.exp(sums - sums.max(axis=1, keepdims=True))
            total = sum(powers[:, place] for place in range(network.classes))
            shares: Floats = powers / np.asarray(total)[:, np.newaxis]
            return shares
        case _:
            return sums


def _fixed(numbers: Floats) -> Floats:
    """In steps of 2^-11."""
    return np.nan_to_num(np.rint(numbers * ONE), copy=False, nan=0.0)


def _derivatives(steps: Floats) -> Floats:
    whole: Floats = np.clip(np.rint(steps), -_LARGEST_DERIVATIVE, _LARGEST_DERIVATIVE)
    return whole


def _with_constant(inputs: Floats) -> Floats:
    return np.hstack([np.full((len(inputs), 1), ONE), inputs])
