"""Lists of stops: the newest first, so many at most, and for developers without single jobs of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine
from yingbi.api.v1.job_pb2 import SignedAuthorization
from yingbi.api.v1.stop_pb2 import SignedStop, Stop, StopProof, StopProofBody

from gateway.governance.callers import Caller, Role
from gateway.governance.stops import DATASET, JOB, Scope
from gateway.jobs import records, states
from gateway.jobs.records import NewJob
from gateway.storage import stops
from gateway.storage.tables import metadata

HANNA = Caller("hanna", Role.PROVIDER, "", "", "hospital")


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as begun:
        metadata.create_all(begun)
        yield begun
    engine.dispose()


def add(connection: Connection, scope: Scope, subject: str) -> None:
    stop = Stop(scope=scope, subject=subject, reason="a complaint")
    told = stops.add(connection, SignedStop(body=stop.SerializeToString()), HANNA, [], ["node-1", "node-2"], 1.0)
    proof = StopProof(body=StopProofBody(node="node-2", at_millis=1).SerializeToString())
    stops.keep_proof(connection, told.number, "node-2", proof, of_lift=False, at=1)


def listed(connection: Connection, **asked: Any) -> list[str]:
    found = stops.list_all(connection, **asked)
    # Each with its own nodes.
    assert all([node.HasField("proof") for node in each.nodes] == [False, True] for each in found)
    return [each.stop.subject for each in found]


def test_the_newest_come_first_and_so_many_at_most(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "MOST_LISTED", 2)
    for subject in ("visits", "falls", "burns"):
        add(connection, DATASET, subject)
    assert listed(connection) == ["burns", "falls"]
    # An older one by its subject.
    assert listed(connection, subject="visits") == ["visits"]


def test_jobs_that_others_cancelled_push_nothing_out_of_a_developers_list(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "MOST_LISTED", 2)
    job = NewJob(
        job="job-ada",
        developer="ada",
        organisation="college",
        request_id="request-1",
        request_digest=bytes(32),
        dataset="visits",
        sql="",
        plan=b"",
        plan_hash=bytes(32),
        authorization=SignedAuthorization(),
        registration=b"",
    )
    records.create(connection, job, states.SUCCEEDED)
    add(connection, DATASET, "visits")
    add(connection, JOB, "job-ada")
    for number in range(3):
        add(connection, JOB, f"job-{number}")
    assert listed(connection) == ["job-2", "job-1"]
    assert listed(connection, developer="ada") == ["job-ada", "visits"]
