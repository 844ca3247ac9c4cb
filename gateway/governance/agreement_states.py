"""The life of an agreement: which step comes after which, whose it is, and what it takes. Pure: the time is given.

    draft -> applied -> assessed -> consented -> active (both have signed) -> suspended, terminated, expired, superseded

What is kept:

- A step is the move of one organisation that the terms name, or, of an end, of the coordinator; and within it of a
  person with the duty that `policy` asks for.
- Nobody takes two of the three decisions. Who applies, who assesses and who consents are different organisations,
  whatever the terms say: what an organisation has done is read off the events.
- It becomes active by two signatures over its very terms, after the assessment and the consent, and in no other way.
- What has ended never begins again, and the end of the term needs nobody: `state_at` tells it from the time.
- Who suspended ends the suspension: of several that did, each their own.

Keeps: AGR-04, APP-01, ROL-02
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementEvent, AgreementState

from gateway.governance import policy
from gateway.governance.callers import Caller, Role
from gateway.governance.policy import Action

DRAFT = agreement_pb2.AGREEMENT_STATE_DRAFT
APPLIED = agreement_pb2.AGREEMENT_STATE_APPLIED
ASSESSED = agreement_pb2.AGREEMENT_STATE_ASSESSED
CONSENTED = agreement_pb2.AGREEMENT_STATE_CONSENTED
ACTIVE = agreement_pb2.AGREEMENT_STATE_ACTIVE
SUSPENDED = agreement_pb2.AGREEMENT_STATE_SUSPENDED
TERMINATED = agreement_pb2.AGREEMENT_STATE_TERMINATED
EXPIRED = agreement_pb2.AGREEMENT_STATE_EXPIRED
REFUSED = agreement_pb2.AGREEMENT_STATE_REFUSED
WITHDRAWN = agreement_pb2.AGREEMENT_STATE_WITHDRAWN
SUPERSEDED = agreement_pb2.AGREEMENT_STATE_SUPERSEDED
State: TypeAlias = AgreementState.ValueType

ENDED = frozenset({TERMINATED, EXPIRED, REFUSED, WITHDRAWN, SUPERSEDED})
BEFORE = frozenset({DRAFT, APPLIED, ASSESSED, CONSENTED})
"""What has not been active yet."""
NEVER_ACTIVE = BEFORE | {REFUSED, WITHDRAWN}
WITHHOLDING = frozenset({SUSPENDED, TERMINATED})
"""In these no release is handed out. One that expired or has a successor withholds nothing of its time."""

MAX_REASON = 2_000


class Step(StrEnum):
    """What can be done with an agreement, as events name it."""

    DRAFT = "draft"
    APPLY = "apply"
    ASSESS = "assess"
    CONSENT = "consent"
    SIGN = "sign"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminate"
    SUPERSEDE = "supersede"


DECISIONS = (Step.APPLY, Step.ASSESS, Step.CONSENT)
"""Of one agreement each is another organisation's."""
REASONED = frozenset({Step.REFUSE, Step.WITHDRAW, Step.SUSPEND, Step.TERMINATE})

_FROM: dict[Step, frozenset[State]] = {
    Step.APPLY: frozenset({DRAFT}),
    Step.ASSESS: frozenset({APPLIED}),
    Step.CONSENT: frozenset({ASSESSED}),
    Step.SIGN: frozenset({CONSENTED}),
    Step.REFUSE: frozenset({APPLIED, ASSESSED, CONSENTED}),
    Step.WITHDRAW: BEFORE,
    Step.SUSPEND: frozenset({ACTIVE, SUSPENDED}),
    Step.RESUME: frozenset({SUSPENDED}),
    Step.TERMINATE: frozenset({ACTIVE, SUSPENDED}),
}
_TO: dict[Step, State] = {
    Step.APPLY: APPLIED,
    Step.ASSESS: ASSESSED,
    Step.CONSENT: CONSENTED,
    Step.WITHDRAW: WITHDRAWN,
    Step.TERMINATE: TERMINATED,
}
"""Of the steps that lead to one state, whatever was before."""
_ACTIONS: dict[Step, tuple[Action, ...]] = {
    Step.APPLY: (Action.APPLY,),
    Step.ASSESS: (Action.ASSESS,),
    Step.CONSENT: (Action.CONSENT,),
    Step.SIGN: (Action.APPLY, Action.CONSENT),
    Step.REFUSE: (Action.ASSESS, Action.CONSENT),
    Step.WITHDRAW: (Action.APPLY,),
    Step.SUSPEND: (Action.SUSPEND,),
    Step.RESUME: (Action.SUSPEND,),
    Step.TERMINATE: (Action.END,),
}


class Term(Protocol):
    """What has an end: an agreement about data, or a notice, with the term of the operating agreements of it."""

    @property
    def expires(self) -> Timestamp: ...


@dataclass(frozen=True)
class Life:
    """An agreement as far as its life goes."""

    terms: Agreement
    # As the last step left it; what the time makes of it says `state_at`.
    state: State
    events: Sequence[AgreementEvent] = ()
    # The organisations whose signatures are there.
    signed: frozenset[str] = frozenset()

    @property
    def suspended_by(self) -> frozenset[str]:
        """The organisations whose suspension holds."""
        found: set[str] = set()
        for event in self.events:
            if event.action == Step.SUSPEND:
                found.add(event.organisation)
            elif event.action == Step.RESUME:
                found.discard(event.organisation)
        return frozenset(found)


def name_of(state: State) -> str:
    """A state as people read it: "active"."""
    return AgreementState.Name(state).removeprefix("AGREEMENT_STATE_").lower()


def state_at(terms: Term, state: State, now: float) -> State:
    """What an agreement is at `now`, in seconds since 1970: all that had not ended has, at the end of its term."""
    return EXPIRED if state not in ENDED and now >= terms.expires.seconds else state


def waits_for(life: Life, now: float) -> str:
    """Whose move it is, in words; empty where it is nobody's."""
    terms = life.terms
    match state_at(terms, life.state, now):
        case agreement_pb2.AGREEMENT_STATE_DRAFT:
            return f"the application of {terms.organisation}"
        case agreement_pb2.AGREEMENT_STATE_APPLIED:
            return f"the assessment of {terms.supervisor}"
        case agreement_pb2.AGREEMENT_STATE_ASSESSED:
            return f"the consent of {terms.provider}"
        case agreement_pb2.AGREEMENT_STATE_CONSENTED:
            return missing_signatures((terms.organisation, terms.provider), life.signed)
        case agreement_pb2.AGREEMENT_STATE_SUSPENDED:
            return f"the end of the suspension by {' and '.join(sorted(life.suspended_by))}"
        case _:
            return ""


def missing_signatures(parties: Sequence[str], signed: Collection[str]) -> str:
    """Whose signatures are missing, in words; one is."""
    missing = [each for each in parties if each not in signed]
    return f"the signature{'s' if len(missing) > 1 else ''} of {' and '.join(missing)}"


def moved(life: Life, step: Step, actor: Caller, now: float, *, reason: str = "") -> State:
    """The state that `step` by `actor` brings an agreement into. Whether a signature is good is not asked here.

    Args:
        now: seconds since 1970.
        reason: owed where one is refused, withdrawn, suspended or terminated.

    Raises:
        Problem: NOT_ALLOWED where the step is not this caller's; REFUSED where it is not its time, with whose move it
            is; MALFORMED for a reason that is missing or too long.
    """
    if step not in _FROM:
        raise Problem(Kind.MALFORMED, "agreement_step", f"{step} is not a step that is asked for.", field="action")
    _check_party(life, step, actor)
    _check_time(life, step, now)
    _check_only_decision(life, step, actor)
    check_reason(step, reason, needed=step in REASONED)
    return _result(life, step, actor)


def check_drafted(terms: Agreement, actor: Caller) -> None:
    """Raise Problem unless `actor` may draft these terms: a signatory of the organisation that would ask."""
    policy.check(actor, Action.APPLY)
    if actor.organisation != terms.organisation:
        raise _not_yours(terms, f"is drafted by {terms.organisation}", actor)
    parties = {"organisation": terms.organisation, "provider": terms.provider, "supervisor": terms.supervisor}
    if len(set(parties.values())) != len(parties):
        raise Problem(
            Kind.REFUSED,
            "agreement_parties",
            "Who asks, who has the data and who supervises are three organisations: nobody applies for, assesses and"
            " consents to the same agreement.",
            field="provider",
        )


def check_supplement(terms: Agreement, before: Life, now: float) -> None:
    """Raise Problem unless an agreement can come in the place of another, at `now`.

    It is between the same parties about the same dataset, and what it replaces is active: a suspension is ended by who
    suspended, never by other terms.
    """
    name, other = terms.agreement, before.terms
    for field in ("dataset", "organisation", "provider", "supervisor"):
        if getattr(terms, field) != getattr(other, field):
            raise Problem(
                Kind.REFUSED,
                "supplement_differs",
                f"Agreement {name} supersedes {other.agreement}, and has another {field}.",
                field=field,
                hint="a supplement is between the same parties about the same dataset; draft an agreement of its own",
            )
    state = state_at(other, before.state, now)
    if state != ACTIVE:
        raise Problem(
            Kind.REFUSED,
            "supplement_of_none",
            f"Agreement {name} supersedes {other.agreement}, which is {name_of(state)}.",
            field="supersedes",
            hint=f"it waits for {waits_for(before, now)}" if state not in ENDED else "draft one that supersedes none",
        )


def _check_party(life: Life, step: Step, actor: Caller) -> None:
    """The duty first, which the caller can read up; then whether this agreement is theirs at all."""
    actions = _ACTIONS[step]
    if not any(policy.may(actor, action) for action in actions):
        policy.check(actor, actions[0])
    if actor.role is Role.COORDINATOR:
        return  # of every agreement: what it may do at all is in the table
    terms = life.terms
    own = {Role.DEVELOPER: terms.organisation, Role.PROVIDER: terms.provider, Role.SUPERVISOR: terms.supervisor}
    if own.get(actor.role) != actor.organisation:
        raise _not_yours(
            terms, f"is between {terms.organisation} and {terms.provider}, under {terms.supervisor}", actor
        )


def _check_time(life: Life, step: Step, now: float) -> None:
    state = state_at(life.terms, life.state, now)
    if state in _FROM[step]:
        return
    waiting = waits_for(life, now)
    raise Problem(
        Kind.REFUSED,
        "agreement_state",
        f"Agreement {life.terms.agreement} is {name_of(state)}: this is no time to {step}."
        + (f" It waits for {waiting}." if waiting else ""),
        field="agreement",
        hint="draft another agreement" if state in ENDED else "`yingbi agreement show` says whose move it is",
        details={"state": name_of(state)},
    )


def _check_only_decision(life: Life, step: Step, actor: Caller) -> None:
    if step not in DECISIONS:
        return
    for event in life.events:
        if event.action in DECISIONS and event.organisation == actor.organisation:
            raise Problem(
                Kind.NOT_ALLOWED,
                "own_agreement",
                f"{actor.organisation} took the step {event.action!r} of agreement {life.terms.agreement}; who applies,"
                " who assesses and who consents are different organisations.",
                field="agreement",
            )


def check_reason(step: Step, reason: str, *, needed: bool) -> None:
    """Raise Problem MALFORMED "reason" for one that is needed and missing, or too long."""
    if needed and not reason.strip():
        raise Problem(
            Kind.MALFORMED, "reason", f"To {step} an agreement takes a reason.", field="reason", hint="give --reason"
        )
    if len(reason) > MAX_REASON:
        raise Problem(Kind.MALFORMED, "reason", f"A reason has at most {MAX_REASON:,} characters.", field="reason")


def _result(life: Life, step: Step, actor: Caller) -> State:
    depends = {Step.SIGN: _signed, Step.REFUSE: _refused, Step.SUSPEND: _suspended, Step.RESUME: _resumed}
    return depends[step](life, actor) if step in depends else _TO[step]


def _signed(life: Life, actor: Caller) -> State:
    if actor.organisation in life.signed:
        raise _done(life, f"{actor.organisation} has signed agreement {life.terms.agreement} already")
    return ACTIVE if {life.terms.organisation, life.terms.provider} == life.signed | {actor.organisation} else CONSENTED


def _refused(life: Life, actor: Caller) -> State:
    """By whose move it is: the supervisor's before the assessment, the provider's after it."""
    mover = Role.SUPERVISOR if life.state == APPLIED else Role.PROVIDER
    if actor.role is not mover:
        raise _done(life, f"Agreement {life.terms.agreement} is not {actor.organisation}'s to refuse now")
    return REFUSED


def _suspended(life: Life, actor: Caller) -> State:
    if actor.organisation in life.suspended_by:
        raise _done(life, f"{actor.organisation} has suspended agreement {life.terms.agreement} already")
    return SUSPENDED


def _resumed(life: Life, actor: Caller) -> State:
    if actor.organisation not in life.suspended_by:
        raise _done(life, f"Agreement {life.terms.agreement} was not suspended by {actor.organisation}")
    return ACTIVE if life.suspended_by == {actor.organisation} else SUSPENDED


def _done(life: Life, said: str) -> Problem:
    waiting = waits_for(life, 0.0)
    return Problem(
        Kind.REFUSED,
        "agreement_state",
        f"{said}: it waits for {waiting}." if waiting else f"{said}.",
        field="agreement",
        hint="`yingbi agreement show` says whose move it is",
        details={"state": name_of(life.state)},
    )


def _not_yours(terms: Agreement, said: str, actor: Caller) -> Problem:
    return Problem(
        Kind.NOT_ALLOWED,
        "other_agreement",
        f"Agreement {terms.agreement} {said}; {actor.name} is of {actor.organisation}.",
        field="agreement",
    )
