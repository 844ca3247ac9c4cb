"""Who may do what: nobody everything, nobody both what is asked and what is decided about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from yingbi.api.problem import Problem

from gateway.governance.callers import DUTIES, Caller, Duty, Role, Scope
from gateway.governance.policy import SCOPES, TABLE, Action, check, may


def of(role: Role, *duties: Duty) -> Caller:
    return Caller("ada", role, "", "", role, frozenset(duties) if duties else None)


@pytest.mark.requirement("ROL-04")
def test_every_action_is_somebodys_and_names_duties_that_there_are() -> None:
    assert set(TABLE) == set(Action)
    for action in set(Action) - {Action.LOOK, Action.FILE_PERSON}:
        assert TABLE[action]
        assert all(duty in DUTIES[role] for role, duty in TABLE[action]), action


@pytest.mark.requirement("ROL-05")
@pytest.mark.parametrize("role", list(Role))
def test_no_kind_of_organisation_may_everything(role: Role) -> None:
    assert not all(may(of(role), action) for action in Action)


@pytest.mark.requirement("ROL-02")
@pytest.mark.parametrize(
    "actions",
    [
        *((Action.ASK, other) for other in (Action.DECIDE, Action.ASSESS, Action.CONSENT, Action.AUDIT)),
        (Action.ASSESS, Action.CONSENT),
        (Action.REGISTER_DATASET, Action.DECIDE),
        (Action.APPLY, Action.CONSENT),
    ],
)
def test_duties_that_must_be_different_organisations_are(actions: tuple[Action, Action]) -> None:
    """Regulation ROL-02: who evaluates, who approves and who executes one request."""
    assert not any(all(may(of(role), action) for action in actions) for role in Role)


@pytest.mark.requirement("ROL-04")
def test_without_a_duty_nothing_can_be_done_not_even_looked_at() -> None:
    nobody = Caller("ada", Role.OPERATOR, "", "", "operator", frozenset())
    assert not any(may(nobody, action) for action in Action)


@pytest.mark.requirement("ROL-01")
def test_a_duty_of_another_kind_of_organisation_gives_nothing() -> None:
    odd = of(Role.DEVELOPER, Duty.APPROVER, Duty.OPERATOR)
    assert not any(may(odd, action) for action in Action)


def test_a_refusal_says_who_may() -> None:
    with pytest.raises(Problem, match="takes the analyst of a developer; ada is of the auditor") as caught:
        check(of(Role.AUDITOR), Action.ASK)
    assert caught.value.code == "not_allowed"


def test_every_action_can_be_done_with_a_token_of_some_scope() -> None:
    assert set(SCOPES) == set(Scope)
    assert set().union(*SCOPES.values()) == set(Action)


@pytest.mark.requirement("ROL-04")
@pytest.mark.parametrize("role", list(Role))
def test_a_scope_gives_nothing_that_its_person_may_not(role: Role) -> None:
    whole = of(role)
    for scope in Scope:
        limited = replace(whole, scopes=frozenset({scope}))
        assert {each for each in Action if may(limited, each)} == {each for each in SCOPES[scope] if may(whole, each)}


def test_a_token_that_reads_changes_nothing() -> None:
    assert SCOPES[Scope.READ] == {Action.LOOK, Action.SEE_JOBS, Action.SEE_PEOPLE, Action.AUDIT}


def test_a_refusal_says_which_token_it_takes() -> None:
    with pytest.raises(Problem, match="takes a token for ask; this one is for decide, read") as caught:
        check(replace(of(Role.DEVELOPER), scopes=frozenset({Scope.READ, Scope.DECIDE})), Action.ASK)
    assert caught.value.code == "other_scope"
