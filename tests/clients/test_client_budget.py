"""What a developer sees of a budget that datasets share."""

from __future__ import annotations

import pytest
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
    assert set(budget.to_json()) == {"spent_epsilon", "remaining_epsilon", "dataset_remaining_epsilon", "delta"}
    assert "namespace" not in str(budget)


def test_what_is_left_is_never_more_than_the_namespace_has() -> None:
    shared = NamespaceBudget(unit_namespace="patient", limit_rho_units=rho(2.0), spent_rho_units=rho(1.9))
    budget = Budget.of(message(shared))
    left = zcdp.asked_epsilon(rho(2.0) - rho(1.9), DELTA)
    assert budget.remaining_epsilon == left
    document = budget.to_json()["namespace"]
    assert document == {
        "unit_namespace": "patient",
        "epsilon": 2.0,
        "spent_epsilon": zcdp.asked_epsilon(rho(1.9), DELTA),
        "remaining_epsilon": left,
    }
    assert f"; unit namespace patient: 1.9 of 2 spent, {left:.3g} left" in str(budget)


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
        "epsilon": 1.0,
        "spent_epsilon": zcdp.asked_epsilon(rho(0.4), DELTA),
        "remaining_epsilon": left,
    }
    assert str(budget).endswith(f"; your organisation: 0.4 of 1 spent, {left:.3g} left")


def test_a_share_lowered_below_what_is_spent_leaves_nothing() -> None:
    asked = message()
    asked.organisation.CopyFrom(
        OrganisationBudget(organisation="clinic", limit_rho_units=rho(0.3), spent_rho_units=rho(0.4))
    )
    budget = Budget.of(asked)
    assert budget.organisation is not None
    assert budget.remaining_epsilon == budget.organisation["remaining_epsilon"] == 0


def limited(limit_rho_units: int) -> Budget:
    """As a developer sees it whose organisation may spend less than the dataset has left."""
    asked = message()
    asked.organisation.CopyFrom(OrganisationBudget(organisation="clinic", limit_rho_units=limit_rho_units))
    return Budget.of(asked)


def test_every_account_is_shown_for_itself() -> None:
    """What the dataset has left is more than can be asked for, and neither number stands for the other."""
    budget = limited(rho(1.0))
    own = zcdp.asked_epsilon(rho(3.0) - rho(0.5), DELTA)
    document = budget.to_json()
    assert (document["remaining_epsilon"], document["dataset_remaining_epsilon"]) == (
        zcdp.asked_epsilon(rho(1.0), DELTA),
        own,
    )
    assert str(budget) == (
        f"budget: ε 0.5 of 3 spent, ε {own:.3g} left (δ = 1e-07); your organisation: 0 of 1 spent, 1 left"
    )
    assert budget.left_words() == f"{own:.3g} of 3; your organisation 1 of 1"


@pytest.mark.parametrize("declared", [60.0, 0.1, 12.5, 1000.0, 0.125])
def test_limits_read_as_they_were_declared(declared: float) -> None:
    organisation = limited(rho(declared)).organisation
    assert organisation is not None
    assert organisation["epsilon"] == declared


def test_a_limit_that_nobody_declared_at_this_delta_is_what_it_comes_to() -> None:
    """A namespace's may be of a dataset with another delta: no short number buys it."""
    odd = rho(0.7) + 12_345
    organisation = limited(odd).organisation
    assert organisation is not None
    assert organisation["epsilon"] == zcdp.asked_epsilon(odd, DELTA)


def test_a_price_above_what_is_left_says_what_could_be_asked() -> None:
    """And that can be asked indeed: it is rounded down, and it is the least that any account holds."""
    budget = limited(rho(0.6) - rho(0.2))
    assert budget.excess_words(rho(0.6) - rho(0.2)) == ""
    words = budget.excess_words(rho(0.6) - rho(0.2) + 1)
    most = float(words.removeprefix("more than is left: at most ε ").removesuffix(" can be asked"))
    assert rho(most) <= rho(0.6) - rho(0.2) < rho(most + 0.001)
    assert limited(0).excess_words(1) == "more than is left: nothing can be asked"
