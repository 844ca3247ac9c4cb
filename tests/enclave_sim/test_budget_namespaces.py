"""A node's own copy of the global filter: charges are against the dataset and its unit namespace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.budget import check_charge, check_limit, limit_of, namespace_budget_of
from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import Charge, Filter

DELTA = 1e-7


def declared(dataset: str, namespace: str, epsilon: float = 1.0) -> DatasetDeclaration:
    """As much of a declaration as budgets need."""
    return DatasetDeclaration(dataset=dataset, unit_namespace=namespace, budget_epsilon=epsilon, budget_delta=DELTA)


def sealed(dataset: str, limit: int, namespace: str | None = None) -> Record:
    """What the journal has of a sealed shard; without a namespace, as it was written before they had budgets."""
    return _of(namespace, {"kind": "budget", "dataset": dataset, "limit": limit})


def spent(dataset: str, rho_units: int, namespace: str | None = None) -> Record:
    """What the journal has of a charge."""
    return _of(namespace, {"kind": "charge", "job": "j", "dataset": dataset, "rho_units": rho_units})


def _of(namespace: str | None, record: Record) -> Record:
    return record if namespace is None else {**record, "unit_namespace": namespace}


VISITS, LABS = declared("visits", "patient"), declared("labs", "patient")
NEW = [sealed("visits", 100, "patient"), sealed("labs", 200, "patient")]
OLD = [sealed("visits", 100), sealed("labs", 200)]


def refusal(records: list[Record], declaration: DatasetDeclaration, rho_units: int) -> Problem:
    with pytest.raises(Problem) as raised:
        check_charge(records, declaration, Charge(rho_units))
    return raised.value


def test_the_limit_is_that_of_the_dataset_sealed_first() -> None:
    assert namespace_budget_of(NEW, LABS) == Filter(Charge(100), Charge(0))


def test_the_limit_stays_when_that_dataset_lowers_its_own() -> None:
    assert namespace_budget_of([*NEW, sealed("visits", 50, "patient")], LABS) == Filter(Charge(100), Charge(0))


@pytest.mark.parametrize("records", [[*NEW, spent("visits", 70, "patient")], [*OLD, spent("visits", 70, "patient")]])
def test_what_one_dataset_spent_is_gone_for_the_other(records: list[Record]) -> None:
    """Also where the journal was begun before namespaces had budgets."""
    check_charge(records, LABS, Charge(30))
    problem = refusal(records, LABS, 31)
    assert problem.code == "budget_exceeded"
    assert "unit namespace patient is used up: asked for 31 units of ρ, but only 30 of 100 are left" in str(problem)


def test_the_datasets_own_limit_holds_within_the_namespaces() -> None:
    records = [sealed("visits", 100, "patient"), sealed("labs", 20, "patient")]
    assert "the dataset labs is used up" in str(refusal(records, LABS, 21))


def test_what_was_spent_before_namespaces_had_budgets_counts() -> None:
    records = [*OLD, spent("visits", 40), spent("labs", 10), sealed("visits", 100, "patient")]
    assert namespace_budget_of(records, LABS) == Filter(Charge(100), Charge(50))


def test_another_namespace_is_another_budget() -> None:
    records = [*NEW, sealed("staff", 9, "staff"), spent("visits", 100, "patient")]
    check_charge(records, declared("staff", "staff"), Charge(9))


def test_a_dataset_that_was_never_sealed_here_has_nothing_to_spend() -> None:
    """Even where its namespace has."""
    assert refusal(NEW, declared("scans", "patient"), 0).code == "unknown_dataset"


def test_no_dataset_leaves_its_namespace_and_what_was_spent_there() -> None:
    """Neither with new rows nor by a plan that names another version."""
    other = declared("visits", "person")
    assert refusal(NEW, other, 1).code == "namespace_changed"
    with pytest.raises(Problem, match="'patient' and cannot leave it"):
        check_limit(NEW, other)
    limit = limit_of(VISITS)
    recorded = {**sealed("visits", limit.rho_units, "patient"), "delta0_limit": limit.delta0_units}
    assert check_limit([recorded], VISITS) == limit


datasets = st.sampled_from(["visits", "labs", "staff"])


@given(st.lists(st.tuples(datasets, st.integers(0, 120)), max_size=20), st.booleans())
def test_all_that_fits_both_budgets_is_admitted_and_nothing_else(asked: list[tuple[str, int]], old: bool) -> None:
    """Against a model that just adds up; visits and labs share 100 units."""
    namespace = {"visits": "patient", "labs": "patient", "staff": "staff"}
    limits = {"visits": 100, "labs": 80, "staff": 60}
    # A journal of before learns who shares what with each dataset's first charge, here of nothing.
    records = [sealed(name, limit, None if old else namespace[name]) for name, limit in limits.items()]
    records += [spent(name, 0, namespace[name]) for name in limits if old]
    paid = dict.fromkeys(limits, 0)
    for name, amount in asked:
        together = sum(paid[one] for one in paid if namespace[one] == namespace[name])
        declaration = declared(name, namespace[name])
        if paid[name] + amount <= limits[name] and together + amount <= 100:
            check_charge(records, declaration, Charge(amount))
            records.append(spent(name, amount, namespace[name]))
            paid[name] += amount
        else:
            assert refusal(records, declaration, amount).code == "budget_exceeded"
