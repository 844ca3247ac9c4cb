"""What one person can do to a network's gradient or to a boosting step: move its total by the norm that is claimed.

Whatever their rows hold, however many they are, and whatever the parameters are that a hostile gateway wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.model_vectors import layers
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    BinnedGradient,
    Bins,
    ColumnReference,
    Expression,
    ModelVector,
    Network,
    Noise,
    Plan,
    Relation,
    Scan,
    Statistic,
)

from enclave_sim.engine import models
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.models.network import MAX_PARAMETER
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import Tables, alone, extreme_unit, lies, tables_of, vector, without

UNIT = 3
NORM = 5 << 16
EXTREMES = [MAX_PARAMETER, -MAX_PARAMETER, 0, 1, 1 << 20]
SCALES = [1e308, -1e308, 0.0, 5e-324, 1.0]


def column(name: str) -> Expression:
    kind = COLUMN_TYPE_FLOAT64 if name == "pain" else COLUMN_TYPE_INT64
    return Expression(column=ColumnReference(name=name, type=kind))


def gradient(random: Random) -> ModelVector:
    family = random.choice([each for each in Network.Family.values() if each])
    is_multinomial = family == Network.FAMILY_MULTINOMIAL_LOGIT
    hidden = random.choice([[1], [4], [3, 2]])
    network = Network(family=family, classes=3 if is_multinomial else 0, hidden=hidden)
    count = sum(out * (into + 1) for out, into in layers(network, 2))
    network.parameters.extend(random.choice(EXTREMES) for _ in range(count))
    network.scales.extend(random.choice(SCALES) for _ in range(3))
    network.shifts.extend(random.choice(SCALES) for _ in range(3))
    return ModelVector(network=network)


def boosting(random: Random) -> ModelVector:
    features = [
        Bins(edges=edges, scores=[random.choice(EXTREMES) for _ in range(len(edges) + 1)])
        for edges in ([-1e308, 0, 5, 1e308], [50.0])
    ]
    model = BinnedGradient(
        family=random.choice([each for each in BinnedGradient.Family.values() if each]),
        features=features,
        intercept=random.choice(EXTREMES),
        scale=random.choice(SCALES),
        shift=random.choice(SCALES),
    )
    return ModelVector(binned_gradient=model)


def step(random: Random, kind: str, norm: int = NORM) -> Plan:
    """A plan with numbers that a gateway may put into it, over columns without any bounds."""
    made = gradient(random) if kind == "network" else boosting(random)
    made.max_norm = norm
    made.terms.extend(column(name) for name in ("pain", "age", "stay"))
    return Plan(
        relation=Relation(scan=Scan(table="visits")),
        statistics=[Statistic(model_vector=made)],
        fraction_bits=16,
        noise=Noise(parties=3, parties_per_unit=1),
    )


def drawn(random: Random, rows: int) -> Tables:
    others = {unit: extreme_unit(random, random.randrange(4), 0) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, rows, 0)})


KINDS = ["network", "binned_gradient"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KINDS), st.sampled_from([0, 1, 2, 40]), st.integers(0, 2**32))
def test_a_person_moves_a_step_by_no_more_than_is_claimed(kind: str, rows: int, seed: int) -> None:
    """And by exactly what their own rows make: nobody else's part depends on them, in no digit."""
    random = Random(seed)
    plan, tables = step(random, kind, random.choice([7, NORM])), drawn(random, rows)
    for engine in (DuckDBEngine(), ReferenceEngine()):
        left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
        assert not lies(plan, left, right)
        own = vector(engine, plan, alone(tables, UNIT))
        assert own == [one - other for one, other in zip(left, right, strict=True)]
        assert sum(part * part for part in own) <= plan.statistics[0].model_vector.max_norm ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_with_a_hundred_thousand_rows_counts_once(kind: str) -> None:
    """The rows alternate between the worst that floats can be; work is done on some of them at a time."""
    rows = 100_000
    plan = step(Random(2), kind)
    one = {
        UNIT_COLUMN: np.full(rows, UNIT),
        "pain": np.resize([1e308, 1e308, math.inf, -0.0, math.nan, 9.0], rows),
        "age": np.resize([2**62, 1], rows),
        "stay": np.resize([1, 0, 2], rows),
    }
    found = vector(DuckDBEngine(), plan, {"visits": pa.table(one)})
    assert 0 < sum(part * part for part in found) <= NORM**2


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_finds_sums_that_nothing_cuts(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where products are added up without the last step, one row moves the total by more than is claimed."""

    def uncut(asked: ModelVector) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def of_rows(terms: np.ndarray, starts: np.ndarray) -> np.ndarray:
            steps = np.rint(np.clip(models.KERNELS[kind](asked)(terms), -(2.0**40), 2.0**40) * 2**16).sum(axis=0)
            whole: np.ndarray = steps.astype(np.int64)
            return whole

        return of_rows

    def lied() -> bool:
        for seed in range(10):
            random = Random(seed)
            plan, tables = step(random, kind, 7), drawn(random, 1)
            engine = DuckDBEngine()
            if lies(plan, vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))):
                return True
        return False

    assert not lied()
    monkeypatch.setitem(models.SUMS, kind, uncut)
    assert lied()
