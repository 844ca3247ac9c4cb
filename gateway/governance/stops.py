"""Who may stop what, and what is said of what was stopped. Pure.

Keeps: MON-01
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.stop_scopes import OF_STEP, name_of
from yingbi.api.v1.agreement_pb2 import AgreementStep
from yingbi.api.v1.stop_pb2 import Lift, SignedLift, SignedStop, Stop, StopProofBody, StopRecord, StopScope

from gateway.governance.agreement_states import MAX_REASON
from gateway.governance.callers import Caller, Role
from gateway.governance.policy import Action, check, may

Body = TypeVar("Body", Stop, Lift)
Scope: TypeAlias = "StopScope.ValueType"
JOB = StopScope.STOP_SCOPE_JOB
AGREEMENT = StopScope.STOP_SCOPE_AGREEMENT
DATASET = StopScope.STOP_SCOPE_DATASET
ORGANISATION = StopScope.STOP_SCOPE_ORGANISATION
SUSPENSION = StopScope.STOP_SCOPE_SUSPENSION

ACTIONS: Mapping[Scope, tuple[Action, ...]] = MappingProxyType(
    {
        JOB: (Action.STOP_JOB,),
        AGREEMENT: (Action.SUSPEND, Action.END),
        DATASET: (Action.CUT_OFF,),
        ORGANISATION: (Action.FILE_ORGANISATION,),
        SUSPENSION: (Action.SUSPEND,),
    }
)
"""What the policy asks of whoever stops this: any one of these. A developer's own job is theirs to cancel."""

# A step and the stop that it comes with have the same one.
LONGEST_REASON = MAX_REASON
LONGEST_SUBJECT = 127


def check_may_stop(caller: Caller, scope: Scope) -> None:
    """Raise Problem unless the policy lets the caller stop this. Whether a developer's job is theirs is asked later."""
    if scope == JOB and caller.role is Role.DEVELOPER:
        check(caller, Action.ASK)
        return
    if not any(may(caller, action) for action in ACTIONS[scope]):
        check(caller, ACTIONS[scope][0])


def told_to_developer(record: StopRecord, organisation: str, own: Set[str], named: Set[str]) -> StopRecord | None:
    """A stop as a developer of this organisation is told of it; None where they are not: of what they use.

    Of others' jobs that it hit they see nothing: of a proof that names some they are told when it was signed, no more.

    Args:
        own: the developer's jobs.
        named: the agreements with their organisation.
    """
    kept = [job for job in record.jobs if job in own]
    told = StopRecord()
    told.CopyFrom(record)
    told.ClearField("jobs")
    told.jobs.extend(kept)
    scope, subject = record.stop.scope, record.stop.subject
    concerned = {DATASET: True, AGREEMENT: subject in named, SUSPENSION: subject in named}
    if not (kept or concerned.get(scope, scope == ORGANISATION and subject == organisation)):
        return None
    for node in told.nodes:
        body = StopProofBody.FromString(node.proof.body)
        if not own >= set(body.jobs_ended):
            node.ClearField("proof")
            node.confirmed.FromMilliseconds(body.at_millis)
    return told


def check_is_party(caller: Caller, agreement: str, *, provider: str, supervisor: str) -> None:
    """Raise Problem unless the caller is of the agreement's own provider or supervisor, or coordinates the zone.

    An agreement that an operator registered alone, with --auto-approve, names neither.
    """
    own = {Role.PROVIDER: provider, Role.SUPERVISOR: supervisor}.get(caller.role, "")
    if own and caller.organisation != own:
        raise Problem(
            Kind.NOT_ALLOWED, "not_a_party", f"{caller.organisation} is no {caller.role} of agreement {agreement}."
        )


def read_stop(caller: Caller, signed: SignedStop) -> Stop:
    """The stop, if the caller signed it, may order it and says why; raises Problem."""
    stop = _body(Stop, signed.body)
    if stop.scope not in ACTIONS or not 1 <= len(stop.subject) <= LONGEST_SUBJECT:
        said = "A stop names a job, an agreement, a dataset or an organisation."
        raise Problem(Kind.MALFORMED, "bad_stop", said, field="scope")
    check_may_stop(caller, stop.scope)
    _check_signed(caller, stop.signer_key, digests.STOP, signed.body, signed.signature)
    is_own = stop.scope == JOB and caller.role is Role.DEVELOPER
    _check_reason(stop.reason, needed=not is_own)
    return stop


def read_stop_alone(caller: Caller, signed: SignedStop) -> Stop:
    """As `read_stop`, of one that is no part of an agreement's step; raises Problem."""
    stop = read_stop(caller, signed)
    if stop.scope == SUSPENSION:
        raise _step_alone("suspended by a step of its life")
    return stop


def read_stop_of_step(caller: Caller, asked: AgreementStep) -> Stop:
    """The stop that a step of an agreement's life comes with: of that agreement, for that reason; raises Problem."""
    if not asked.HasField("stop"):
        raise Problem(
            Kind.MALFORMED,
            "stop_needed",
            f"To {asked.action} an agreement takes the signed stop that enclaves check.",
            field="stop",
            hint="`yingbi agreement`, the SDK and the console of this release sign it",
        )
    stop = read_stop(caller, asked.stop)
    said = (stop.scope, stop.subject, stop.reason.strip())
    if said != (OF_STEP[asked.action], asked.agreement, asked.reason.strip()):
        raise Problem(Kind.MALFORMED, "other_stop", "The stop that is signed is not that of this step.", field="stop")
    return stop


def read_lift_of_step(caller: Caller, asked: AgreementStep) -> Lift:
    """The word that ends the suspension of an agreement, if the caller signed it; raises Problem."""
    if not asked.HasField("lift"):
        raise Problem(
            Kind.MALFORMED,
            "lift_needed",
            "To resume an agreement takes the signed end of its suspension, which enclaves check.",
            field="lift",
            hint="`yingbi agreement`, the SDK and the console of this release sign it",
        )
    lift = read_lift(caller, asked.lift)
    if lift.agreement != asked.agreement:
        raise Problem(Kind.MALFORMED, "other_lift", "What is signed ends another suspension.", field="lift")
    return lift


def read_lift_alone(caller: Caller, signed: SignedLift) -> Lift:
    """As `read_lift`, of a dataset's cut-off; raises Problem."""
    lift = read_lift(caller, signed)
    if lift.agreement:
        raise _step_alone("resumed by a step of its life")
    return lift


def read_lift(caller: Caller, signed: SignedLift) -> Lift:
    """The word that ends a stop, if the caller signed it; whether it is theirs is `check_may_lift`'s."""
    lift = _body(Lift, signed.body)
    check(caller, Action.SUSPEND if lift.agreement else Action.CUT_OFF)
    _check_signed(caller, lift.signer_key, digests.LIFT, signed.body, signed.signature)
    _check_reason(lift.reason, needed=False)
    return lift


def ended_by(lift: Lift) -> tuple[Scope, str]:
    """What is let be used again: its scope, and its name."""
    return (SUSPENSION, lift.agreement) if lift.agreement else (DATASET, lift.dataset)


def check_may_lift(caller: Caller, scope: Scope, subject: str, by: str) -> None:
    """Raise Problem unless the caller is of the organisation that ordered this stop."""
    if caller.organisation != by:
        raise Problem(
            Kind.NOT_ALLOWED,
            "may_not_lift",
            f"{subject} {_said(scope)} by {by}, which alone can let it be used again.",
        )


def cut_off(scope: Scope, subject: str, *, person: str, organisation: str, reason: str, since: float) -> Problem:
    """What is said at every door to a job that a stop covers."""
    when = f"{datetime.datetime.fromtimestamp(since, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    what = name_of(AGREEMENT if scope == SUSPENSION else scope)
    codes = {DATASET: "dataset_cut_off", SUSPENSION: "agreement_suspended"}
    hints = {
        DATASET: "they can let it be used again with `yingbi lift dataset`",
        SUSPENSION: "they can end it with `yingbi agreement resume`, as soon as every node has confirmed",
    }
    return Problem(
        Kind.REFUSED,
        codes.get(scope, f"{what}_stopped"),
        f"The {what} {subject} {_said(scope)} by {person} of {organisation} on {when}: {reason}",
        hint=hints.get(scope, "a stop is for good"),
        field=what,
    )


def _said(scope: Scope) -> str:
    return {DATASET: "was cut off", SUSPENSION: "was suspended"}.get(scope, "was stopped")


def _step_alone(said: str) -> Problem:
    return Problem(
        Kind.REFUSED,
        "step_needed",
        f"An agreement is {said}, and not without it.",
        field="scope",
        hint="`yingbi agreement suspend` and `resume`",
    )


def _check_signed(caller: Caller, key: bytes, domain: str, body: bytes, signature: bytes) -> None:
    if key != caller.key or not digests.is_signed(caller.key, domain, body, signature):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The stop is not signed with this caller's key.")


def _check_reason(reason: str, *, needed: bool) -> None:
    if len(reason) > LONGEST_REASON or (needed and not reason.strip()):
        said = f"A stop carries its reason, of at most {LONGEST_REASON} characters."
        raise Problem(Kind.MALFORMED, "reason", said, field="reason")


def _body(kind: type[Body], data: bytes) -> Body:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, "bad_stop", "What was signed is no stop.", field="body") from error
