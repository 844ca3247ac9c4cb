"""What an enclave signed of a stop or of its end, checked by whoever has its key: the gateway, and anybody offline."""

from __future__ import annotations

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.stop_pb2 import StopProof, StopProofBody


def verify_proof(proof: StopProof, node: str, digest: bytes, enclave_key: bytes) -> StopProofBody:
    """What a node's enclave, which has this key, signed of the stop or lift with this digest.

    Raises Problem BAD_EVIDENCE "stop_proof" where the signature is another's, or the proof is of something else or says
    that processes live on.
    """
    if not digests.is_signed(enclave_key, digests.STOP_PROOF, proof.body, proof.signature):
        raise Problem(Kind.BAD_EVIDENCE, "stop_proof", f"The proof of {node} is not signed by its enclave.")
    body = StopProofBody.FromString(proof.body)
    if (body.node, body.stop, body.processes_alive) != (node, digest, 0):
        raise Problem(Kind.BAD_EVIDENCE, "stop_proof", f"The proof of {node} is of something else.")
    return body
