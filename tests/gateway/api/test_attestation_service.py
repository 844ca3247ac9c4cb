"""A gateway passes nonces on to enclaves and their evidence back; who does not answer is named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import (
    Evidence,
    GetEvidenceRequest,
    GetEvidenceResponse,
    KeyEpoch,
    KeyHolder,
    SignedKeyEpoch,
)
from yingbi.api.v1.node_pb2 import Hello, NextTaskRequest, TaskResult

from gateway.api.attestation import AttestationService
from gateway.jobs import attesting
from gateway.jobs.nodes import Nodes

NAMES = ("node-1", "node-2")
EPOCH = KeyEpoch(epoch=1, holders=[KeyHolder(node=name, index=i) for i, name in enumerate(NAMES, 1)])
SIGNED = SignedKeyEpoch(body=EPOCH.SerializeToString())
NONCE = bytes(range(32))


class Anybody:
    """Takes every caller."""

    def caller(self, context: Any) -> None:
        """See Authentication."""


async def node(nodes: Nodes, name: str) -> None:
    """A node whose enclave's evidence says which nonce it was asked with."""
    request = NextTaskRequest(run="run", hello=Hello(node=name))
    while True:
        task = await nodes.next_task(name, request, 5)
        if task.id:
            request.received = task.sequence
            shown = Evidence(token=name.encode() + task.attest.nonce)
            await nodes.complete(name, TaskResult(id=task.id, evidence=shown))


async def silent(nodes: Nodes, name: str) -> None:
    """A node that is connected and answers nothing."""
    request = NextTaskRequest(run="run", hello=Hello(node=name))
    while True:
        request.received = (await nodes.next_task(name, request, 5)).sequence


async def _ask(request: GetEvidenceRequest, present: Sequence[str], behaviour: Any) -> GetEvidenceResponse:
    nodes = Nodes(lambda _: EPOCH)
    nodes.expect(SIGNED, EPOCH)
    running = [asyncio.create_task(behaviour(nodes, name)) for name in present]
    await asyncio.sleep(0)
    service = AttestationService(nodes, Anybody())  # type: ignore[arg-type]
    # Below the decorator that turns problems into statuses.
    method: Any = service.GetEvidence.__wrapped__  # type: ignore[attr-defined]
    try:
        response: GetEvidenceResponse = await method(service, request, None)
    finally:
        for task in running:
            task.cancel()
    return response


def ask(node_name: str, nonce: bytes, present: Sequence[str] = NAMES, behaviour: Any = node) -> list[bytes]:
    # A node that starts gets its epoch from its hello, which has none here.
    response = asyncio.run(_ask(GetEvidenceRequest(node=node_name, nonce=nonce), present, behaviour))
    return [evidence.token for evidence in response.evidence]


def refusal(*arguments: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        ask(*arguments, **options)
    return refused.value


def test_each_enclave_is_asked_with_the_callers_nonce() -> None:
    assert ask("", NONCE) == [b"node-1" + NONCE, b"node-2" + NONCE]
    assert ask("node-2", NONCE) == [b"node-2" + NONCE]


def test_one_node_answers_while_another_is_away() -> None:
    assert ask("node-1", NONCE, present=("node-1",)) == [b"node-1" + NONCE]
    refused = refusal("", NONCE, present=("node-1",))
    assert (refused.code, refused.kind) == ("node_unavailable", Kind.UNAVAILABLE)
    assert "node-2" in refused.message


def test_an_enclave_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attesting, "ANSWER_SECONDS", 0.1)
    assert refusal("", NONCE, behaviour=silent).code == "node_unavailable"


@pytest.mark.parametrize("length", [0, 7, 65])
def test_a_nonce_of_another_length_is_refused_before_anybody_is_asked(length: int) -> None:
    assert (refused := refusal("", bytes(length), present=())).field == "nonce"
    assert refused.kind is Kind.MALFORMED


def test_an_unknown_node_is_told_with_the_known_ones() -> None:
    refused = refusal("node-3", NONCE)
    assert refused.code == "unknown_node"
    assert "node-1, node-2" in refused.message
