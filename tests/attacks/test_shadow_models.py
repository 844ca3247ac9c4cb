"""Membership inference from what a model says: the likelihood ratio attack on models of eighty people.

Models are planned, added up by the engine, noised by exact shares and rebuilt as the SDK does it; encryption changes no
number. The person is the most conspicuous that bounds allow. Attackers have nothing but answers to `predict_proba`,
here at enough points to know every parameter of a naive Bayes model but its scale.

Where a model keeps its promise, an audit fails with probability below 10⁻⁵ over all thresholds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    Fit,
    Plan,
    TrainingRound,
)
from yingbi.api.zcdp import RHO_UNITS, bought
from yingbi.generalized_linear import GeneralizedLinearRule
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.kinds import fitted_of
from yingbi.rounds import Released

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells, total_rho_units
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training
from tests.attacks.likelihood_ratios import (
    Confidences,
    Floats,
    attacked,
    breaks,
    by_charge,
    by_epsilon,
    log_odds,
)
from tests.attacks.neighbours import Contributes, Unclipped

ALARM = 1e-6
DELTA = 1e-6
PARTIES = 2
OTHERS = 80
ROUNDS = 6
ASKED = {"a": [-1, 1, 0, -1, 0.5, -1], "b": [1, 1, -1, 0, 0.5, -1]}
"""The person's own place comes first."""


def declaration() -> DatasetDeclaration:
    column = ColumnDeclaration
    columns = [column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT)]
    columns += [
        column(name=name, type=COLUMN_TYPE_FLOAT64, role=column.ROLE_ATTRIBUTE, lower=-1, upper=1) for name in "ab"
    ]
    columns.append(column(name="y", type=COLUMN_TYPE_BOOL, role=column.ROLE_ATTRIBUTE))
    table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
    return DatasetDeclaration(dataset="people", privacy_unit="id", max_units=1000, units_disjoint=True, tables=[table])


def planned(model: Fit.Model.ValueType, epsilon: float, own: TrainingRound | None = None) -> Plan:
    query = TrainQuery(model=model, formula="y ~ a + b", round=own)
    return plan_training(
        query, declaration(), dataset_version=bytes(32), parties=PARTIES, epsilon=epsilon, delta=DELTA
    ).plan


def people(rows_of_person: int) -> pa.Table:
    """Two kinds of people, well apart, and a person of the first kind where nobody of it is."""
    draw = np.random.default_rng(0)
    is_first = np.arange(OTHERS) % 2 == 0
    a = np.where(is_first, 0.5, -0.5) + 0.15 * draw.normal(size=OTHERS)
    own = np.full(rows_of_person, 1.0)
    return pa.table(
        {
            UNIT_COLUMN: pa.array([*range(OTHERS), *[OTHERS] * rows_of_person]),
            "a": pa.array(np.concatenate([np.clip(a, -1, 1), -own])),
            "b": pa.array(np.concatenate([np.clip(0.2 * draw.normal(size=OTHERS), -1, 1), own])),
            "y": pa.array([*is_first.tolist(), *[True] * rows_of_person]),
        }
    )


def added_up(engine: Contributes, plan: Plan, table: pa.Table) -> list[int]:
    return engine.contribution(plan, lambda _, columns: table.select(list(columns)))


def naive_bayes(plan: Plan, *, noise: float = 1.0, engine: Contributes | None = None, rows: int = 1) -> Confidences:
    """Models of one total each; with so much of the noise that is due, and the person having so many rows."""
    totals = [added_up(engine or DuckDBEngine(), plan, people(count)) for count in (0, rows)]
    sigma = max(2, round(noise * plan.statistics[0].sigma))
    assert all(each.sigma == plan.statistics[0].sigma for each in plan.statistics)

    def confidences(is_in: bool, count: int) -> Floats:
        width = cells(plan)
        shares = [sample_share(width * count, sigma) for _ in range(PARTIES)]
        noises = np.sum(np.array(shares, dtype=object), axis=0).reshape(count, width)
        models: list[Any] = [fitted_of(plan, (each + np.array(totals[is_in], object)).tolist()) for each in noises]
        return np.array([log_odds(each.predict_proba(ASKED)) for each in models])

    return confidences


def logistic(epsilon: float, *, noise: float = 1.0) -> Confidences:
    """Models in rounds, each noised and opened, and the next made of what was."""
    tables = [people(count) for count in (0, 1)]

    def probabilities(is_in: bool) -> list[list[float]]:
        rule, state = GeneralizedLinearRule(), None
        own: TrainingRound | None = rule.first(ROUNDS)
        while own is not None:
            plan = planned(Fit.MODEL_LOGISTIC_REGRESSION, epsilon, own)
            opened = added_up(DuckDBEngine(), plan, tables[is_in])
            sigma = max(2, round(noise * plan.statistics[0].sigma))
            for _ in range(PARTIES):
                share = sample_share(cells(plan), sigma)
                opened = [cell + one for cell, one in zip(opened, share, strict=True)]
            state = rule.after(state, Released.of(plan, opened))
            own = rule.next(state)
        assert state is not None
        return GeneralizedModel(state).predict_proba(ASKED)

    def confidences(is_in: bool, count: int) -> Floats:
        # Three numbers are all that a line has.
        return np.array([log_odds(probabilities(is_in))[:3] for _ in range(count)])

    return confidences


@pytest.fixture(scope="module")
def sizes(long_form: bool) -> tuple[int, int]:
    """Shadow models of each kind, and models that are guessed."""
    return (2000, 20_000) if long_form else (200, 400)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_nobody_is_told_more_often_than_the_charge_allows(epsilon: float, sizes: tuple[int, int]) -> None:
    plan = planned(Fit.MODEL_GAUSSIAN_NAIVE_BAYES, epsilon)
    found = attacked(naive_bayes(plan), *sizes)
    assert not breaks(found, by_epsilon(epsilon, DELTA), ALARM)
    assert not breaks(found, by_charge(total_rho_units(plan) / RHO_UNITS), ALARM)
    # And the attack is one: with little noise it tells more than guessing does.
    assert breaks(found, lambda rate: rate, ALARM) or epsilon < 8


def test_a_model_without_noise_is_caught(sizes: tuple[int, int]) -> None:
    plan = planned(Fit.MODEL_GAUSSIAN_NAIVE_BAYES, 1.0)
    assert breaks(attacked(naive_bayes(plan, noise=0.02), *sizes), by_epsilon(1.0, DELTA), ALARM)


def test_a_quarter_of_the_noise_is_caught(sizes: tuple[int, int]) -> None:
    plan = planned(Fit.MODEL_GAUSSIAN_NAIVE_BAYES, 8.0)
    assert breaks(attacked(naive_bayes(plan, noise=1 / 4), *sizes), by_charge(total_rho_units(plan) / RHO_UNITS), ALARM)


def test_a_person_who_counts_for_every_row_is_caught(sizes: tuple[int, int]) -> None:
    """By an engine that forgets to clip; the engine that clips keeps the promise for the same rows."""
    plan = planned(Fit.MODEL_GAUSSIAN_NAIVE_BAYES, 1.0)
    loose = naive_bayes(plan, engine=Unclipped(DuckDBEngine()), rows=20)
    assert breaks(attacked(loose, *sizes), by_epsilon(1.0, DELTA), ALARM)
    assert not breaks(attacked(naive_bayes(plan, rows=20), *sizes), by_epsilon(1.0, DELTA), ALARM)


def test_nor_is_anybody_by_a_model_in_rounds(long_form: bool) -> None:
    """Of which the attacker sees only the last; the whole training's price is what bounds it. Minutes, by `--long`."""
    if not long_form:
        pytest.skip("minutes long: --long")
    assert not breaks(attacked(logistic(8.0), 100, 250), by_charge(bought(8.0, DELTA)[0] / RHO_UNITS), ALARM)


def test_a_model_in_rounds_without_noise_is_caught(long_form: bool) -> None:
    """Minutes, by `--long`."""
    if not long_form:
        pytest.skip("minutes long: --long")
    loose = attacked(logistic(8.0, noise=0.02), 100, 150)
    assert breaks(loose, by_charge(bought(8.0, DELTA)[0] / RHO_UNITS), ALARM)
