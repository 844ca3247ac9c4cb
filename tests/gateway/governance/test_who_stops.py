"""Whose agreements a provider and a supervisor may stop: those that name them."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem

from gateway.governance.callers import Caller, Role
from gateway.governance.stops import check_is_party


def of(role: Role, organisation: str) -> Caller:
    return Caller("ada", role, "", "", organisation)


@pytest.mark.parametrize(
    "caller", [of(Role.PROVIDER, "clinic"), of(Role.SUPERVISOR, "office"), of(Role.COORDINATOR, "city")]
)
def test_the_parties_and_the_coordinator_stop_an_agreement(caller: Caller) -> None:
    check_is_party(caller, "falls", provider="clinic", supervisor="office")


@pytest.mark.parametrize("caller", [of(Role.PROVIDER, "hospital"), of(Role.SUPERVISOR, "clinic")])
def test_another_provider_or_supervisor_does_not(caller: Caller) -> None:
    with pytest.raises(Problem) as refusal:
        check_is_party(caller, "falls", provider="clinic", supervisor="office")
    assert refusal.value.code == "not_a_party"


def test_an_agreement_that_an_operator_registered_alone_names_no_party() -> None:
    check_is_party(of(Role.SUPERVISOR, "office"), "falls", provider="", supervisor="")
