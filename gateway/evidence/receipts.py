"""A job's receipt, from what each enclave signed. Pure."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import SignedKeyEpoch
from yingbi.api.v1.node_pb2 import TaskResult
from yingbi.api.v1.receipt_pb2 import Decryption, EnclaveSignature, Receipt


class Bodies:
    """The receipt bodies that enclaves signed, which have to be one: no more than one is kept."""

    def __init__(self) -> None:
        self._body = bytearray()
        # How much of the body each node has said.
        self._said: dict[str, int] = {}
        self._taking = threading.Lock()

    def take(self, node: str, result: TaskResult) -> None:
        """Move a part of the body out of a node's result. Parts may come again.

        Raises:
            Problem: FAILED "receipts_differ" for a part that is not what other nodes said, or that does not follow.
        """
        signature = result.receipt_signature
        first, part = signature.part.first, signature.receipt_body
        with self._taking:
            said = self._said.get(node, 0)
            self._body += part[max(0, len(self._body) - first) :] if first <= len(self._body) else b""
            if first > said or self._body[first : first + len(part)] != part:
                raise _differ()
            self._said[node] = max(said, first + len(part))
        signature.ClearField("receipt_body")

    def one(self) -> bytes:
        """The body of all; raises Problem where an enclave said only its beginning."""
        if any(said != len(self._body) for said in self._said.values()):
            raise _differ()
        return bytes(self._body)


def _differ() -> Problem:
    return Problem(Kind.FAILED, "receipts_differ", "The enclaves signed different receipts for one job.")


def assemble(
    body: bytes, signatures: Sequence[EnclaveSignature], key_epoch: SignedKeyEpoch, decryption: Decryption
) -> Receipt:
    """One receipt with every enclave's signature."""
    return Receipt(body=body, signatures=signatures, key_epoch=key_epoch, decryption=decryption)
