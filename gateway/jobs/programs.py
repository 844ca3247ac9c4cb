"""What comes with a request to run a program: the program itself, sealed to every node's enclave. Pure."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.job_pb2 import SubmitQueryRequest

from enclave_sim.plan.programs import MAX_PROGRAM_BYTES

SEAL_BYTES = 1024
"""Above what sealing adds to a program."""


def check_sealed(request: SubmitQueryRequest, epoch: KeyEpoch) -> None:
    """Refuse (MALFORMED "program") a program that is not sealed to each holder of the key, once, or is too long."""
    expected = [holder.node for holder in epoch.holders] if request.query.HasField("program") else []
    given = [each.node for each in request.programs]
    if sorted(given) != sorted(expected):
        raise _bad(f"A program is sealed to each of {', '.join(expected) or 'no nodes'}, not to {given}.")
    if any(len(each.ciphertext) > MAX_PROGRAM_BYTES + SEAL_BYTES for each in request.programs):
        raise _bad(f"A program has at most {MAX_PROGRAM_BYTES:,} bytes.")


def _bad(message: str) -> Problem:
    return Problem(Kind.MALFORMED, "program", message, field="program")
