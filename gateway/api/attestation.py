"""AttestationService: fresh evidence of the enclaves, for whoever asks with a nonce of their own."""

from __future__ import annotations

import asyncio

from yingbi.api.eat import MAX_NONCE, MIN_NONCE
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1 import attestation_pb2 as messages
from yingbi.api.v1.attestation_pb2_grpc import AttestationServiceServicer
from yingbi.api.v1.node_pb2 import AttestTask, Task

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.jobs.nodes import Nodes, first_failure

ANSWER_SECONDS = 20.0


class AttestationService(AttestationServiceServicer):
    """Passes nonces on to enclaves, and their evidence back, which only the caller need verify."""

    def __init__(self, nodes: Nodes, authentication: Authentication) -> None:
        self._nodes = nodes
        self._authentication = authentication

    @answers
    async def GetEvidence(self, request: messages.GetEvidenceRequest, context: Context) -> messages.GetEvidenceResponse:
        self._authentication.caller(context)
        if not MIN_NONCE <= len(request.nonce) <= MAX_NONCE:
            said = f"A nonce has {MIN_NONCE} to {MAX_NONCE} bytes, and this has {len(request.nonce)}."
            raise Problem(Kind.MALFORMED, "nonce", said, field="nonce")
        names = self._asked(request.node)

        def messages_of_task() -> list[Task]:
            return [Task(attest=AttestTask(nonce=request.nonce))]

        asking = first_failure(self._nodes.ask(name, messages_of_task) for name in names)
        try:
            results = await asyncio.wait_for(asking, ANSWER_SECONDS)
        except TimeoutError as error:
            said = f"Not every enclave answered within {ANSWER_SECONDS:.0f} seconds: {', '.join(names)} were asked."
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint="ask again") from error
        return messages.GetEvidenceResponse(
            evidence=[result.evidence for result in results], key_epoch=self._nodes.signed_epoch
        )

    def _asked(self, node: str) -> list[str]:
        """The one node, or all of the key epoch; raises Problem unless they are connected."""
        states = self._nodes.states()
        if node and node not in states:
            near = nearest(node, list(states))
            raise Problem(
                Kind.UNKNOWN,
                "unknown_node",
                f"The zone has no node {node!r}; it has {', '.join(states)}.",
                field="node",
                hint=f"did you mean {near}?" if near else None,
            )
        names = [node] if node else list(states)
        if missing := [name for name in names if not states[name]]:
            said = f"Not connected: {', '.join(missing)}. An enclave that does not run shows nothing."
            hint = "`yingbi status DIR` shows what runs; `yingbi down DIR` and `yingbi up DIR` start it again"
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint=hint)
        return names
