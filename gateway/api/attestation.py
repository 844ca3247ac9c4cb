"""AttestationService: fresh evidence of the enclaves, for whoever asks with a nonce of their own."""

from __future__ import annotations

from yingbi.api.v1 import attestation_pb2 as messages
from yingbi.api.v1.attestation_pb2_grpc import AttestationServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.jobs.attesting import fresh_evidence
from gateway.jobs.nodes import Nodes


class AttestationService(AttestationServiceServicer):
    """Passes nonces on to enclaves, and their evidence back, which only the caller need verify."""

    def __init__(self, nodes: Nodes, authentication: Authentication) -> None:
        self._nodes = nodes
        self._authentication = authentication

    @answers
    async def GetEvidence(self, request: messages.GetEvidenceRequest, context: Context) -> messages.GetEvidenceResponse:
        self._authentication.caller(context)
        evidence = await fresh_evidence(self._nodes, request.node, request.nonce)
        return messages.GetEvidenceResponse(evidence=evidence, key_epoch=self._nodes.signed_epoch)
