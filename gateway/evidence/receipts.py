"""A job's receipt, from what each enclave signed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import SignedKeyEpoch
from yingbi.api.v1.node_pb2 import ReceiptSignature
from yingbi.api.v1.receipt_pb2 import Decryption, Receipt


def assemble(signatures: Sequence[ReceiptSignature], key_epoch: SignedKeyEpoch, decryption: Decryption) -> Receipt:
    """One receipt with every enclave's signature; raises Problem where they signed different bodies."""
    bodies = {one.receipt_body for one in signatures}
    if len(bodies) != 1:
        raise Problem(Kind.FAILED, "receipts_differ", "The enclaves signed different receipts for one job.")
    return Receipt(
        body=bodies.pop(),
        signatures=[one.signature for one in signatures],
        key_epoch=key_epoch,
        decryption=decryption,
    )
