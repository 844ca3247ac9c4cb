"""The life of an agreement: whoever tries whatever, it becomes active in one way, and what has ended has ended."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementEvent

from gateway.governance import agreement_states as states
from gateway.governance.agreement_states import DECISIONS, ENDED, REASONED, Life, Step, moved, state_at, waits_for
from gateway.governance.callers import Caller, Duty, Role

STARTS, EXPIRES = 1_000, 2_000
NOW = 1_500.0
TERMS = Agreement(
    agreement="falls",
    dataset="visits",
    organisation="college",
    provider="hospital",
    supervisor="bureau",
    starts=Timestamp(seconds=STARTS),
    expires=Timestamp(seconds=EXPIRES),
)


def person(role: Role, organisation: str, *duties: Duty) -> Caller:
    given = frozenset(duties) if duties else None
    return Caller(f"{role}-{organisation}", role, "", "", organisation, given)


COLLEGE, HOSPITAL, BUREAU = (
    person(Role.DEVELOPER, "college"),
    person(Role.PROVIDER, "hospital"),
    person(Role.SUPERVISOR, "bureau"),
)
COORDINATOR = person(Role.COORDINATOR, "city")
ACTORS = [
    COLLEGE,
    HOSPITAL,
    BUREAU,
    COORDINATOR,
    person(Role.DEVELOPER, "other"),
    person(Role.PROVIDER, "other"),
    person(Role.SUPERVISOR, "other"),
    person(Role.OPERATOR, "operator"),
    person(Role.AUDITOR, "auditor"),
    person(Role.DEVELOPER, "college", Duty.ANALYST),
    person(Role.PROVIDER, "hospital", Duty.APPROVER),
    person(Role.SUPERVISOR, "bureau", Duty.ADMINISTRATOR),
    # Organisations of the parties' names and of another kind.
    person(Role.PROVIDER, "college"),
    person(Role.SUPERVISOR, "hospital"),
    person(Role.DEVELOPER, "bureau"),
]
STEPS = [step for step in Step if step not in (Step.DRAFT, Step.SUPERSEDE)]


def taken(life: Life, step: Step, actor: Caller, now: float = NOW, reason: str = "because") -> Life:
    """The life after a step, as storage keeps it."""
    after = moved(life, step, actor, now, reason=reason)
    event = AgreementEvent(action=step.value, organisation=actor.organisation, person=actor.name, state=after)
    signed = life.signed | {actor.organisation} if step is Step.SIGN else life.signed
    return Life(life.terms, after, [*life.events, event], signed)


def lived(*steps: tuple[Step, Caller]) -> Life:
    life = Life(TERMS, states.DRAFT)
    for step, actor in steps:
        life = taken(life, step, actor)
    return life


WAY = [
    (Step.APPLY, COLLEGE),
    (Step.ASSESS, BUREAU),
    (Step.CONSENT, HOSPITAL),
    (Step.SIGN, COLLEGE),
    (Step.SIGN, HOSPITAL),
]
ACTIVE = lived(*WAY)


class Lives(RuleBasedStateMachine):
    """Anybody tries anything, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life(TERMS, states.DRAFT)
        self.now = float(STARTS)

    @rule(
        step=st.sampled_from(STEPS),
        actor=st.sampled_from(ACTORS),
        reason=st.sampled_from(["", "  ", "because"]),
        later=st.sampled_from([0, 0, 0, 0, 0, 300]),
    )
    def somebody_tries(self, step: Step, actor: Caller, reason: str, later: int) -> None:
        self.now += later
        before = self.life
        try:
            self.life = taken(before, step, actor, self.now, reason)
        except Problem:
            return
        assert state_at(TERMS, before.state, self.now) not in ENDED
        assert self.now < EXPIRES
        assert step not in REASONED or reason.strip()

    @rule(choice=st.integers(0, 10**6))
    def whose_move_it_is_moves(self, choice: int) -> None:
        """So that lives are long enough to be worth looking at."""
        able = [(step, actor) for step in STEPS for actor in ACTORS if self.succeeds(step, actor)]
        if able:
            self.life = taken(self.life, *able[choice % len(able)], self.now)

    def succeeds(self, step: Step, actor: Caller) -> bool:
        try:
            moved(self.life, step, actor, self.now, reason="because")
        except Problem:
            return False
        return True

    @invariant()
    def what_was_active_was_agreed_on_by_all(self) -> None:
        steps = [(event.action, event.organisation) for event in self.life.events]
        if self.life.state in (states.ACTIVE, states.SUSPENDED, states.TERMINATED):
            needed = [("apply", "college"), ("assess", "bureau"), ("consent", "hospital")]
            assert steps[:3] == needed
            assert set(steps[3:5]) == {("sign", "college"), ("sign", "hospital")}

    @invariant()
    def no_organisation_takes_two_decisions(self) -> None:
        deciding = [event.organisation for event in self.life.events if event.action in DECISIONS]
        assert len(set(deciding)) == len(deciding)

    @invariant()
    def each_ends_only_its_own_suspension(self) -> None:
        assert (self.life.state == states.SUSPENDED) == bool(self.life.suspended_by and self.life.state not in ENDED)

    @invariant()
    def somebody_can_move_whoever_it_waits_for(self) -> None:
        waiting = waits_for(self.life, self.now)
        state = state_at(TERMS, self.life.state, self.now)
        assert bool(waiting) == (state not in ENDED and state != states.ACTIVE)
        if waiting:
            named = [actor for actor in (COLLEGE, BUREAU, HOSPITAL) if actor.organisation in waiting]
            onward = (Step.APPLY, Step.ASSESS, Step.CONSENT, Step.SIGN, Step.RESUME)
            assert named
            assert all(any(self.succeeds(step, actor) for step in onward) for actor in named)


Lives.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLives = Lives.TestCase


def refused(life: Life, step: Step, actor: Caller, now: float = NOW, reason: str = "because") -> Problem:
    with pytest.raises(Problem) as caught:
        moved(life, step, actor, now, reason=reason)
    return caught.value


@pytest.mark.requirement("APP-01")
def test_from_a_draft_to_an_active_agreement_each_has_one_move() -> None:
    found = [lived(*WAY[:number]) for number in range(len(WAY) + 1)]
    assert [waits_for(life, NOW) for life in found] == [
        "the application of college",
        "the assessment of bureau",
        "the consent of hospital",
        "the signatures of college and hospital",
        "the signature of hospital",
        "",
    ]
    assert [states.name_of(life.state) for life in found] == [
        "draft", "applied", "assessed", "consented", "consented", "active",
    ]  # fmt: skip


def test_a_step_out_of_turn_says_whose_move_it_is() -> None:
    problem = refused(lived(*WAY[:1]), Step.CONSENT, HOSPITAL)
    assert (problem.code, problem.details["state"]) == ("agreement_state", "applied")
    assert "It waits for the assessment of bureau" in problem.message


@pytest.mark.requirement("APP-01")
def test_no_step_is_skipped_and_none_is_taken_for_another() -> None:
    for number, (step, actor) in enumerate(WAY[:3]):
        for other, life in enumerate([lived(*WAY[:count]) for count in range(4)]):
            if other != number:
                assert refused(life, step, actor).code == "agreement_state"
    assert refused(lived(*WAY[:1]), Step.ASSESS, HOSPITAL).code == "not_allowed"
    assert refused(lived(*WAY[:1]), Step.ASSESS, person(Role.SUPERVISOR, "other")).code == "other_agreement"


@pytest.mark.requirement("ROL-02")
def test_an_organisation_that_is_two_parties_takes_one_decision_only() -> None:
    """Terms as a gateway of before, or a careless one, might have kept them."""
    alike = Agreement()
    alike.CopyFrom(TERMS)
    alike.supervisor = alike.provider = alike.organisation
    life = taken(Life(alike, states.DRAFT), Step.APPLY, COLLEGE)
    assert refused(life, Step.ASSESS, person(Role.SUPERVISOR, "college")).code == "own_agreement"
    with pytest.raises(Problem, match="three organisations"):
        states.check_drafted(alike, COLLEGE)


def test_a_draft_is_made_by_the_signatory_of_who_would_ask() -> None:
    states.check_drafted(TERMS, COLLEGE)
    for other in (HOSPITAL, person(Role.DEVELOPER, "other"), person(Role.DEVELOPER, "college", Duty.ANALYST)):
        with pytest.raises(Problem) as caught:
            states.check_drafted(TERMS, other)
        assert caught.value.kind is Kind.NOT_ALLOWED


@pytest.mark.requirement("AGR-04")
@pytest.mark.parametrize("step", sorted(REASONED))
def test_refusing_withdrawing_suspending_and_terminating_owe_a_reason(step: Step) -> None:
    life, actor = {
        Step.REFUSE: (lived(*WAY[:1]), BUREAU),
        Step.WITHDRAW: (lived(*WAY[:2]), COLLEGE),
        Step.SUSPEND: (ACTIVE, BUREAU),
        Step.TERMINATE: (ACTIVE, COORDINATOR),
    }[step]
    problem = refused(life, step, actor, reason=" ")
    assert (problem.kind, problem.field) == (Kind.MALFORMED, "reason")
    moved(life, step, actor, NOW, reason="because")


def test_whose_move_it_is_may_refuse() -> None:
    assert taken(lived(*WAY[:1]), Step.REFUSE, BUREAU).state == states.REFUSED
    assert taken(lived(*WAY[:2]), Step.REFUSE, HOSPITAL).state == states.REFUSED
    assert refused(lived(*WAY[:1]), Step.REFUSE, HOSPITAL).code == "agreement_state"
    assert refused(lived(*WAY[:2]), Step.REFUSE, BUREAU).code == "agreement_state"
    assert refused(ACTIVE, Step.REFUSE, HOSPITAL).code == "agreement_state"


@pytest.mark.requirement("AGR-04")
def test_who_suspended_ends_the_suspension_and_of_two_both_do() -> None:
    once = taken(ACTIVE, Step.SUSPEND, BUREAU)
    assert refused(once, Step.RESUME, HOSPITAL).message == (
        "Agreement falls was not suspended by hospital: it waits for the end of the suspension by bureau."
    )
    twice = taken(once, Step.SUSPEND, HOSPITAL)
    half = taken(twice, Step.RESUME, BUREAU)
    assert (half.state, set(half.suspended_by)) == (states.SUSPENDED, {"hospital"})
    assert taken(half, Step.RESUME, HOSPITAL).state == states.ACTIVE


@pytest.mark.requirement("AGR-04")
def test_the_provider_and_the_coordinator_terminate_and_nobody_else() -> None:
    for actor in (HOSPITAL, COORDINATOR):
        assert taken(ACTIVE, Step.TERMINATE, actor).state == states.TERMINATED
    for actor in (COLLEGE, BUREAU, person(Role.PROVIDER, "other"), person(Role.OPERATOR, "operator")):
        assert refused(ACTIVE, Step.TERMINATE, actor).kind is Kind.NOT_ALLOWED


@pytest.mark.requirement("AGR-03")
def test_at_the_end_of_its_term_it_has_ended_by_itself() -> None:
    for life in (Life(TERMS, states.DRAFT), ACTIVE, taken(ACTIVE, Step.SUSPEND, BUREAU)):
        assert state_at(TERMS, life.state, EXPIRES - 0.5) == life.state
        assert state_at(TERMS, life.state, EXPIRES) == states.EXPIRED
        assert waits_for(life, EXPIRES) == ""
    assert refused(ACTIVE, Step.TERMINATE, HOSPITAL, now=EXPIRES).details["state"] == "expired"
    assert state_at(TERMS, states.TERMINATED, EXPIRES) == states.TERMINATED


class TestSupplements:
    @pytest.mark.parametrize("field", ["dataset", "organisation", "provider", "supervisor"])
    def test_it_is_between_the_same_parties_about_the_same_dataset(self, field: str) -> None:
        other = self.supplement()
        setattr(other, field, "another")
        with pytest.raises(Problem) as caught:
            states.check_supplement(other, ACTIVE, NOW)
        assert (caught.value.code, caught.value.field) == ("supplement_differs", field)

    def test_it_replaces_what_is_active_and_lifts_no_suspension(self) -> None:
        more = self.supplement()
        states.check_supplement(more, ACTIVE, NOW)
        suspended = taken(ACTIVE, Step.SUSPEND, BUREAU)
        for life in (lived(*WAY[:3]), suspended, taken(suspended, Step.TERMINATE, COORDINATOR)):
            with pytest.raises(Problem) as caught:
                states.check_supplement(more, life, NOW)
            assert caught.value.code == "supplement_of_none"
        with pytest.raises(Problem, match="expired"):
            states.check_supplement(more, ACTIVE, EXPIRES)

    def supplement(self) -> Agreement:
        terms = Agreement()
        terms.CopyFrom(TERMS)
        terms.agreement, terms.supersedes = "more", "falls"
        return terms
