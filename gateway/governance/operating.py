"""Who may operate the zone, and how an organisation comes to it. Pure: the time is given.

    notice -> applied -> assessed -> active (both have signed) -> terminated, expired
                 └─ refused

What is kept:

- The coordinator publishes the notice, and signs; organisations of kind operator apply before its deadline, and sign;
  the supervisor that the notice names reviews. An organisation has one kind, so nobody takes two of these parts.
- An operating agreement becomes active by two signatures over its very terms, after the review, and in no other way.
- What has ended never begins again, and the end of the term needs nobody: it is told from the time, at every call.

States, reasons and the end of a term are those of agreements about data: see `agreement_states`.

Keeps: APP-03, AGR-03, ROL-02, ROL-05
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import AgreementEvent
from yingbi.api.v1.operator_pb2 import ApplyToOperateRequest, OperatingAgreement, OperatorNotice

from gateway.governance import policy
from gateway.governance.agreement_states import (
    ACTIVE,
    APPLIED,
    ASSESSED,
    ENDED,
    EXPIRED,
    REFUSED,
    TERMINATED,
    State,
    Step,
    check_reason,
    missing_signatures,
    name_of,
    state_at,
)
from gateway.governance.agreements import MAX_PURPOSE
from gateway.governance.callers import Caller, Role
from gateway.governance.catalogue_entry import MAX_TEXT
from gateway.governance.operator_notices import is_open, shown
from gateway.governance.policy import Action

ADOPT = "adopt"
"""The one event of operators of before there were notices."""
MAX_EVIDENCE = 100
_HASH_BYTES = 32

_FROM: dict[Step, frozenset[State]] = {
    Step.ASSESS: frozenset({APPLIED}),
    Step.REFUSE: frozenset({APPLIED}),
    Step.SIGN: frozenset({ASSESSED}),
    Step.TERMINATE: frozenset({ASSESSED, ACTIVE}),
}
_TO: dict[Step, State] = {Step.ASSESS: ASSESSED, Step.REFUSE: REFUSED, Step.TERMINATE: TERMINATED}
_ACTIONS: dict[Step, tuple[Action, ...]] = {
    Step.ASSESS: (Action.REVIEW_OPERATOR,),
    Step.REFUSE: (Action.REVIEW_OPERATOR,),
    Step.SIGN: (Action.PUBLISH_NOTICE, Action.APPLY_TO_OPERATE),
    Step.TERMINATE: (Action.PUBLISH_NOTICE,),
}
_IN_WORDS: dict[State, str] = {APPLIED: "applied for", ASSESSED: "reviewed", ACTIVE: "signed by both"}
_SEE_ALL = frozenset({Role.COORDINATOR, Role.SUPERVISOR, Role.AUDITOR})


@dataclass(frozen=True)
class Operating:
    """An operating agreement as far as its life goes; before both have signed, an application."""

    terms: OperatingAgreement
    # As the last step left it; what the time makes of it says `state_at`.
    state: State
    events: Sequence[AgreementEvent] = ()
    # The organisations whose signatures are there.
    signed: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """By which it is spoken of, and recorded: "first-operator/operator"."""
        return f"{self.terms.notice.notice}/{self.terms.operator}"

    def at(self, now: float) -> State:
        """What it is at `now`, in seconds since 1970."""
        return state_at(self.terms.notice, self.state, now)


def check_application(notice: OperatorNotice, asked: ApplyToOperateRequest, actor: Caller, now: float) -> None:
    """Raise Problem unless `actor` may apply so under this notice at `now`."""
    policy.check(actor, Action.APPLY_TO_OPERATE)
    if not is_open(notice, now):
        raise Problem(
            Kind.REFUSED,
            "notice_closed",
            f"Notice {notice.notice} took applications until {shown(notice.apply_by)}.",
            field="notice",
            hint="`yingbi operator list` shows those that are open; the coordinator publishes others",
        )
    _check_words("statement", asked.statement, MAX_PURPOSE)
    if len(asked.evidence) > MAX_EVIDENCE:
        said = f"An application names at most {MAX_EVIDENCE} documents."
        raise Problem(Kind.MALFORMED, "evidence", said, field="evidence")
    for each in asked.evidence:
        _check_words("evidence", each.reference, MAX_TEXT)
        if len(each.document_sha256) != _HASH_BYTES:
            said = f"A document is known by its SHA-256, of {_HASH_BYTES} bytes."
            raise Problem(Kind.MALFORMED, "evidence", said, field="evidence")


def moved(life: Operating, step: Step, actor: Caller, now: float, *, reason: str = "") -> State:
    """The state that `step` by `actor` brings it into. Whether a signature is good is not asked here.

    Raises:
        Problem: NOT_ALLOWED where the step is not this caller's; REFUSED where it is not its time, with whose move it
            is; MALFORMED for a reason that is missing or too long, or a step that there is not.
    """
    if step not in _FROM:
        raise Problem(Kind.MALFORMED, "agreement_step", f"{step} is not a step that is asked for.", field="action")
    _check_party(life, step, actor)
    if life.at(now) not in _FROM[step]:
        raise _no_time(life, step, now)
    check_reason(step, reason, needed=step is not Step.SIGN)
    return _signed(life, actor, now) if step is Step.SIGN else _TO[step]


def waits_for(life: Operating, now: float) -> str:
    """Whose move it is, in words; empty where it is nobody's."""
    notice = life.terms.notice
    state = life.at(now)
    if state == APPLIED:
        return f"the review of {notice.supervisor}"
    if state == ASSESSED:
        return missing_signatures((notice.coordinator, life.terms.operator), life.signed)
    return ""


def hindrance(lives: Sequence[Operating], now: float) -> str:
    """Why an organisation may not operate the zone at `now`, in words; empty where it may.

    Args:
        lives: all its applications, the latest last.
        now: seconds since 1970.
    """
    if any(life.at(now) == ACTIVE and life.terms.notice.starts.seconds <= now for life in lives):
        return ""
    if not lives:
        return "it has not applied under any notice"
    latest = lives[-1]
    notice, waiting = latest.terms.notice, waits_for(latest, now)
    if waiting:
        return f"its application under notice {notice.notice} waits for {waiting}"
    state = latest.at(now)
    if state == ACTIVE:
        return f"its agreement under notice {notice.notice} begins on {shown(notice.starts)}"
    if state == EXPIRED:
        return f"its agreement under notice {notice.notice} expired on {shown(notice.expires)}"
    last = latest.events[-1]
    ended = f"its {'application' if state == REFUSED else 'agreement'} under notice {notice.notice} was"
    return f"{ended} {name_of(state)} by {last.person} of {last.organisation}: {last.reason}"


def may_see(caller: Caller, life: Operating) -> bool:
    """Who watches over operators sees every application, an operator its own; all see what both have signed."""
    own = caller.organisation == life.terms.operator
    return own or caller.role in _SEE_ALL or life.state == ACTIVE or len(life.signed) == 2


def _check_party(life: Operating, step: Step, actor: Caller) -> None:
    """The duty first, which the caller can read up; then whether this agreement is theirs at all."""
    actions = _ACTIONS[step]
    if not any(policy.may(actor, action) for action in actions):
        policy.check(actor, actions[0])
    notice = life.terms.notice
    # Any coordinator can end what there is: that of the notice may have been removed.
    anybody = step is Step.TERMINATE
    own = {
        Role.COORDINATOR: actor.organisation if anybody else notice.coordinator,
        Role.SUPERVISOR: notice.supervisor,
        Role.OPERATOR: life.terms.operator,
    }
    if own.get(actor.role) != actor.organisation:
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_operating_agreement",
            f"The operating agreement {life.name} is between {notice.coordinator} and {life.terms.operator},"
            f" reviewed by {notice.supervisor}; {actor.name} is of {actor.organisation}.",
            field="operator",
        )


def _signed(life: Operating, actor: Caller, now: float) -> State:
    if actor.organisation in life.signed:
        raise _no_time(life, Step.SIGN, now)
    parties = {life.terms.notice.coordinator, life.terms.operator}
    return ACTIVE if life.signed | {actor.organisation} == parties else ASSESSED


def _no_time(life: Operating, step: Step, now: float) -> Problem:
    state, waiting = life.at(now), waits_for(life, now)
    ended = "the coordinator publishes another notice"
    return Problem(
        Kind.REFUSED,
        "operator_state",
        f"The operating agreement {life.name} is {_IN_WORDS.get(state, name_of(state))}: this is no time to {step}."
        + (f" It waits for {waiting}." if waiting else ""),
        field="operator",
        hint=ended if state in ENDED else "`yingbi operator show` says whose move it is",
        details={"state": name_of(state)},
    )


def _check_words(field: str, words: str, most: int) -> None:
    if not 1 <= len(words.strip()) <= len(words) <= most:
        said = f"The {field} of an application has 1 to {most:,} characters."
        raise Problem(Kind.MALFORMED, field, said, field=field)
