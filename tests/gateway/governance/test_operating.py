"""Who may operate: whoever tries whatever, it takes an application, a review, and two signatures; and it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import AgreementEvent
from yingbi.api.v1.dataset_pb2 import LawfulSource
from yingbi.api.v1.operator_pb2 import ApplyToOperateRequest, OperatingAgreement, OperatorNotice

from gateway.governance import agreement_states as states
from gateway.governance.agreement_states import ENDED, Step
from gateway.governance.callers import Caller, Duty, Role
from gateway.governance.operating import Operating, check_application, hindrance, may_see, moved, waits_for
from gateway.governance.operator_notices import read_notice
from gateway.governance.policy import OPERATING, TABLE, Action, check, may

APPLY_BY, STARTS, EXPIRES = 1_200, 1_400, 2_000
NOW = 1_500.0
NOTICE = OperatorNotice(
    notice="zone",
    coordinator="city",
    supervisor="bureau",
    apply_by=Timestamp(seconds=APPLY_BY),
    starts=Timestamp(seconds=STARTS),
    expires=Timestamp(seconds=EXPIRES),
)
TERMS = OperatingAgreement(notice=NOTICE, operator="runner", statement="has run zones before")


def person(role: Role, organisation: str, *duties: Duty) -> Caller:
    return Caller(f"{role}-{organisation}", role, "", "", organisation, frozenset(duties) if duties else None)


CITY, BUREAU, RUNNER = (
    person(Role.COORDINATOR, "city"),
    person(Role.SUPERVISOR, "bureau"),
    person(Role.OPERATOR, "runner"),
)
ACTORS = [
    CITY,
    BUREAU,
    RUNNER,
    *(person(role, "other") for role in (Role.COORDINATOR, Role.SUPERVISOR, Role.OPERATOR)),
    *(person(role, "runner") for role in Role if role is not Role.OPERATOR),
    person(Role.OPERATOR, "bureau"),
    person(Role.OPERATOR, "runner", Duty.ADMINISTRATOR),
]
STEPS = [Step.ASSESS, Step.REFUSE, Step.SIGN, Step.TERMINATE, Step.APPLY, Step.CONSENT, Step.SUSPEND]


def taken(life: Operating, step: Step, actor: Caller, now: float = NOW, reason: str = "because") -> Operating:
    """The life after a step, as storage keeps it."""
    after = moved(life, step, actor, now, reason=reason)
    event = AgreementEvent(
        action=step.value, organisation=actor.organisation, person=actor.name, reason=reason, state=after
    )
    signed = life.signed | {actor.organisation} if step is Step.SIGN else life.signed
    return Operating(life.terms, after, [*life.events, event], signed)


def lived(*steps: tuple[Step, Caller]) -> Operating:
    life = Operating(TERMS, states.APPLIED)
    for step, actor in steps:
        life = taken(life, step, actor)
    return life


WAY = [(Step.ASSESS, BUREAU), (Step.SIGN, CITY), (Step.SIGN, RUNNER)]
ACTIVE = lived(*WAY)


class Lives(RuleBasedStateMachine):
    """Anybody tries anything, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Operating(TERMS, states.APPLIED)
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
        assert before.at(self.now) not in ENDED
        assert self.now < EXPIRES
        assert step is Step.SIGN or reason.strip()

    @rule(choice=st.integers(0, 10**6))
    def whose_move_it_is_moves(self, choice: int) -> None:
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
    def who_operates_was_reviewed_and_has_signed_with_the_coordinator(self) -> None:
        steps = [(event.action, event.organisation) for event in self.life.events]
        if not hindrance([self.life], self.now):
            assert self.now < EXPIRES
            assert steps[0] == ("assess", "bureau")
            assert sorted(steps[1:]) == [("sign", "city"), ("sign", "runner")]

    @invariant()
    def a_hindrance_says_whose_move_it_is_or_how_it_ended(self) -> None:
        said, waiting = hindrance([self.life], self.now), waits_for(self.life, self.now)
        assert bool(said) == (self.life.at(self.now) != states.ACTIVE)
        assert waiting in said
        if self.now >= EXPIRES and self.life.state not in ENDED:
            assert "expired" in said

    @invariant()
    def somebody_can_move_whoever_it_waits_for(self) -> None:
        if waiting := waits_for(self.life, self.now):
            named = [actor for actor in (CITY, BUREAU, RUNNER) if actor.organisation in waiting]
            assert named
            assert all(any(self.succeeds(step, actor) for step in (Step.ASSESS, Step.SIGN)) for actor in named)


TestLives = pytest.mark.requirement("APP-03", "ROL-02")(Lives.TestCase)
TestLives.settings = settings(
    max_examples=100, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_way_there() -> None:
    lives = [lived(*WAY[:done]) for done in range(len(WAY) + 1)]
    assert [hindrance([life], NOW) for life in lives] == [
        "its application under notice zone waits for the review of bureau",
        "its application under notice zone waits for the signatures of city and runner",
        "its application under notice zone waits for the signature of runner",
        "",
    ]


@pytest.mark.requirement("APP-03", "AGR-03")
@pytest.mark.parametrize(
    ("now", "said"),
    [
        (STARTS - 1, "begins on 1970-01-01 00:23:20 UTC"),
        (STARTS, ""),
        (EXPIRES - 0.5, ""),
        (EXPIRES, "expired on 1970-01-01 00:33:20 UTC"),
    ],
)
def test_the_term_begins_and_ends_by_the_clock_alone(now: float, said: str) -> None:
    assert hindrance([ACTIVE], now).endswith(said)
    assert bool(hindrance([ACTIVE], now)) == bool(said)


def test_what_ended_is_said_with_who_ended_it_and_why() -> None:
    ended = taken(ACTIVE, Step.TERMINATE, CITY, reason="it sold data")
    assert hindrance([ended], NOW).endswith("was terminated by coordinator-city of city: it sold data")
    refused = taken(Operating(TERMS, states.APPLIED), Step.REFUSE, BUREAU, reason="no machines")
    assert hindrance([refused], NOW).endswith("was refused by supervisor-bureau of bureau: no machines")


def test_any_one_in_force_is_enough_and_else_the_latest_counts() -> None:
    waiting, ended = Operating(TERMS, states.APPLIED), taken(ACTIVE, Step.TERMINATE, CITY)
    assert hindrance([ACTIVE, waiting], NOW) == hindrance([ended, ACTIVE], NOW) == ""
    assert "waits for" in hindrance([ended, waiting], NOW)
    assert hindrance([], NOW) == "it has not applied under any notice"


def test_the_successor_of_the_coordinator_ends_what_it_did_not_sign() -> None:
    other = person(Role.COORDINATOR, "other")
    assert taken(ACTIVE, Step.TERMINATE, other).state == states.TERMINATED
    with pytest.raises(Problem) as caught:
        moved(lived(*WAY[:1]), Step.SIGN, other, NOW)
    assert caught.value.code == "other_operating_agreement"


GOOD = ApplyToOperateRequest(
    notice="zone", statement="has machines", evidence=[LawfulSource(reference="licence", document_sha256=bytes(32))]
)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"statement": ""}, "statement"),
        ({"statement": " \n"}, "statement"),
        ({"statement": "x" * 10_001}, "statement"),
        ({"evidence": [LawfulSource(reference="licence", document_sha256=bytes(31))]}, "evidence"),
        ({"evidence": [LawfulSource(document_sha256=bytes(32))]}, "evidence"),
        ({"evidence": [GOOD.evidence[0]] * 101}, "evidence"),
    ],
)
def test_an_application_says_what_qualifies_and_by_which_documents(change: dict[str, object], field: str) -> None:
    check_application(NOTICE, GOOD, RUNNER, APPLY_BY - 1)
    bad = ApplyToOperateRequest(**{"statement": GOOD.statement, "evidence": GOOD.evidence, **change})  # type: ignore[arg-type]
    with pytest.raises(Problem) as caught:
        check_application(NOTICE, bad, RUNNER, APPLY_BY - 1)
    assert (caught.value.kind, caught.value.field) == (Kind.MALFORMED, field)


def test_nobody_applies_after_the_deadline_or_who_is_no_operator() -> None:
    with pytest.raises(Problem, match="took applications until 1970-01-01 00:20:00 UTC"):
        check_application(NOTICE, GOOD, RUNNER, APPLY_BY)
    for actor in (CITY, BUREAU, person(Role.DEVELOPER, "college"), person(Role.OPERATOR, "runner", Duty.ADMINISTRATOR)):
        with pytest.raises(Problem) as caught:
            check_application(NOTICE, GOOD, actor, APPLY_BY - 1)
        assert caught.value.code == "not_allowed"


@pytest.mark.requirement("APP-03")
@pytest.mark.parametrize("action", [action for action, who in TABLE.items() if (Role.OPERATOR, Duty.OPERATOR) in who])
def test_who_is_not_authorised_looks_applies_and_stops_and_does_nothing_else(action: Action) -> None:
    hindered = replace(RUNNER, hindrance="it has not applied under any notice")
    assert may(RUNNER, action)
    assert may(hindered, action) == (action in {Action.LOOK, Action.APPLY_TO_OPERATE, Action.STOP_JOB, Action.CUT_OFF})
    if action in OPERATING:
        with pytest.raises(Problem, match="is not authorised to operate this zone: it has not applied") as caught:
            check(hindered, action)
        assert caught.value.code == "operator_not_authorised"


def test_applications_are_not_for_everybody_and_agreements_are() -> None:
    waiting = lived(*WAY[:2])
    assert all(may_see(actor, waiting) for actor in (CITY, BUREAU, RUNNER, person(Role.AUDITOR, "audits")))
    others = [person(Role.OPERATOR, "other"), person(Role.DEVELOPER, "college"), person(Role.PROVIDER, "hospital")]
    assert not any(may_see(actor, waiting) for actor in others)
    assert all(may_see(actor, ACTIVE) for actor in others)
    assert all(may_see(actor, taken(ACTIVE, Step.TERMINATE, CITY)) for actor in others)


DOCUMENT = """
notice: zone-2027
title: "Operation of the zone"
conditions: "machines of its own"
scope: "running the gateway"
responsibility: "the operator"
supervision: "the record"
revocation: "with a reason"
apply_by: 2027-01-01
starts: 2027-02-28
"""


def test_a_notice_without_an_end_means_five_years() -> None:
    read = read_notice("notice.yaml", DOCUMENT.encode())
    assert read.notice == "zone-2027"
    assert read.expires.ToJsonString() == "2032-02-28T00:00:00Z"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title: "Operation of the zone"', 'title: ""', "3: title: must have 1 to 10,000 characters"),
        ('scope: "running the gateway"\n', "", "scope: the key is missing"),
        ("zone-2027", "Zone", "2: notice: is no id"),
        ("starts: 2027-02-28", "starts: 9995-01-01", "10: starts: is too late: five years after it"),
        ("starts: 2027-02-28", "starts: soon", "10: starts: 'soon' is no time"),
        ("starts: 2027-02-28", "starts: 2027-02-28\nexpires: 2027-02-28", "10: starts: must be before the end"),
        ("starts: 2027-02-28", "starts: 2020-02-28\nexpires: 2026-02-28", "9: apply_by: must be before the end"),
        ("starts: 2027-02-28", "starts: 2027-02-28\ncoordinator: city", "11: coordinator: the key is not known"),
    ],
)
def test_a_mistake_in_a_notice_is_told_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(Problem, match=said) as caught:
        read_notice("notice.yaml", DOCUMENT.replace(old, new).encode())
    assert (caught.value.kind, caught.value.code) == (Kind.MALFORMED, "metadata")
