"""What a step of training a network, or of boosting, takes from units: a drawn table, one vector, its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.model_vectors import layers, width
from yingbi.api.v1.plan_pb2 import BinnedGradient, Bins, ModelVector, Network, Statistic

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.models import KERNELS, SUMS
from enclave_sim.engine.protocol import Engine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.privacy.product_clipping import FEW_ROWS
from enclave_sim.privacy.vector_clipping import MAX_NORM

from .drawn import cells, drawn, plan
from .expressions import compare, operand

ROWS = drawn("""
    unit | x:float64 | y:float64
    0    | 0.5       | 1.0
    1    | -1.0      | 0.0
    1    | 0.0       | 1.0
    1    | NULL      | 1.0
    2    | nan       | 0.0
    3    | 1.0       | 1.0
""")
ONE = 1 << 22
PARAMETER = 1 << 20


def network(
    family: Network.Family.ValueType, parameters: Sequence[float], hidden: Sequence[int] = (1,), norm: int = MAX_NORM
) -> Statistic:
    model = Network(
        family=family,
        classes=3 if family == Network.FAMILY_MULTINOMIAL_LOGIT else 0,
        hidden=hidden,
        parameters=[round(each * PARAMETER) for each in parameters],
        scales=[2, 1],
        shifts=[0, 0],
    )
    terms = [operand("x:float64"), operand("y:float64")]
    return Statistic(model_vector=ModelVector(terms=terms, max_norm=norm, network=model))


def binned(family: BinnedGradient.Family.ValueType, norm: int = MAX_NORM) -> Statistic:
    features = [
        Bins(edges=[0, 0.5], scores=[-PARAMETER, 0, PARAMETER]),
        Bins(edges=[], scores=[PARAMETER // 2]),
    ]
    model = BinnedGradient(family=family, features=features, intercept=PARAMETER // 4, scale=1)
    terms = [operand("x:float64"), operand("x:float64"), operand("y:float64")]
    return Statistic(model_vector=ModelVector(terms=terms, max_norm=norm, binned_gradient=model))


def test_a_networks_gradient_is_the_derivative_in_each_parameter(engine: Engine) -> None:
    """x = 2 · 0.5, a = tanh(0.25 + 0.5 x), t = -0.5 + a; the constant's weight is first in each layer."""
    asked = network(Network.FAMILY_BERNOULLI_LOGIT, [0.25, 0.5, -0.5, 1.0])
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    a = math.tanh(0.75)
    r = 1 / (1 + math.exp(0.5 - a)) - 1
    expected = [r * (1 - a * a), r * (1 - a * a), r, r * a]
    assert [each / ONE for each in found] == [pytest.approx(each, abs=2**-9) for each in expected]


@pytest.mark.parametrize(
    ("family", "hidden"),
    [
        (Network.FAMILY_BERNOULLI_LOGIT, [3]),
        (Network.FAMILY_IDENTITY, [2, 3]),
        (Network.FAMILY_MULTINOMIAL_LOGIT, [2]),
        (Network.FAMILY_MULTINOMIAL_LOGIT, [3, 2]),
    ],
)
def test_a_networks_gradient_is_what_finite_differences_of_its_loss_are(
    family: Network.Family.ValueType, hidden: list[int]
) -> None:
    sizes = layers(
        Network(family=family, classes=3 if family == Network.FAMILY_MULTINOMIAL_LOGIT else 0, hidden=hidden), 1
    )
    random = np.random.default_rng(1)
    theta = random.normal(size=sum(out * (into + 1) for out, into in sizes)) / 2
    asked = network(family, list(theta), hidden)
    found = KERNELS["network"](asked.model_vector)(np.array([[0.3, 1.0]]))[0] / 2**6

    def loss(parameters: np.ndarray) -> float:
        values, start = np.array([0.6]), 0
        for place, (out, into) in enumerate(sizes):
            layer = parameters[start : start + out * (into + 1)].reshape(out, into + 1)
            start += layer.size
            values = layer @ np.append(1.0, values)
            values = np.tanh(values) if place + 1 < len(sizes) else values
        match family:
            case Network.FAMILY_BERNOULLI_LOGIT:
                return float(np.log1p(np.exp(-values[0])))
            case Network.FAMILY_IDENTITY:
                return float((values[0] - 1) ** 2 / 2)
            case _:
                return float(np.log(np.exp(values).sum()) - values[1])

    steps = np.eye(len(theta)) * 1e-5
    slopes = [(loss(theta + step) - loss(theta - step)) / 2e-5 for step in steps]
    assert found == pytest.approx(slopes, abs=3e-3)


def test_a_units_gradient_is_the_mean_over_its_rows_without_null(engine: Engine) -> None:
    """At parameters of 0 the residual is -1/2 or 1/2 and goes to the last constant alone: of unit 1 once each."""
    asked = network(Network.FAMILY_BERNOULLI_LOGIT, [0, 0, 0, 0])
    found = cells(engine, ROWS, plan(asked, fraction_bits=16))
    assert found == [0, 0, -ONE // 2 - ONE // 2, 0]


def test_a_long_gradient_is_cut_to_the_norm(engine: Engine) -> None:
    asked = network(Network.FAMILY_IDENTITY, [0, 0, 60, 0], norm=ONE)
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    assert found[2] == pytest.approx(ONE, rel=1e-3)
    assert sum(each**2 for each in found) <= ONE**2


def test_a_residual_is_in_the_bin_of_each_feature(engine: Engine) -> None:
    """x = 0.5 is in the last bin, scores 1 + 0.5 + 0.25."""
    asked = binned(BinnedGradient.FAMILY_BERNOULLI_LOGIT)
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    residual = 1 - 1 / (1 + math.exp(-1.75))
    assert found == [0, 0, *[pytest.approx(residual * 2**16, abs=1)] * 2]


def test_units_are_counted_by_bin_each_as_its_rows_are_spread(engine: Engine) -> None:
    """Units 0 and 3 are in the last bin, unit 1 in the first by half and in the second by half."""
    found = cells(engine, ROWS, plan(binned(BinnedGradient.FAMILY_COUNT), fraction_bits=16))
    assert [each / 2**16 for each in found] == [0.5, 0.5, 2, 3]


def test_a_residual_beyond_1_is_cut(engine: Engine) -> None:
    """y - 1.75 is -0.75 where x is 0.5, and y - (-1 + 0.75) is 1.25 where x is -1 and y 1."""
    asked = binned(BinnedGradient.FAMILY_IDENTITY)
    asked.model_vector.binned_gradient.shift = 1
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", -1.0), fraction_bits=16))
    assert found == [2**16, 0, 0, 2**16]


NUMBERS = st.one_of(st.floats(-3, 3), st.sampled_from([-0.0, 1e308, -1e300, math.inf, math.nan, 5e-324]), st.none())
HOSTILE = 64.0
FAMILIES = [each for each in Network.Family.values() if each]


def _theta(family: Network.Family.ValueType, hidden: Sequence[int], *, hostile: bool = False) -> list[float]:
    shape = Network(family=family, classes=3 if family == Network.FAMILY_MULTINOMIAL_LOGIT else 0, hidden=hidden)
    count = sum(out * (into + 1) for out, into in layers(shape, 1))
    return [(HOSTILE if hostile else 0.3 * (place % 5)) * (-1) ** place for place in range(count)]


KINDS = [
    *(
        (network(family, _theta(family, hidden, hostile=hostile), hidden, norm), 1 << 15)
        for family in FAMILIES
        for hidden in ([2], [2, 3])
        for hostile in (False, True)
        for norm in (ONE // 3, MAX_NORM)
    ),
    *((binned(family, norm), 2) for family in BinnedGradient.Family.values() if family for norm in (50_000, MAX_NORM)),
]
"""With how far engines may differ for a unit, in grid steps: where a network's vector is cut, a factor's last digit,
times the largest input."""


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 4), NUMBERS, NUMBERS), min_size=1, max_size=10), st.sampled_from(KINDS))
def test_both_engines_say_the_same_for_each_unit(
    rows: list[tuple[int, float | None, float | None]], kind: tuple[Statistic, int]
) -> None:
    asked, apart = kind
    shown = [f"{unit} | {_cell(x)} | {_cell(y)}" for unit, x, y in sorted(rows, key=lambda row: row[0])]
    table = drawn("\n".join(["unit | x:float64 | y:float64", *shown]))
    wanted = plan(asked, fraction_bits=16)
    found, again = (cells(each, table, wanted) for each in (DuckDBEngine(), ReferenceEngine()))
    assert len(found) == width(asked.model_vector)
    for left, right in zip(found, again, strict=True):
        # Of several rows each is rounded by itself.
        assert abs(left - right) <= apart * len(rows)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(0, 2**32), st.sampled_from(KINDS))
def test_what_a_unit_adds_does_not_depend_on_who_else_is_there(
    count: int, seed: int, kind: tuple[Statistic, int]
) -> None:
    """To the last digit: the sum over many units is the sum of what each one adds alone."""
    vector = kind[0].model_vector
    random = np.random.default_rng(seed)
    terms = np.column_stack([random.normal(size=count) for _ in vector.terms])
    sums = SUMS[vector.WhichOneof("kind") or ""](vector)
    # Of one row to sixteen each.
    starts = np.cumsum([0, *random.integers(1, FEW_ROWS + 1, count)])
    starts = starts[starts < count]
    with np.errstate(all="ignore"):
        alone = [sums(own, np.array([0])) for own in np.split(terms, starts[1:])]
        assert sums(terms, starts).tolist() == np.sum(alone, axis=0).tolist()
    for each in alone:
        assert sum(cell * cell for cell in each.tolist()) <= vector.max_norm**2


def _cell(value: float | None) -> str:
    return "NULL" if value is None else repr(value)
