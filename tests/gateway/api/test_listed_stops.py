"""Which stops a developer is told of: of what they use, and of others' jobs nothing."""

from __future__ import annotations

import pytest
from yingbi.api.v1.stop_pb2 import Stop, StopRecord

from gateway.api.stops import _concerns
from gateway.governance.callers import Caller, Role
from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, Scope

ADA = Caller("ada", Role.DEVELOPER, "", "", "college")
OWN, AGREED = {"job-1"}, {"falls"}


def told(scope: Scope, subject: str, *jobs: str) -> list[str] | None:
    """The jobs that Ada reads were ended; None where she is not told of the stop."""
    record = StopRecord(stop=Stop(scope=scope, subject=subject), jobs=jobs)
    return list(record.jobs) if _concerns(record, ADA, OWN, AGREED) else None


@pytest.mark.parametrize(
    ("scope", "subject"), [(JOB, "job-1"), (AGREEMENT, "other"), (DATASET, "visits"), (ORGANISATION, "other")]
)
def test_of_what_ended_their_own_job_and_of_no_other_job_in_it(scope: Scope, subject: str) -> None:
    assert told(scope, subject, "job-1", "job-2") == ["job-1"]


def test_of_their_organisation_its_agreements_and_datasets_also_where_nothing_of_theirs_ran() -> None:
    assert told(AGREEMENT, "falls", "job-2") == []
    assert told(ORGANISATION, "college", "job-2") == []
    assert told(DATASET, "visits", "job-2") == []


def test_of_others_nothing() -> None:
    assert told(JOB, "job-2", "job-2") is None
    assert told(AGREEMENT, "burns", "job-2") is None
    assert told(ORGANISATION, "institute", "job-2") is None
    # A job that is called as an agreement is.
    assert told(JOB, "falls", "falls") is None
