"""What an enclave has of its platform: sealing, counting, and evidence for whoever asks."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import digests
from yingbi.api.evidence import read_claims, verify_evidence, verify_key_epoch
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.node_pb2 import AttestTask, Task, TaskResult

from enclave_sim.attestation import simulated
from enclave_sim.attestation.backend import Backend, SealError
from enclave_sim.attestation.measurement import measure, measured
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave_process import Worker
from enclave_sim.show_measurement import main as show_measurement
from tests.attacks.three_enclaves import Trio


@pytest.fixture
def backend(tmp_path: Path) -> SimulatedBackend:
    return SimulatedBackend("node-1", bytes(32), Ed25519PrivateKey.generate(), (b"", b""), tmp_path)


def test_what_was_sealed_comes_back_on_the_same_platform_for_the_same_purpose(backend: SimulatedBackend) -> None:
    platform: Backend = backend
    sealed = platform.seal(b"secret", "journal")
    assert platform.unseal(sealed, "journal") == b"secret"
    assert b"secret" not in sealed
    # A nonce is drawn for each sealing: one thing twice looks like two.
    assert platform.seal(b"secret", "journal") != sealed


def test_nobody_else_unseals_it(backend: SimulatedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another platform, another purpose, a changed byte, and other code on the same platform."""
    sealed = backend.seal(b"secret", "journal")
    for platform, data, purpose in (
        (replace(backend, secret=b"\1" * 32), sealed, "journal"),
        (backend, sealed, "shards"),
        (backend, sealed[:-1] + bytes([sealed[-1] ^ 1]), "journal"),
        (backend, b"", "journal"),
    ):
        with pytest.raises(SealError):
            platform.unseal(data, purpose)
    monkeypatch.setattr(simulated, "measure", lambda: bytes(32))
    with pytest.raises(SealError):
        backend.unseal(sealed, "journal")


def test_a_counter_never_says_one_value_twice(backend: SimulatedBackend) -> None:
    again = replace(backend)
    assert [backend.counter("epoch"), again.counter("epoch"), backend.counter("epoch")] == [1, 2, 3]
    assert backend.counter("other") == 1
    for name in ("", "../secret", "a/b", "A"):
        with pytest.raises(ValueError, match="no name of a counter"):
            backend.counter(name)


def test_the_measurement_is_the_digest_of_its_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The list names the interpreter, the libraries – what decodes tokens among them – and every source file."""
    show_measurement()
    *lines, value = capsys.readouterr().out.splitlines()
    assert (lines, value) == (measured(), measure().hex())
    assert any(line.startswith("cbor2 ") for line in lines)
    for name in ("enclave_sim/authority.py", "yingbi.api/eat.py", "yingbi.api/cose.py"):
        assert any(line.startswith(f"{name} ") for line in lines)


def test_evidence_names_the_policy_that_the_enclave_follows(trio: Trio) -> None:
    """A provider's host that lets other people in cannot do so unseen."""
    before = read_claims(trio.enclaves[0].identity.attest(bytes(32)))
    assert before.policy == trio.enclaves[0].policy.digest()
    trio.close()
    trio.set_policy(auto_approve=True)
    trio.load()
    after = verify_evidence(trio.enclaves[0].identity.attest(bytes(32)), trio.ca_pem)
    assert after.policy != before.policy
    assert (after.node, after.signing_key, after.measurement) == (before.node, before.signing_key, before.measurement)


def test_a_key_epoch_has_evidence_made_for_it_and_for_nothing_else(trio: Trio) -> None:
    signed = trio.enclaves[0].signed_epoch
    assert read_claims(signed.dealer).nonce == digests.digest(digests.KEY_EPOCH, signed.body)
    verify_key_epoch(signed, trio.ca_pem)


def attested(trio: Trio, nonce: bytes) -> TaskResult:
    answers: queue.Queue[TaskResult] = queue.Queue()
    worker = Worker(trio.enclaves[0], answers.put)
    try:
        worker.accept(Task(id="t1", attest=AttestTask(nonce=nonce)))
        # It is there when `accept` returns: it did not wait in the queue of computations.
        return answers.get_nowait()
    finally:
        worker._tasks.shutdown()


def test_an_enclave_answers_a_nonce_at_once(trio: Trio) -> None:
    result = attested(trio, bytes(range(40)))
    claims = verify_evidence(result.evidence, trio.ca_pem, made_for=bytes(range(40)))
    assert (result.id, claims.signing_key) == ("t1", trio.enclaves[0].identity.public_signing_key)


@pytest.mark.parametrize("length", [0, 7, 65])
def test_a_nonce_of_another_length_is_refused(trio: Trio, length: int) -> None:
    result = attested(trio, bytes(length))
    assert (result.failure.code, result.evidence) == ("nonce", Evidence())
