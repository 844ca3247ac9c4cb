"""Stops from the command line: what they hit is shown first, nothing happens unconfirmed, and proofs are printed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi import stops
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.stop_proofs import verify_proof
from yingbi.api.v1.agreement_pb2 import RegisteredAgreement
from yingbi.api.v1.stop_pb2 import NodeProof, Stop, StopProof, StopProofBody, StopRecord, StopScope
from yingbi.transport import Gateway

KEY, DIGEST = Ed25519PrivateKey.generate(), bytes(range(32))
ENCLAVE = KEY.public_key().public_bytes_raw()


def proof(*, alive: int = 0, digest: bytes = DIGEST) -> StopProof:
    body = StopProofBody(
        node="node-1", stop=digest, jobs_ended=["job-1"], processes_alive=alive, at_millis=1_800_000_000_123
    ).SerializeToString()
    return StopProof(body=body, signature=digests.sign(KEY, digests.STOP_PROOF, body))


def test_a_proof_is_of_one_stop_by_one_enclave_with_nothing_left_alive() -> None:
    assert list(verify_proof(proof(), "node-1", DIGEST, ENCLAVE).jobs_ended) == ["job-1"]
    changed = proof()
    changed.body += b"\x28\x01"
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for bad, key in (
        (proof(alive=1), ENCLAVE),
        (proof(digest=bytes(32)), ENCLAVE),
        (changed, ENCLAVE),
        (proof(), other),
    ):
        with pytest.raises(Problem) as raised:
            verify_proof(bad, "node-1", DIGEST, key)
        assert raised.value.code == "stop_proof"
    with pytest.raises(Problem, match="of something else"):
        verify_proof(proof(), "node-2", DIGEST, ENCLAVE)


def test_a_stop_says_who_signed_and_who_has_not() -> None:
    record = StopRecord(
        stop=Stop(scope=StopScope.STOP_SCOPE_DATASET, subject="visits", reason="a complaint"),
        person="pat",
        organisation="provider",
        nodes=[NodeProof(node="node-1", proof=proof()), NodeProof(node="node-2", refusal="it is not known here")],
    )
    said = str(stops.Stopped(record))
    assert "dataset visits was stopped by pat of provider" in said
    assert said.splitlines()[0].endswith(": a complaint")
    assert "node-1 signed that it stopped at 2027-01-15 08:00:00.123 UTC; it ended job-1" in said
    assert "node-2 has not confirmed yet: it is not known here" in said


def test_a_stop_of_an_agreement_names_those_that_it_came_in_the_place_of() -> None:
    shown = RegisteredAgreement(predecessors=["newer", "older"])
    gateway = cast(Gateway, SimpleNamespace(profile=SimpleNamespace(token="t"), get_agreement=lambda name: shown))
    for scope in StopScope.values():
        said = Stop.FromString(stops.signed_stop(gateway, scope, "falls", "why").body)
        names_them = scope in (StopScope.STOP_SCOPE_AGREEMENT, StopScope.STOP_SCOPE_SUSPENSION)
        assert list(said.predecessors) == (["newer", "older"] if names_them else [])


def test_to_resume_ends_what_nobody_lifts_yet_and_else_what_a_node_has_not_let_go_of() -> None:
    def held(number: int, organisation: str = "bureau", lifted_by: str = "") -> StopRecord:
        stop = Stop(scope=StopScope.STOP_SCOPE_SUSPENSION)
        return StopRecord(number=number, stop=stop, organisation=organisation, lifted_by=lifted_by)

    pending, present, other = held(1, lifted_by="sue"), held(2), held(3, "hospital")
    for_good = StopRecord(number=4, stop=Stop(scope=StopScope.STOP_SCOPE_AGREEMENT), organisation="bureau")
    assert stops.suspension_by([for_good, other, pending, present], "bureau") == present
    assert stops.suspension_by([for_good, other, pending], "bureau") == pending
    assert stops.suspension_by([for_good, other], "bureau") is None
