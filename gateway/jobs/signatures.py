"""Whether what was signed for a job still counts: every enclave would refuse it after its end, once it is charged.

Asked where a job that waited is charged, and where a queued one begins: the gateway may have been down for long.
"""

from __future__ import annotations

from sqlalchemy import Connection
from yingbi.api.certificates import ended_holder
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Approval, Authorization, StandingApproval

from gateway.jobs.records import JobRecord
from gateway.storage import approvals


def check_count(connection: Connection, record: JobRecord, now: float) -> None:
    """Raise Problem where a job's signature, or the certificate of one, has ended at `now`, in seconds since 1970."""
    asked = Authorization.FromString(record.authorization.body)
    if asked.HasField("expires") and asked.expires.seconds < now:
        raise Problem(Kind.REFUSED, "expired", "The developer's authorization has expired.", hint="ask again")
    approved = approvals.signed(connection, record.job)
    for certificate in (record.authorization.certificate, *(each.certificate for each in approved)):
        if holder := ended_holder(certificate, now):
            said = f"The certificate of {holder}, who signed for this job, has ended."
            raise Problem(Kind.REFUSED, "certificate_expired", said, hint="ask again")
    for signed in approved:
        given = StandingApproval.FromString(signed.standing) if signed.standing else Approval.FromString(signed.body)
        if given.HasField("expires") and given.expires.seconds <= now:
            said = f"The approval of {given.organisation or 'an organisation'} is over already."
            raise Problem(Kind.REFUSED, "approval_expired", said, hint="ask again")
