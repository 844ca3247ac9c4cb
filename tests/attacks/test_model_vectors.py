"""What one person can do to a step of training: move its total by the norm that is claimed, and no further.

Whatever their rows hold, however many they are, and whatever the parameters are that a hostile gateway wrote.
"""

from __future__ import annotations

import importlib
import math
from random import Random
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    ColumnReference,
    Expression,
    GeneralizedLinear,
    ModelVector,
    NearestCentre,
    Noise,
    Plan,
    Relation,
    Scan,
    SecondMoments,
    Statistic,
)

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.privacy.square_clipping import LongUnit, clipped_squares
from enclave_sim.privacy.vector_clipping import MAX_NORM
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import Contributes, Tables, alone, extreme_unit, lies, opener, tables_of, vector, without

UNIT = 3
NORM = 5 << 16
CENTRES = -1
"""In place of a family: cells around the nearest centre."""
HOSTILE = [1e308, -1e308, 0.0, -0.0, 5e-324, 1.0]


def column(name: str) -> Expression:
    kind = COLUMN_TYPE_INT64 if name in ("age", "stay") else COLUMN_TYPE_FLOAT64
    return Expression(column=ColumnReference(name=name, type=kind))


def step(random: Random, family: int | None, norm: int = NORM) -> Plan:
    """A plan with numbers that a gateway may put into it, over columns without any bounds."""
    terms = [column(name) for name in ("pain", "age", "stay")]
    statistic = Statistic(model_vector=ModelVector(terms=terms, max_norm=norm))
    if family == CENTRES:
        centres = [random.choice(HOSTILE) for _ in range(6)]
        around = NearestCentre(centres=centres, max_distance=random.choice([1e-300, 1.0, 1e308]))
        statistic.model_vector.nearest_centre.CopyFrom(around)
    elif family is None:
        statistic.model_vector.second_moments.CopyFrom(SecondMoments(products=random.random() < 0.5))
    else:
        is_multinomial = family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT
        model = GeneralizedLinear(
            family=cast("GeneralizedLinear.Family.ValueType", family),
            classes=3 if is_multinomial else 0,
            parameters=[random.choice(HOSTILE) for _ in range(4 if is_multinomial else 2)],
            transform=[random.choice(HOSTILE) for _ in range(6)],
            max_length=random.choice([math.inf, 1e-300, 2.0]),
            max_residual=random.choice([math.inf, 1.0]),
            max_exponent=random.choice([1e308, 10.0]),
        )
        statistic.model_vector.generalized_linear.CopyFrom(model)
    return Plan(
        relation=Relation(scan=Scan(table="visits")),
        statistics=[statistic],
        fraction_bits=16,
        noise=Noise(parties=3, parties_per_unit=1),
    )


FAMILIES = [None, CENTRES, *(each for each in GeneralizedLinear.Family.values() if each)]


def drawn(random: Random, rows: int) -> Tables:
    others = {unit: extreme_unit(random, random.randrange(4), 0) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, rows, 0)})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FAMILIES), st.sampled_from([0, 1, 2, 40]), st.integers(0, 2**32))
def test_a_person_moves_a_step_by_no_more_than_is_claimed(family: int | None, rows: int, seed: int) -> None:
    """And by exactly what their own rows make, to the last step: nobody else's vector depends on who is there."""
    random = Random(seed)
    plan, tables = step(random, family), drawn(random, rows)
    for engine in (DuckDBEngine(), ReferenceEngine()):
        left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
        assert not lies(plan, left, right)
        own = vector(engine, plan, alone(tables, UNIT))
        assert sum(part * part for part in own) <= NORM**2
        assert [one - other for one, other in zip(left, right, strict=True)] == own


@pytest.mark.parametrize("family", FAMILIES)
def test_a_person_with_a_hundred_thousand_rows_counts_once(family: int | None) -> None:
    """The rows alternate between the worst that floats can be; work is done on some of them at a time."""
    rows, random = 100_000, Random(1)
    plan = step(random, family)
    pains = np.resize([1e308, 1e308, math.inf, -0.0, math.nan, 9.0], rows)
    one = {
        UNIT_COLUMN: np.full(rows, UNIT),
        "pain": pains,
        "age": np.resize([2**62, 1], rows),
        "stay": np.resize([1, 0, 2], rows),
    }
    found = vector(DuckDBEngine(), plan, {"visits": pa.table(one)})
    assert sum(part * part for part in found) <= NORM**2
    assert family is not None or any(found)


class _SumsRows:
    """A broken engine: the sum of a person's rows in place of their mean. Every row is as if it were somebody's own."""

    def contribution(self, plan: Plan, open_table: object, cancelled: object = None) -> list[int]:
        """See `Engine`."""
        table = self._tables["visits"]
        apart = table.set_column(
            table.column_names.index(UNIT_COLUMN), UNIT_COLUMN, pa.array(np.arange(len(table), dtype=np.int64))
        )
        return DuckDBEngine().contribution(plan, opener({"visits": apart}))

    def __init__(self, tables: Tables) -> None:
        self._tables = tables


def _moves_too_far(sums_rows: bool) -> bool:
    for seed in range(6):
        random = Random(seed)
        plan, tables = step(random, None), drawn(random, 40)

        def engine(of: Tables) -> Contributes:
            return _SumsRows(of) if sums_rows else DuckDBEngine()

        fewer = without(tables, UNIT)
        if lies(plan, vector(engine(tables), plan, tables), vector(engine(fewer), plan, fewer)):
            return True
    return False


def test_the_search_finds_an_engine_that_adds_up_all_rows_of_a_person() -> None:
    assert _moves_too_far(sums_rows=True)
    assert not _moves_too_far(sums_rows=False)


def test_the_search_finds_a_kernel_that_nothing_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last step is left out, the same rows move the total by more than is claimed."""
    from enclave_sim.engine.models import unit_vectors

    def uncut(vectors: np.ndarray, max_norm: int, fraction_bits: int) -> np.ndarray:
        steps: np.ndarray = np.rint(np.clip(vectors, -(2.0**40), 2.0**40) * (1 << fraction_bits)).astype(np.int64)
        return steps

    monkeypatch.setattr(unit_vectors, "clipped", uncut)
    assert _moves_too_far(sums_rows=False)


@pytest.mark.parametrize("rows", [1, 40, 100])
def test_the_search_finds_products_that_are_cut_to_another_norm(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Of a unit with one row, of several, and of so many that they are added up by themselves."""
    second_moments = importlib.import_module("enclave_sim.engine.models.second_moments")

    def lied() -> bool:
        for seed in range(6):
            random = Random(seed)
            plan, tables = step(random, None), drawn(random, rows)
            plan.statistics[0].model_vector.second_moments.products = True
            engine = DuckDBEngine()
            if lies(plan, vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))):
                return True
        return False

    assert not lied()
    monkeypatch.setattr(second_moments, "clipped_squares", lambda a, starts, _: clipped_squares(a, starts, MAX_NORM))
    monkeypatch.setattr(second_moments, "LongUnit", lambda columns, _: LongUnit(columns, MAX_NORM))
    assert lied()
