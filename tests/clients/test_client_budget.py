"""What a developer sees of a budget that datasets share."""

from __future__ import annotations

from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import Budget as Message
from yingbi.api.v1.dataset_pb2 import NamespaceBudget, OrganisationBudget
from yingbi.budget import Budget

DELTA = 1e-7


def rho(epsilon: float) -> int:
    return zcdp.bought(epsilon, DELTA)[0]


def message(shared: NamespaceBudget | None = None) -> Message:
    return Message(limit_rho_units=rho(3.0), spent_rho_units=rho(0.5), delta=DELTA, epsilon=3.0, namespace=shared)


def test_a_dataset_alone_has_no_namespace_to_show() -> None:
    budget = Budget.of(message())
    assert set(budget.to_json()) == {"spent_epsilon", "remaining_epsilon", "delta"}
    assert "namespace" not in str(budget)


def test_what_is_left_is_never_more_than_the_namespace_has() -> None:
    shared = NamespaceBudget(unit_namespace="patient", limit_rho_units=rho(2.0), spent_rho_units=rho(1.9))
    budget = Budget.of(message(shared))
    left = zcdp.asked_epsilon(rho(2.0) - rho(1.9), DELTA)
    assert budget.remaining_epsilon == left
    document = budget.to_json()["namespace"]
    assert document == {
        "unit_namespace": "patient",
        "epsilon": zcdp.asked_epsilon(rho(2.0), DELTA),
        "spent_epsilon": zcdp.asked_epsilon(rho(1.9), DELTA),
        "remaining_epsilon": left,
    }
    assert f"unit namespace patient: ε 1.9 spent, ε {left:.3g} left" in str(budget)


def test_a_namespace_with_more_left_takes_nothing_from_the_dataset() -> None:
    shared = NamespaceBudget(unit_namespace="patient", limit_rho_units=rho(9.0), spent_rho_units=rho(0.5))
    assert Budget.of(message(shared)).remaining_epsilon == Budget.of(message()).remaining_epsilon


def test_what_is_left_is_never_more_than_the_organisation_has() -> None:
    """Also where the namespace has more left than the dataset, and less than the organisation was given."""
    asked = message(NamespaceBudget(unit_namespace="patient", limit_rho_units=rho(9.0), spent_rho_units=rho(0.5)))
    asked.organisation.CopyFrom(
        OrganisationBudget(organisation="clinic", limit_rho_units=rho(1.0), spent_rho_units=rho(0.4))
    )
    budget = Budget.of(asked)
    left = zcdp.asked_epsilon(rho(1.0) - rho(0.4), DELTA)
    assert budget.remaining_epsilon == left
    assert budget.to_json()["organisation"] == {
        "organisation": "clinic",
        "epsilon": zcdp.asked_epsilon(rho(1.0), DELTA),
        "spent_epsilon": zcdp.asked_epsilon(rho(0.4), DELTA),
        "remaining_epsilon": left,
    }
    assert str(budget).endswith(f"; organisation clinic: ε 0.4 spent, ε {left:.3g} left")


def test_a_share_lowered_below_what_is_spent_leaves_nothing() -> None:
    asked = message()
    asked.organisation.CopyFrom(
        OrganisationBudget(organisation="clinic", limit_rho_units=rho(0.3), spent_rho_units=rho(0.4))
    )
    budget = Budget.of(asked)
    assert budget.organisation is not None
    assert budget.remaining_epsilon == budget.organisation["remaining_epsilon"] == 0
