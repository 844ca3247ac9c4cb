"""Which stops a developer is told of: of what they use, and of others' jobs nothing, in proofs neither."""

from __future__ import annotations

import pytest
from yingbi.api.v1.stop_pb2 import NodeProof, Stop, StopProof, StopProofBody, StopRecord

from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, SUSPENSION, Scope, told_to_developer

COLLEGE = "college"
OWN, AGREED = {"job-1"}, {"falls"}


def told(scope: Scope, subject: str, *jobs: str) -> list[str] | None:
    """The jobs that Ada reads were ended; None where she is not told of the stop."""
    record = StopRecord(stop=Stop(scope=scope, subject=subject), jobs=jobs)
    found = told_to_developer(record, COLLEGE, OWN, AGREED)
    return None if found is None else list(found.jobs)


@pytest.mark.parametrize(
    ("scope", "subject"), [(JOB, "job-1"), (AGREEMENT, "other"), (DATASET, "visits"), (ORGANISATION, "other")]
)
def test_of_what_ended_their_own_job_and_of_no_other_job_in_it(scope: Scope, subject: str) -> None:
    assert told(scope, subject, "job-1", "job-2") == ["job-1"]


def test_of_their_organisation_its_agreements_and_datasets_also_where_nothing_of_theirs_ran() -> None:
    assert told(AGREEMENT, "falls", "job-2") == told(SUSPENSION, "falls", "job-2") == []
    assert told(ORGANISATION, "college", "job-2") == []
    assert told(DATASET, "visits", "job-2") == []


def test_of_others_nothing() -> None:
    assert told(JOB, "job-2", "job-2") is None
    assert told(AGREEMENT, "burns", "job-2") is None
    assert told(ORGANISATION, "institute", "job-2") is None
    # A job that is called as an agreement is.
    assert told(JOB, "falls", "falls") is None


def test_a_proof_that_names_jobs_of_others_comes_as_its_time_alone() -> None:
    bodies = {
        "node-1": StopProofBody(jobs_ended=["job-1", "job-2"], at_millis=1_800_000_000_123),
        "node-2": StopProofBody(jobs_ended=["job-1"], at_millis=1_800_000_000_124),
        "node-3": StopProofBody(),
    }
    proofs = {node: StopProof(body=body.SerializeToString(), signature=bytes(64)) for node, body in bodies.items()}
    record = StopRecord(
        stop=Stop(scope=DATASET, subject="visits"),
        jobs=["job-1", "job-2"],
        nodes=[NodeProof(node=node, proof=proof) for node, proof in proofs.items()] + [NodeProof(node="node-4")],
    )
    found = told_to_developer(record, COLLEGE, OWN, AGREED)
    assert found is not None
    assert b"job-2" not in found.SerializeToString()
    hidden, own, none, silent = found.nodes
    assert (hidden.HasField("proof"), hidden.confirmed.ToMilliseconds()) == (False, 1_800_000_000_123)
    assert [each.proof for each in (own, none)] == [proofs["node-2"], proofs["node-3"]]
    assert not any(each.HasField("confirmed") for each in (own, none, silent))
    # Whoever else is told of the stop has the proof.
    assert record.nodes[0].proof == proofs["node-1"]
