"""What a row counts by its class, and how well parameters fit it: a drawn table, one vector, its cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import BinnedGradient, Bins, GeneralizedLinear, ModelVector, Network, Score, Statistic

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.models.unit_vectors import clipped_sum
from enclave_sim.engine.protocol import Cancelled, Engine
from enclave_sim.engine.reference_engine import ReferenceEngine

from .drawn import cells, drawn, plan
from .expressions import operand

GRID = 1 << 16
ROWS = drawn("""
    unit | x:float64 | y:float64
    0    | 1.0       | 1.0
    1    | -1.0      | 0.0
    2    | -1.0      | 1.0
    3    | 0.0       | NULL
""")
TERMS = [operand("x:float64"), operand("y:float64")]
FAR = 1 << 20


def linear(family: GeneralizedLinear.Family.ValueType, *theta: float) -> ModelVector:
    classes = 3 if family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT else 0
    model = GeneralizedLinear(
        family=family,
        classes=classes,
        parameters=theta,
        transform=[1, 0, 0, 1],
        max_length=math.inf,
        max_residual=math.inf,
        max_exponent=9,
    )
    return ModelVector(terms=TERMS, max_norm=FAR, generalized_linear=model)


def network(family: Network.Family.ValueType, *parameters: float) -> ModelVector:
    model = Network(
        family=family,
        classes=3 if family == Network.FAMILY_MULTINOMIAL_LOGIT else 0,
        hidden=[1],
        parameters=[round(each * 2**20) for each in parameters],
        scales=[1, 1],
        shifts=[0, 0],
    )
    return ModelVector(terms=TERMS, max_norm=FAR, network=model)


def binned(family: BinnedGradient.Family.ValueType) -> ModelVector:
    features = [Bins(edges=[0], scores=[-(2**20), 2**20])]
    return ModelVector(
        terms=TERMS, max_norm=FAR, binned_gradient=BinnedGradient(family=family, features=features, scale=1)
    )


def scored(vector: ModelVector, limit: float = 4.0) -> Statistic:
    vector.score.CopyFrom(Score(limit=limit))
    return Statistic(model_vector=vector)


LOGIT = GeneralizedLinear.FAMILY_BERNOULLI_LOGIT
OF_TWO_CLASSES = [
    linear(LOGIT, 0, 1),
    network(Network.FAMILY_BERNOULLI_LOGIT, 0, 1, 0, 1),
    binned(BinnedGradient.FAMILY_BERNOULLI_LOGIT),
]


def test_a_class_with_a_weight_of_a_half_counts_half(engine: Engine) -> None:
    """At 0 the chance is 1/2: gradients are -1/2 (1, 1), 1/2 (1, -1) and -1/2 (1, -1)."""
    vector = linear(LOGIT, 0, 0)
    vector.class_weights[:] = [0.5, 1]
    found = cells(engine, ROWS, plan(Statistic(model_vector=vector), fraction_bits=16))
    assert found == [(-2 + 1 - 2) * GRID // 4, (-2 - 1 + 2) * GRID // 4]


def test_a_network_weighs_a_row_by_its_class_too(engine: Engine) -> None:
    """The derivative in the outputs' constant is the residual, times 2^6."""
    vector = network(Network.FAMILY_BERNOULLI_LOGIT, 0, 1, 0, 0)
    vector.max_norm = 1 << 24
    vector.class_weights[:] = [0.5, 1]
    found = cells(engine, ROWS, plan(Statistic(model_vector=vector), fraction_bits=16))
    assert found[2] == (-2 + 1 - 2) * 64 * GRID // 4


def test_a_score_says_how_many_are_right_and_how_much_is_lost(engine: Engine) -> None:
    """x says 1 for the first and 0 for the others: two of three are right. The loss is log(1 + e^-1), and 1 more."""
    right, loss = cells(engine, ROWS, plan(scored(linear(LOGIT, 0, 1)), fraction_bits=16))
    assert right == GRID // 2
    exact = 3 * math.log(1 + math.exp(-1)) + 1
    assert loss == pytest.approx((exact / 4 - 1.5) * GRID, abs=3)


@pytest.mark.parametrize("vector", OF_TWO_CLASSES)
def test_a_persons_score_is_the_mean_of_their_rows_where_it_is_cut_too(engine: Engine, vector: ModelVector) -> None:
    """Rows of one person that are told right and wrong: 1/2 and -1/2 are 0, and what is left is cut, not each row."""
    rows = drawn("""
        unit | x:float64 | y:float64
        0    | 1.0       | 1.0
        0    | 1.0       | 0.0
    """)
    asked = scored(vector, 1e9)
    free = cells(engine, rows, plan(asked, fraction_bits=16))
    assert free == [0, pytest.approx(-GRID // 2, abs=2)]
    asked.model_vector.max_norm = GRID // 2 + 2
    assert cells(engine, rows, plan(asked, fraction_bits=16)) == free


@pytest.mark.parametrize("vector", OF_TWO_CLASSES)
def test_a_score_is_asked_whether_it_was_cancelled_before_every_chunk(vector: ModelVector) -> None:
    rows, asks = 100_000, 0

    def cancelled() -> bool:
        nonlocal asks
        asks += 1
        return asks == 2

    asked, numbers = scored(vector).model_vector, np.zeros(rows)
    with pytest.raises(Cancelled):
        clipped_sum(asked, 16, np.arange(rows), [numbers, numbers], np.ones(rows, bool), cancelled)
    assert asks == 2


def test_a_loss_beyond_the_limit_counts_as_the_limit(engine: Engine) -> None:
    _, loss = cells(engine, ROWS, plan(scored(linear(LOGIT, 0, 50)), fraction_bits=16))
    assert loss == (-0.5 - 0.5 + 0.5) * GRID


def test_of_numbers_it_says_the_squared_error(engine: Engine) -> None:
    """e^0 is expected of all: errors are 0, 1 and 0; and where a third is more than the limit, it counts as that."""
    found = cells(engine, ROWS, plan(scored(linear(GeneralizedLinear.FAMILY_POISSON_LOG, 0, 0), 2), fraction_bits=16))
    assert found == [round((0.25 - 1.5) * GRID)]
    found = cells(engine, ROWS, plan(scored(binned(BinnedGradient.FAMILY_IDENTITY), 1.0), fraction_bits=16))
    assert found == [round((0 + 1 + 1 - 1.5) * GRID)]


KINDS = [
    *(linear(family, *theta) for family in (1, 2, 4) for theta in ((0.3, -1.0), (1e308, -1e308))),  # type: ignore[arg-type]
    linear(GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT, 0.3, -1.0, 0.1, 2.0),
    *(network(family, 0.5, -1, 0.2, 3, 1, -2, 0, 4) for family in (3,)),  # type: ignore[arg-type]
    *(network(family, 0.5, -1, 0.2, 3) for family in (1, 2)),  # type: ignore[arg-type]
    *(binned(family) for family in (1, 2)),  # type: ignore[arg-type]
]
NUMBERS = st.one_of(
    st.floats(-3, 3), st.sampled_from([-0.0, 1.0, 2.0, 1e308, -1e300, math.inf, -math.inf, math.nan]), st.none()
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), NUMBERS, NUMBERS), min_size=1, max_size=8),
    st.sampled_from(KINDS),
    st.booleans(),
    st.sampled_from([FAR, GRID // 3]),
)
def test_both_engines_say_the_same_whatever_rows_hold(
    rows: list[tuple[int, float | None, float | None]], vector: ModelVector, weighs: bool, norm: int
) -> None:
    made = ModelVector()
    made.CopyFrom(vector)
    own = made.network if made.HasField("network") else made.generalized_linear
    if weighs and not made.HasField("binned_gradient") and own.family in (1, 3):
        made.class_weights[:] = [1.0, 0.25, 0.5][: max(int(own.classes), 2)]
        made.max_norm = 1 << 24
    else:
        made.score.CopyFrom(Score(limit=3.0))
        made.max_norm = norm
    lines = [f"{unit} | {_cell(x)} | {_cell(y)}" for unit, x, y in sorted(rows, key=lambda row: row[0])]
    table = drawn("\n".join(["unit | x:float64 | y:float64", *lines]))
    wanted = plan(Statistic(model_vector=made), fraction_bits=16)
    found, again = (cells(each, table, wanted) for each in (DuckDBEngine(), ReferenceEngine()))
    # Of a network a factor's last digit, times the largest input, where a vector is cut.
    apart = 1 << 15 if made.HasField("network") and made.class_weights else 2
    for left, right in zip(found, again, strict=True):
        assert abs(left - right) <= apart * len({unit for unit, _, _ in rows})


def _cell(value: float | None) -> str:
    return "NULL" if value is None else repr(value)
