"""Standing approvals, as an enclave counts them by itself: how often, and for how much, one of them was used here.

A charge notes the standing approvals that it rests on, by the digest of what was signed, and its phase. So what is left
is a function of this node's own journal, whatever the gateway says and however often it sends the same signature.

*Why a count at each node is enough.* A job takes a contribution of every node, each of which has charged it before. So
no node has counted fewer than there are releases, but for a node that joined later: a dataset that it has a shard of is
another version, and so is every template (`plan.dataset_version`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.templates import check_fits, check_known, phase_of
from yingbi.api.v1.job_pb2 import StandingApproval
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.journal import Record
from enclave_sim.plan.sensitivity import total_rho_units


@dataclass(frozen=True)
class Standing:
    """One that a plan fits, and that is not over."""

    id: str
    terms: StandingApproval


def standing_of(
    body: bytes, terms: StandingApproval, plan: Plan, *, agreement: str, asker: bytes, now: float
) -> Standing:
    """The standing approval in the signed bytes `body`, which `terms` are.

    Args:
        agreement: that the plan is asked under; empty: none.
        asker: the key of the organisation that asks.
        now: seconds since 1970.

    Raises:
        Problem: the plan is not of its template, or it is over, or another's.
    """
    check_known(terms, body)
    if terms.asker_key != asker:
        raise _refused("other_asker", "The standing approval is of another organisation's requests.")
    if not agreement or terms.agreement != agreement:
        raise _refused("other_agreement", "The standing approval is of requests under another agreement.")
    if now >= terms.expires.seconds:
        raise _refused("approval_expired", "The standing approval has expired.")
    check_fits(terms, plan, rho_units=total_rho_units(plan))
    return Standing(digests.digest(digests.STANDING_APPROVAL, body).hex(), terms)


def check_left(standing: Standing, records: Sequence[Record], job: str, plan: Plan) -> None:
    """Raise Problem unless one more job, this plan's price and its phase are within it, by the journal.

    Of a job that was charged already, only the others count.
    """
    charges = [each for each in records if each["kind"] == "charge" and each["job"] != job]
    uses = [each for each in charges if standing.id in str(each.get("standing", "")).split()]
    terms = standing.terms
    if len(uses) >= terms.max_jobs:
        raise _refused("standing_used_up", f"The standing approval was for {terms.max_jobs} jobs, and had them.")
    if sum(int(each["rho_units"]) for each in uses) + total_rho_units(plan) > terms.rho_units:
        raise _refused("standing_used_up", "The standing approval does not cover the plan's price any more.")
    phase = phase_of(plan)
    number = phase.partition(":")[0]
    # The first round of a phase says what all of them measure, with which clipping bound and noise.
    for each in uses:
        seen = str(each.get("phase", ""))
        if seen.partition(":")[0] == number and seen != phase:
            raise _refused("other_template", "The round measures something else than those before it in its phase.")


def noted(standing: Sequence[Standing], plan: Plan) -> Record:
    """What a charge notes for `check_left`."""
    if not standing:
        return {}
    phase = phase_of(plan)
    return {"standing": " ".join(each.id for each in standing), **({"phase": phase} if phase else {})}


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
