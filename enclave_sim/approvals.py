"""Who must have approved a plan before an enclave computes it, by the grade of its dataset. Pure.

| Grade | Approved by |
|---|---|
| 1, 2 | nobody |
| 3 | the provider; waived where it made its zone with --auto-approve |
| 4 | the provider and a supervisor, two organisations; never waived |

Grade 4 is open to totals over at least two providers' nodes alone: what one node would tell by itself is no such total.
An approval is of one plan for one job at no more than its cost, or a standing one, of a template for so many jobs
(`standing_approvals`); and of another organisation than the one that asks.

Keeps: GRD-04, GRD-06, ROL-02
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Approval, SignedApproval, StandingApproval
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.authority import Policy, organisation_of
from enclave_sim.bodies import read_body
from enclave_sim.journal import Record
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.standing_approvals import Standing, check_left, standing_of

PROVIDER_FROM_GRADE = 3
SUPERVISOR_FROM_GRADE = 4
LEAST_PROVIDERS = 2
"""From `SUPERVISOR_FROM_GRADE` on: nodes with a shard."""


@dataclass(frozen=True)
class Asked:
    """What an approval has to be of."""

    job: str
    plan: Plan
    plan_hash: bytes
    # The key of the organisation whose developer asks.
    organisation: bytes
    # The agreement that is asked under; empty: none.
    agreement: str = ""
    # The journal, in which uses of standing approvals are counted.
    records: Sequence[Record] = ()


def check_mode(plan: Plan, *, grade: int, providers: int) -> None:
    """Raise Problem for a plan that no approval opens data of this grade to.

    `providers`: how many nodes hold a share of the key and a shard of the dataset.
    """
    if grade < SUPERVISOR_FROM_GRADE:
        return
    if providers < LEAST_PROVIDERS:
        raise _refused("grade_denied", f"Data of grade {grade} is open to totals over two or more providers' nodes.")
    if plan.HasField("key_selection"):
        # Each provider would release keys of its own.
        raise _refused("grade_denied", f"Group keys that are not declared are not selected from data of grade {grade}.")


def check_approvals(
    signed: Sequence[SignedApproval], policy: Policy, asked: Asked, *, grade: int, now: float
) -> tuple[Standing, ...]:
    """Raise Problem unless everybody has approved whom the grade asks for; it says why an approval does not count.

    `now`: seconds since 1970. Returns the standing approvals among them: the charge is to note them.
    """
    if grade < PROVIDER_FROM_GRADE or (policy.auto_approve and grade < SUPERVISOR_FROM_GRADE):
        return ()
    approvers = [("provider", "approver", policy.providers)]
    if grade >= SUPERVISOR_FROM_GRADE:
        # An organisation that is both would be one voice.
        approvers.append(("supervisor", "assessor", policy.supervisors - policy.providers))
    found: list[Standing] = []
    for kind, duty, organisations in approvers:
        missing = _refused("not_approved", f"Data of grade {grade} needs its {kind}'s approval of this plan.")
        found += _check_one(signed, organisations, duty, asked, now, missing)
    return tuple(found)


def _check_one(
    signed: Sequence[SignedApproval],
    organisations: frozenset[bytes],
    duty: str,
    asked: Asked,
    now: float,
    missing: Problem,
) -> list[Standing]:
    """Raise `missing`, or why the last approval by one of these organisations does not count, unless one counts.

    Returns it where it is a standing one.
    """
    problem = missing
    for each in signed:
        try:
            if each.standing:
                standing = _standing_by(each, organisations, duty, asked, now)
                if standing is not None:
                    return [standing]
            elif _is_by(each, organisations, duty, asked, now):
                return []
        except Problem as error:
            problem = error
    raise problem


def _is_by(signed: SignedApproval, organisations: frozenset[bytes], duty: str, asked: Asked, now: float) -> bool:
    """Whether one of these organisations approved; raises Problem where one did, and it does not count."""
    body = read_body(Approval, signed.body)
    if not _speaks(signed, body.operator_key, organisations, duty, asked, now):
        return False
    if not digests.is_signed(body.operator_key, digests.APPROVAL, signed.body, signed.signature):
        raise _refused("bad_signature", "The signature of the approval does not verify.")
    if (body.job, body.plan_hash) != (asked.job, asked.plan_hash):
        raise _refused("other_plan", "What was approved is another job or another plan.")
    # A δ that is no number covers nothing.
    if not (body.rho_units >= total_rho_units(asked.plan) and body.delta >= asked.plan.delta):
        raise _refused("other_price", "What was approved may cost less than this plan.")
    if body.HasField("expires") and now >= body.expires.seconds:
        raise _refused("approval_expired", "The approval has expired.")
    return True


def _standing_by(
    signed: SignedApproval, organisations: frozenset[bytes], duty: str, asked: Asked, now: float
) -> Standing | None:
    """The standing approval of one of these organisations, None of another's; raises Problem as `_is_by`."""
    terms = read_body(StandingApproval, signed.standing)
    if not _speaks(signed, terms.operator_key, organisations, duty, asked, now):
        return None
    if not digests.is_signed(terms.operator_key, digests.STANDING_APPROVAL, signed.standing, signed.signature):
        raise _refused("bad_signature", "The signature of the standing approval does not verify.")
    standing = standing_of(
        signed.standing, terms, asked.plan, agreement=asked.agreement, asker=asked.organisation, now=now
    )
    check_left(standing, asked.records, asked.job, asked.plan)
    return standing


def _speaks(
    signed: SignedApproval, key: bytes, organisations: frozenset[bytes], duty: str, asked: Asked, now: float
) -> bool:
    """Whether the holder of `key` approves for one of these organisations; raises Problem where it asks itself."""
    organisation = organisation_of(key, signed.certificate, organisations, duty=duty, now=now)
    if organisation is not None and organisation == asked.organisation:
        raise _refused("own_approval", "Nobody approves a request of their own organisation.")
    return organisation is not None


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
