"""Who may stop what, and what is said of what was stopped. Pure.

Keeps: MON-01
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from google.protobuf.message import DecodeError
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.stop_pb2 import Lift, SignedLift, SignedStop, Stop, StopScope

from gateway.governance.callers import Caller, Role
from gateway.governance.policy import Action, check, may

Body = TypeVar("Body", Stop, Lift)
Scope: TypeAlias = "StopScope.ValueType"

JOB = StopScope.STOP_SCOPE_JOB
AGREEMENT = StopScope.STOP_SCOPE_AGREEMENT
DATASET = StopScope.STOP_SCOPE_DATASET
ORGANISATION = StopScope.STOP_SCOPE_ORGANISATION

ACTIONS: Mapping[Scope, tuple[Action, ...]] = MappingProxyType(
    {
        JOB: (Action.STOP_JOB,),
        AGREEMENT: (Action.SUSPEND, Action.END),
        DATASET: (Action.CUT_OFF,),
        ORGANISATION: (Action.FILE_ORGANISATION,),
    }
)
"""What the policy asks of whoever stops this: any one of these. A developer's own job is theirs to cancel."""

LONGEST_REASON = 1000
LONGEST_SUBJECT = 127


def name_of(scope: Scope) -> str:
    """ "job", "agreement", "dataset" or "organisation"."""
    return StopScope.Name(scope).removeprefix("STOP_SCOPE_").lower()


def check_may_stop(caller: Caller, scope: Scope) -> None:
    """Raise Problem unless the policy lets the caller stop this. Whether a developer's job is theirs is asked later."""
    if scope == JOB and caller.role is Role.DEVELOPER:
        check(caller, Action.ASK)
        return
    if not any(may(caller, action) for action in ACTIONS[scope]):
        check(caller, ACTIONS[scope][0])


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


def read_lift(caller: Caller, signed: SignedLift) -> Lift:
    """The word that lifts a cut-off, if the caller signed it; whether it is theirs is `check_may_lift`'s."""
    lift = _body(Lift, signed.body)
    check(caller, Action.CUT_OFF)
    _check_signed(caller, lift.signer_key, digests.LIFT, signed.body, signed.signature)
    _check_reason(lift.reason, needed=False)
    return lift


def check_may_lift(caller: Caller, dataset: str, by: str) -> None:
    """Raise Problem unless the caller is of the organisation that cut the dataset off."""
    if caller.organisation != by:
        raise Problem(
            Kind.NOT_ALLOWED,
            "may_not_lift",
            f"{dataset} was cut off by {by}, which alone can let it be used again.",
        )


def cut_off(scope: Scope, subject: str, *, person: str, organisation: str, reason: str, since: float) -> Problem:
    """What is said at every door to a job that a stop covers."""
    when = f"{datetime.datetime.fromtimestamp(since, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    what = "was cut off" if scope == DATASET else "was stopped"
    hint = "they can let it be used again with `yingbi lift dataset`" if scope == DATASET else "a stop is for good"
    return Problem(
        Kind.REFUSED,
        "dataset_cut_off" if scope == DATASET else f"{name_of(scope)}_stopped",
        f"The {name_of(scope)} {subject} {what} by {person} of {organisation} on {when}: {reason}",
        hint=hint,
        field=name_of(scope),
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
