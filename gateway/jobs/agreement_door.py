"""Whether a job that was admitted may still go on under its agreement: asked again at every door that it comes to.

Its plan and the terms never change, and were compared when it was asked for. They are compared again all the same: what
a door lets through follows from what is stored, and from nothing that another door did.

Keeps: AGR-02, AGR-05
"""

from __future__ import annotations

from sqlalchemy import Connection
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Authorization
from yingbi.api.v1.plan_pb2 import Plan

from gateway.governance import agreements as rules
from gateway.governance.agreement_signatures import ended_signatory
from gateway.jobs.kinds import kind_of_plan
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import agreements, catalogue


def check(connection: Connection, record: JobRecord, now: float, *, governed: bool = False) -> None:
    """Raise Problem, naming the clause, unless the job may go on at `now`, in seconds since 1970.

    Args:
        governed: whether no job goes on under no agreement.
    """
    if not record.agreement:
        if governed:
            raise Problem(
                Kind.REFUSED,
                "agreement_needed",
                f"Job {record.job} was asked under no agreement, and here every job is under one.",
                field="agreement",
                hint=rules.STEPS,
            )
        return
    plan = Plan.FromString(record.plan)
    purpose = Authorization.FromString(record.authorization.body).purpose
    request = rules.Request(record.organisation, record.dataset, kind_of_plan(plan), plan, purpose)
    declaration = catalogue.find(connection, record.dataset).declaration
    rules.check_request(agreements.life(connection, record.agreement), request, declaration, now)
    _check_enclaves_take_it(connection, record.agreement, now)


def _check_enclaves_take_it(connection: Connection, agreement: str, now: float) -> None:
    """Raise Problem for the first job under terms that every enclave would refuse, after it was charged.

    Of a node that joined since others were begun, the gateway cannot tell: its enclave does.
    """
    signed = agreements.signed(connection, agreement)
    ended = ended_signatory(signed, now) if signed else None
    if ended is not None and not ledger.begun_under(connection, agreement):
        raise Problem(
            Kind.REFUSED,
            "signatory_expired",
            f"The certificate of {ended}, who signed agreement {agreement}, ended before any job under it began.",
            field="agreement",
            hint=f"sign the terms anew as a supplement (supersedes: {agreement}), with certificates that count",
        )
