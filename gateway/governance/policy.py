"""Who may do what: one table, asked at every call, printed by `yingbi policy show`. Pure.

What it does not name, nobody may.

A person belongs to one organisation, whose kind decides what its people can be for at all, and has duties within it.
There is no account that may do everything: who runs the zone cannot ask, approve, or sign, and who approves cannot ask.
That nobody decides about a request of their own organisation is a rule about the request: see `decisions`.

Keeps: APP-03, ROL-01, ROL-02, ROL-04, ROL-05
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from yingbi.api.problem import Kind, Problem

from gateway.governance.callers import Caller, Duty, Role, Scope


class Action(StrEnum):
    """What can be done through the gateway."""

    LOOK = "see the catalogue and the zone"
    ASK = "preview, submit and cancel one's own jobs; see them and their releases"
    SEE_JOBS = "see all jobs and decisions, with their receipts"
    DECIDE = "approve, return or refuse a job that waits"
    STOP_JOB = "stop a job of others"
    CUT_OFF = "cut a dataset off, and let it be used again"
    REGISTER_DATASET = "register a dataset"
    APPLY = "apply for an agreement, sign it, ask for its end"
    ASSESS = "assess an agreement that was applied for"
    CONSENT = "consent to an agreement, sign it, or revoke it"
    SUSPEND = "suspend an agreement, or end its suspension"
    END = "terminate an agreement"
    REGISTER_AGREEMENT = "register an agreement at once, in a zone made with --auto-approve"
    APPROVE_DEPLOYMENT = "approve or withdraw a deployed model"
    PUBLISH_NOTICE = "publish a notice for operators, sign an operating agreement, or end one"
    APPLY_TO_OPERATE = "apply to operate the zone, and sign the operating agreement"
    REVIEW_OPERATOR = "review who applied to operate the zone"
    FILE_ORGANISATION = "file an organisation, or remove one with all its people"
    FILE_PERSON = "invite people to one's own organisation, and remove them"
    SEE_PEOPLE = "see who is filed for every organisation"
    AUDIT = "read the record of everything that was done"


Who = tuple[tuple[Role, Duty], ...]

TABLE: Mapping[Action, Who] = MappingProxyType(
    {
        Action.LOOK: tuple((role, duty) for role in Role for duty in Duty),
        Action.ASK: ((Role.DEVELOPER, Duty.ANALYST),),
        Action.SEE_JOBS: (
            (Role.OPERATOR, Duty.OPERATOR),
            (Role.PROVIDER, Duty.APPROVER),
            (Role.SUPERVISOR, Duty.ASSESSOR),
            (Role.COORDINATOR, Duty.COORDINATOR),
            (Role.AUDITOR, Duty.AUDITOR),
        ),
        Action.DECIDE: ((Role.PROVIDER, Duty.APPROVER), (Role.SUPERVISOR, Duty.ASSESSOR)),
        Action.STOP_JOB: (
            (Role.OPERATOR, Duty.OPERATOR),
            (Role.PROVIDER, Duty.APPROVER),
            (Role.SUPERVISOR, Duty.ASSESSOR),
        ),
        Action.CUT_OFF: (
            (Role.OPERATOR, Duty.OPERATOR),
            (Role.PROVIDER, Duty.APPROVER),
            (Role.SUPERVISOR, Duty.ASSESSOR),
        ),
        Action.REGISTER_DATASET: ((Role.OPERATOR, Duty.OPERATOR),),
        Action.APPLY: ((Role.DEVELOPER, Duty.SIGNATORY),),
        Action.ASSESS: ((Role.SUPERVISOR, Duty.ASSESSOR),),
        Action.CONSENT: ((Role.PROVIDER, Duty.SIGNATORY),),
        Action.SUSPEND: ((Role.SUPERVISOR, Duty.ASSESSOR), (Role.PROVIDER, Duty.SIGNATORY)),
        Action.END: ((Role.COORDINATOR, Duty.COORDINATOR), (Role.PROVIDER, Duty.SIGNATORY)),
        Action.REGISTER_AGREEMENT: ((Role.OPERATOR, Duty.OPERATOR),),
        Action.APPROVE_DEPLOYMENT: ((Role.OPERATOR, Duty.OPERATOR),),
        Action.PUBLISH_NOTICE: ((Role.COORDINATOR, Duty.COORDINATOR),),
        Action.APPLY_TO_OPERATE: ((Role.OPERATOR, Duty.OPERATOR),),
        Action.REVIEW_OPERATOR: ((Role.SUPERVISOR, Duty.ASSESSOR),),
        Action.FILE_ORGANISATION: ((Role.COORDINATOR, Duty.COORDINATOR),),
        Action.FILE_PERSON: tuple((role, Duty.ADMINISTRATOR) for role in Role),
        Action.SEE_PEOPLE: (
            (Role.COORDINATOR, Duty.COORDINATOR),
            (Role.SUPERVISOR, Duty.ASSESSOR),
            (Role.AUDITOR, Duty.AUDITOR),
        ),
        Action.AUDIT: ((Role.AUDITOR, Duty.AUDITOR), (Role.SUPERVISOR, Duty.ASSESSOR)),
    }
)


SCOPES: Mapping[Scope, frozenset[Action]] = MappingProxyType(
    {
        Scope.READ: frozenset({Action.LOOK, Action.SEE_JOBS, Action.SEE_PEOPLE, Action.AUDIT}),
        Scope.ASK: frozenset({Action.LOOK, Action.ASK, Action.APPLY}),
        Scope.DECIDE: frozenset(
            {
                Action.LOOK,
                Action.SEE_JOBS,
                Action.DECIDE,
                Action.STOP_JOB,
                Action.CUT_OFF,
                Action.ASSESS,
                Action.CONSENT,
                Action.SUSPEND,
                Action.END,
                Action.APPROVE_DEPLOYMENT,
                Action.PUBLISH_NOTICE,
                Action.REVIEW_OPERATOR,
            }
        ),
        Scope.ADMINISTER: frozenset(
            {
                Action.SEE_PEOPLE,
                Action.FILE_ORGANISATION,
                Action.FILE_PERSON,
                Action.REGISTER_DATASET,
                Action.REGISTER_AGREEMENT,
                Action.APPLY_TO_OPERATE,
            }
        ),
    }
)
"""What a token with a scope can be used for, of what its person may. A token without scopes: for all of it."""

OPERATING: frozenset[Action] = frozenset(
    {Action.SEE_JOBS, Action.REGISTER_DATASET, Action.REGISTER_AGREEMENT, Action.APPROVE_DEPLOYMENT}
)
"""What an operator's people do only while their operating agreement is in force.

Not among them: to look at the catalogue and the zone, which everybody may; to invite people, which is each
organisation's own affair; to apply, without which nobody would ever begin; and to stop a job, cut a dataset off, or
withdraw a model that was approved, since a stop never waits for papers. What an operator cut off it alone can let be
used again, so that is left to it too.
"""


def may(caller: Caller, action: Action) -> bool:
    """Whether the table lets this caller do this at all, with the token that the call came with."""
    return in_scope(caller, action) and _may_person(caller, action) and not _is_hindered(caller, action)


def in_scope(caller: Caller, action: Action) -> bool:
    """Whether the token that the call came with is for this."""
    return caller.scopes is None or any(action in SCOPES[scope] for scope in caller.scopes)


def check(caller: Caller, action: Action) -> None:
    """Raise Problem NOT_ALLOWED unless the table lets this caller do this.

    Its code is "not_allowed", "other_scope", or "operator_not_authorised" where their organisation may not operate now.
    """
    if not _may_person(caller, action):
        needed = " or ".join(f"{duty} of {with_article(role)}" for role, duty in TABLE[action])
        has = ", ".join(sorted(caller.duties)) or "no duty"
        raise Problem(
            Kind.NOT_ALLOWED,
            "not_allowed",
            f"To {action} takes the {needed}; {caller.name} is of the {caller.role} {caller.organisation}, with {has}.",
            hint="`yingbi policy show` prints who may do what",
        )
    if not in_scope(caller, action):
        needed = " or ".join(scope for scope in Scope if action in SCOPES[scope])
        has = ", ".join(sorted(caller.scopes or ())) or "nothing"
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_scope",
            f"To {action} takes a token for {needed}; this one is for {has}.",
            hint="`yingbi token create` makes one, from a token that is for it",
        )
    if _is_hindered(caller, action):
        raise Problem(
            Kind.NOT_ALLOWED,
            "operator_not_authorised",
            f"{caller.organisation} is not authorised to operate this zone: {caller.hindrance}.",
            hint="`yingbi operator list` shows the notices, and whose move it is; docs/operators.md has the steps",
        )


def with_article(kind: str) -> str:
    """A kind of organisation, or a duty, as one of many: "a provider", "an operator"."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _is_hindered(caller: Caller, action: Action) -> bool:
    return action in OPERATING and bool(caller.hindrance)


def _may_person(caller: Caller, action: Action) -> bool:
    return any(caller.role is role and duty in caller.duties for role, duty in TABLE[action])
