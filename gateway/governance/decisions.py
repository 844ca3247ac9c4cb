"""Who must say yes to a job, and who may not: one matrix, printed by `yingbi policy show`. Pure.

Nobody decides about a request of their own organisation, and no organisation decides twice: so a yes of two kinds of
organisations is the yes of two organisations. Neither can be had by the gateway alone: enclaves ask for the signatures
of the keys that their own policies name.

Keeps: GRD-06, ROL-02
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import DecisionRow

from gateway.governance.callers import Caller, Role
from gateway.governance.grades import APPROVAL_FROM_GRADE, LEAST_NODES


@dataclass(frozen=True)
class Rule:
    """What data of one grade asks for."""

    grade: int
    condition: str
    approvers: tuple[Role, ...]
    """Kinds of organisations, each of which must approve every plan."""


MATRIX = (
    Rule(1, "under an active agreement; approved once, when the dataset was brought in", ()),
    Rule(2, "under an active agreement", ()),
    Rule(3, "under an active agreement, each plan approved", (Role.PROVIDER,)),
    Rule(
        4,
        f"under an active agreement, at {LEAST_NODES} provider nodes or more, each plan approved by two organisations",
        (Role.PROVIDER, Role.SUPERVISOR),
    ),
)


@dataclass(frozen=True)
class Given:
    """An approval that is there. `at` is in seconds since 1970."""

    kind: Role
    organisation: str
    person: str
    at: float


def rows() -> list[DecisionRow]:
    """The matrix, to be printed."""
    return [
        DecisionRow(grade=rule.grade, condition=rule.condition, approvers=map(str, rule.approvers)) for rule in MATRIX
    ]


def approvers(grade: int) -> tuple[Role, ...]:
    """Kinds of organisations that must approve a job that waits on data of `grade`.

    A job that waits is approved by somebody, also where its dataset was given a lower grade meanwhile.
    """
    return next(rule.approvers for rule in reversed(MATRIX) if rule.grade <= max(grade, APPROVAL_FROM_GRADE))


def check_may_decide(caller: Caller, asked_by: str, grade: int, given: Sequence[Given]) -> None:
    """Raise Problem NOT_ALLOWED unless `caller` may approve or refuse what the organisation `asked_by` asked for.

    Args:
        caller: whom the policy's table lets decide at all.
        asked_by: whose request it is.
        grade: of the dataset.
        given: the approvals that are there.
    """
    kinds = approvers(grade)
    if caller.organisation == asked_by:
        raise _not_allowed(
            "own_request",
            f"{asked_by} asked for this itself: nobody decides about a request of their own organisation.",
            "it waits for somebody of another organisation",
        )
    if caller.role not in kinds:
        names = " and a ".join(kinds)
        raise _not_allowed(
            "not_needed",
            f"This waits for a {names}; {caller.organisation} is a {caller.role}.",
            "`yingbi policy show` prints who decides about which grade",
        )
    for each in given:
        if each.organisation == caller.organisation or each.kind is caller.role:
            raise _not_allowed(
                "already_decided",
                f"{each.organisation} has approved this already, by {each.person}.",
                "it waits for the others now",
            )


def _not_allowed(code: str, message: str, hint: str) -> Problem:
    return Problem(Kind.NOT_ALLOWED, code, message, hint=hint)
