"""Standing approvals as the console lists them: what may differ, how much is left, who may withdraw."""

from __future__ import annotations

import time

from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.people_pb2 import Me, Organisation
from yingbi.api.v1.plan_pb2 import Value
from yingbi.jobs import Job
from yingbi.standing import Standing, constants
from yingbi_dashboard import catalogue
from yingbi_dashboard.standing_page import KIND_NAMES, STATE_NAMES, Entry, entry_of

from tests.clients.test_client_templates import filtered

HOSPITAL, COLLEGE = (Me(organisation=Organisation(organisation=name)) for name in ("hospital", "college"))


def record(**changes: object) -> job_pb2.StandingRecord:
    terms = job_pb2.StandingApproval(
        kind=job_pb2.StandingApproval.KIND_CONSTANTS,
        ranges=[job_pb2.ConstantRange(position=0, lower=Value(float64_value=18), upper=Value(float64_value=90))],
        max_jobs=20,
        rho_units=2 * 10**12,
        organisation="hospital",
        expires=Timestamp(seconds=int(time.time()) + 3600),
    )
    named = {"standing": "ab", "terms": terms, "jobs": 3, "rho_units": 10**12, "job": "job-1", **changes}
    return job_pb2.StandingRecord(**named)  # type: ignore[arg-type]


def job() -> Job:
    message = job_pb2.Job(
        job="job-1", sql="SELECT COUNT(*) FROM t WHERE age < 65", plan=filtered(65).SerializeToString()
    )
    return Job(message, None)  # type: ignore[arg-type]


def entry(found: job_pb2.StandingRecord, me: Me = HOSPITAL, given_with: Job | None = None) -> Entry:
    return entry_of(Standing(found, None), given_with, me)  # type: ignore[arg-type]


def test_a_range_stands_beside_what_somebody_looked_at() -> None:
    found = entry(record(), given_with=job())
    (one,) = found.ranges
    assert (one.position, one.looked_at, one.lower, one.upper) == ("0", constants(job())[0], "18.0", "90.0")
    assert "".join(piece.text for piece in found.request) == job().message.sql
    assert (found.left, found.rho) == (17, (1.0, 2.0))


def test_who_may_not_see_the_job_sees_the_ranges_alone() -> None:
    found = entry(record(), COLLEGE)
    assert (found.request, found.ranges[0].looked_at) == ([], "")


def test_only_the_organisation_that_gave_it_withdraws_it_while_it_is_in_force() -> None:
    assert entry(record()).may_revoke
    assert not entry(record(), COLLEGE).may_revoke
    assert not entry(record(revoked=Timestamp(seconds=1))).may_revoke
    used = entry(record(jobs=20))
    assert (used.left, used.may_revoke, used.state) == (0, False, "standing.used_up")


def test_every_kind_and_state_has_its_words() -> None:
    said = set(catalogue.messages("en"))
    assert {*KIND_NAMES.values(), *STATE_NAMES.values()} <= said
    assert set(KIND_NAMES) == set(job_pb2.StandingApproval.Kind.values()) - {job_pb2.StandingApproval.KIND_UNSPECIFIED}
