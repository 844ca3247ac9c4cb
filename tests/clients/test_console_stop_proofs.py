"""A stop on a page: each node's word is marked by what checking it found, against the stop that the page shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import digests
from yingbi.api.v1.stop_pb2 import Lift, NodeProof, Stop, StopProof, StopProofBody, StopRecord, StopScope
from yingbi.stops import Stopped
from yingbi_dashboard import catalogue
from yingbi_dashboard.enclaves import Enclaves
from yingbi_dashboard.stop_proofs import SCOPE_NAMES, shown

KEYS = {f"node-{number}": Ed25519PrivateKey.generate() for number in (1, 2)}
EPOCH = 3
ENCLAVES = Enclaves(
    "ab",
    tuple(KEYS),
    simulated=True,
    keys={node: key.public_key().public_bytes_raw() for node, key in KEYS.items()},
    key_epoch=EPOCH,
)


def record() -> StopRecord:
    """A job's stop, which both nodes signed."""
    stop = Stop(scope=StopScope.STOP_SCOPE_JOB, subject="job-1", reason="a complaint", signer_key=bytes(32))
    digest = digests.digest(digests.STOP, stop.SerializeToString(deterministic=True))
    return StopRecord(
        stop=stop, digest=digest, nodes=[NodeProof(node=node, proof=proof(node, digest)) for node in KEYS]
    )


def proof(node: str, digest: bytes, /, **said: object) -> StopProof:
    named: dict[str, object] = {
        "node": node,
        "stop": digest,
        "at_millis": 1_800_000_000_123,
        "key_epoch": EPOCH,
        **said,
    }
    body = StopProofBody(**named).SerializeToString(deterministic=True)  # type: ignore[arg-type]
    return StopProof(body=body, signature=digests.sign(KEYS[node], digests.STOP_PROOF, body))


def marks(found: StopRecord, enclaves: Enclaves = ENCLAVES) -> list[str]:
    found_marks = [word.mark for word in shown(found, enclaves).nodes]
    assert set(found_marks) <= set(catalogue.messages("en"))
    return found_marks


def test_what_both_enclaves_signed_of_this_stop_holds() -> None:
    assert marks(record()) == ["stops.holds", "stops.holds"]
    assert not shown(record(), ENCLAVES).is_awaited


def change_reason(found: StopRecord) -> None:
    found.stop.reason = "another reason"


def change_subject(found: StopRecord) -> None:
    found.stop.subject = "job-2"


def another_stop(found: StopRecord) -> None:
    found.nodes[0].proof.CopyFrom(proof("node-1", bytes(32)))


def another_node(found: StopRecord) -> None:
    found.nodes[0].proof.CopyFrom(found.nodes[1].proof)


def in_another_s_name(found: StopRecord) -> None:
    found.nodes[0].proof.CopyFrom(proof("node-1", found.digest, node="node-2"))


def something_alive(found: StopRecord) -> None:
    found.nodes[0].proof.CopyFrom(proof("node-1", found.digest, processes_alive=1))


def other_words(found: StopRecord) -> None:
    body = StopProofBody.FromString(found.nodes[0].proof.body)
    body.at_millis += 1
    found.nodes[0].proof.body = body.SerializeToString()


@pytest.mark.parametrize(
    "lie", [change_reason, change_subject, another_stop, another_node, in_another_s_name, something_alive, other_words]
)
def test_what_the_page_shows_otherwise_than_it_was_signed_does_not_hold(lie: Callable[[StopRecord], None]) -> None:
    """Whoever answers for the gateway: its own word for the digest counts nothing."""
    found = record()
    lie(found)
    assert marks(found)[0] == "stops.fails"


def test_jobs_of_others_that_a_node_ended_are_not_named() -> None:
    found = record()
    found.nodes[0].proof.CopyFrom(proof("node-1", found.digest, jobs_ended=["job-1", "job-2"]))
    found.jobs.append("job-1")
    assert shown(found, ENCLAVES).nodes[0].jobs == ("job-1",)


def test_without_a_key_of_that_time_nothing_is_called_verified() -> None:
    found = record()
    found.nodes[0].proof.CopyFrom(proof("node-1", found.digest, key_epoch=EPOCH - 1))
    assert marks(found) == ["stops.unchecked", "stops.holds"]
    assert marks(record(), Enclaves("", (), simulated=True, problem="no evidence")) == ["stops.unchecked"] * 2


def test_a_node_that_has_said_nothing_is_awaited_and_one_that_refused_is_not() -> None:
    found = record()
    found.nodes[1].CopyFrom(NodeProof(node="node-2"))
    stop = shown(found, ENCLAVES)
    assert [word.mark for word in stop.nodes] == ["stops.holds", "stops.none_yet"]
    assert stop.is_awaited
    found.nodes[1].refusal = "it is not known here"
    stop = shown(found, ENCLAVES)
    assert stop.nodes[1].refusal == "it is not known here"
    assert not stop.is_awaited


def test_a_proof_that_names_jobs_of_others_is_confirmed_and_not_shown() -> None:
    found = record()
    found.nodes[1].ClearField("proof")
    found.nodes[1].confirmed.FromMilliseconds(1_800_000_000_123)
    stop = shown(found, ENCLAVES)
    assert marks(found) == ["stops.holds", "stops.not_shown"]
    assert stop.nodes[1].at == stop.nodes[0].at
    assert not stop.is_awaited
    assert "not shown" in str(stop.stopped.nodes[1])


@pytest.mark.parametrize("body", [b"\xff", StopProofBody(at_millis=2**62, key_epoch=EPOCH).SerializeToString()])
def test_what_cannot_be_read_as_a_proof_does_not_hold(body: bytes) -> None:
    found = lifted()
    found.nodes[0].proof.body = found.nodes[0].lift_proof.body = body
    (word, _), (said, _) = shown(found, ENCLAVES).nodes, Stopped(found).nodes
    assert (word.mark, word.lift_mark, word.at, word.lifted_at) == ("stops.fails", "stops.lift_fails", None, None)
    assert said.at is None


def lifted() -> StopRecord:
    """A cut-off whose lift both nodes signed."""
    stop = Stop(scope=StopScope.STOP_SCOPE_DATASET, subject="visits", reason="a complaint", signer_key=bytes(32))
    digest = digests.digest(digests.STOP, stop.SerializeToString(deterministic=True))
    lift = Lift(stop=digest, dataset="visits", reason="it was settled", signer_key=bytes(32))
    ended = digests.digest(digests.LIFT, lift.SerializeToString(deterministic=True))
    nodes = [NodeProof(node=node, proof=proof(node, digest), lift_proof=proof(node, ended)) for node in KEYS]
    return StopRecord(stop=stop, digest=digest, lift=lift, lifted_by="hanna", nodes=nodes)


def lift_marks(found: StopRecord, enclaves: Enclaves = ENCLAVES) -> list[str]:
    found_marks = [word.lift_mark for word in shown(found, enclaves).nodes]
    assert set(found_marks) <= {"", *catalogue.messages("en")}
    return found_marks


def test_what_both_enclaves_signed_of_the_lift_holds() -> None:
    assert lift_marks(lifted()) == marks(lifted()) == ["stops.holds", "stops.holds"]
    assert lift_marks(record()) == ["", ""]


def the_proof_of_the_stop(found: StopRecord) -> None:
    found.nodes[0].lift_proof.CopyFrom(found.nodes[0].proof)


def another_reason(found: StopRecord) -> None:
    found.lift.reason = "another reason"


def the_lift_of_another_stop(found: StopRecord) -> None:
    found.lift.stop = bytes(32)
    ended = digests.digest(digests.LIFT, found.lift.SerializeToString(deterministic=True))
    found.nodes[0].lift_proof.CopyFrom(proof("node-1", ended))


def no_lift(found: StopRecord) -> None:
    found.ClearField("lift")


@pytest.mark.parametrize("lie", [the_proof_of_the_stop, another_reason, the_lift_of_another_stop, no_lift])
def test_a_lift_that_was_signed_otherwise_does_not_hold(lie: Callable[[StopRecord], None]) -> None:
    found = lifted()
    lie(found)
    assert lift_marks(found)[0] == "stops.lift_fails"
    assert marks(found)[0] == "stops.holds"


def test_without_a_key_of_that_time_no_lift_is_called_verified() -> None:
    nobody = Enclaves("", (), simulated=True, problem="no evidence")
    assert lift_marks(lifted(), nobody) == ["stops.unchecked"] * 2


def test_every_scope_has_its_words() -> None:
    for scope in StopScope.values():
        found = record()
        found.stop.scope = scope
        named = shown(found, ENCLAVES).scope
        assert named in catalogue.messages("en")
        assert scope == StopScope.STOP_SCOPE_UNSPECIFIED or named in SCOPE_NAMES.values()
