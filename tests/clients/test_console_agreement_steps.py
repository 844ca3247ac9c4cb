"""The console offers the steps that the gateway would take, and shows every clause that is signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementEvent, RegisteredAgreement
from yingbi.api.v1.people_pb2 import Me, Organisation, Person
from yingbi_dashboard import agreements_page, catalogue
from yingbi_dashboard.agreements_page import CLAUSES, MOVES, clauses_of, mine, steps_for

from gateway.governance.agreement_states import DRAFT, Life, State, Step, moved, state_at
from gateway.governance.callers import DUTIES, Caller, Duty, Role

NOW = 1_000_000_000.0
TERMS = Agreement(agreement="a", organisation="developer", provider="provider", supervisor="supervisor")
TERMS.starts.seconds, TERMS.expires.seconds = 0, 2 * int(NOW)

people = st.tuples(st.sampled_from(Role), st.booleans(), st.none() | st.sets(st.sampled_from(Duty)).map(frozenset))


def caller(role: Role, stranger: bool, given_duties: frozenset[Duty] | None) -> Caller:
    organisation = "elsewhere" if stranger else role.value
    return Caller(role.value, role, "", "00" * 32, organisation, given_duties)


def me(caller: Caller) -> Me:
    return Me(
        person=Person(person=caller.name, duties=sorted(caller.duties)),
        organisation=Organisation(organisation=caller.organisation, kind=caller.role.value),
    )


def shown(life: Life) -> RegisteredAgreement:
    found = RegisteredAgreement(agreement=life.terms, state=state_at(life.terms, life.state, NOW), events=life.events)
    for party in life.signed:
        (found.signed.organisation if party == life.terms.organisation else found.signed.provider).key = b"k"
    return found


def taken(life: Life, step: Step, actor: Caller) -> Life | None:
    """The agreement after a step; None where the gateway refuses it."""
    try:
        state: State = moved(life, step, actor, NOW, reason="why")
    except Problem:
        return None
    event = AgreementEvent(action=step.value, organisation=actor.organisation, state=state)
    signed = life.signed | {actor.organisation} if step is Step.SIGN else life.signed
    return Life(life.terms, state, (*life.events, event), signed)


@given(st.lists(st.tuples(st.sampled_from(Step), st.sampled_from(Role)), max_size=14), people)
def test_the_steps_that_are_offered_are_those_that_would_be_taken(
    wanted: list[tuple[Step, Role]], reader: tuple[Role, bool, frozenset[Duty] | None]
) -> None:
    """In every state that some walk leads to, for everybody: no button fails, and none is missing."""
    actor = caller(*reader)
    for already in range(6):
        life = Life(TERMS, DRAFT)
        # First some way along the usual life, so that short walks see all of it.
        usual = [
            (Step.APPLY, Role.DEVELOPER),
            (Step.ASSESS, Role.SUPERVISOR),
            (Step.CONSENT, Role.PROVIDER),
            (Step.SIGN, Role.PROVIDER),
            (Step.SIGN, Role.DEVELOPER),
        ]
        for step, role in [*usual[:already], *wanted]:
            life = taken(life, step, caller(role, False, None)) or life
        expected = {step.value for step in Step if taken(life, step, actor) is not None}
        # What belongs to another organisation a stranger is not even shown.
        assert set(steps_for(me(actor), shown(life))) == expected


def test_the_move_that_is_waited_for_comes_before_any_stop() -> None:
    for step in MOVES:
        assert mine(["withdraw", step, "refuse"]) == step
    assert mine(["withdraw", "suspend"]) == ""


def test_every_field_that_is_signed_has_a_clause_on_the_page() -> None:
    """A field without one would be signed unseen; the browser refuses that, and nobody could sign any more."""
    assert {field.number for field in Agreement.DESCRIPTOR.fields} == set(CLAUSES)
    assert {title for title, _ in CLAUSES.values()} <= set(catalogue.messages("en"))


def test_clauses_show_what_would_hide_or_reorder_them() -> None:
    found = {clause.number: clause.text for clause in clauses_of(Agreement(purpose="a\u202eb", columns=["t.a", "t.b"]))}
    assert found == {4: "a\\u{202e}b", 11: "t.a, t.b"}


@pytest.mark.parametrize("role", Role)
def test_every_name_of_a_step_and_a_state_is_in_the_catalogue(role: Role) -> None:
    tables = (agreements_page.STATES, agreements_page.STEPS, agreements_page.SURE)
    assert {key for table in tables for key in table.values()} <= set(catalogue.messages("en"))
    assert set(agreements_page.STEPS) == {step.value for step in Step}
    assert DUTIES[role]
