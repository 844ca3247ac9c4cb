"""What comes with a request to run a program, sealed to every node's enclave, and what it finds there. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from yingbi.api.models.check import MAX_MODEL_BYTES
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import SUITES
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment
from yingbi.api.v1.job_pb2 import Query, SubmitQueryRequest

from enclave_sim.plan.programs import MAX_PROGRAM_BYTES

SEAL_BYTES = max(suite.overhead for suite in SUITES.values())
"""What sealing adds to a program, at most."""


def needs_sandbox(query: Query) -> bool:
    """Whether a request comes with something that enclaves run: a program, or a model to evaluate."""
    return query.HasField("program") or query.HasField("evaluate")


def check_sealed(request: SubmitQueryRequest, epoch: KeyEpoch) -> None:
    """Refuse (MALFORMED "program") what is not sealed to each holder of the key, once, or is too long.

    That is a program, or a model to evaluate. Also a program whose source, where it is shown, is another's: an operator
    would approve what does not run.
    """
    what, most = ("model", MAX_MODEL_BYTES) if request.query.HasField("evaluate") else ("program", MAX_PROGRAM_BYTES)
    expected = [holder.node for holder in epoch.holders] if needs_sandbox(request.query) else []
    given = [each.node for each in request.programs]
    if sorted(given) != sorted(expected):
        raise _bad(f"A {what} is sealed to each of {', '.join(expected) or 'no nodes'}, not to {given}.")
    if any(len(each.ciphertext) > most + SEAL_BYTES for each in request.programs):
        raise _bad(f"A {what} has at most {most:,} bytes.")
    if request.source and hashlib.sha256(request.source).digest() != request.query.program.sha256:
        raise _bad("The source that is shown is not that of the program that is asked for.")


def common_environment(environments: Sequence[ProgramEnvironment]) -> ProgramEnvironment:
    """What all of them have; of packages the versions of each."""
    versions = [dict(each.split(" ", 1) for each in environment.packages) for environment in environments]
    names = [name for name in versions[0] if all(name in each for each in versions)]
    modules = set.intersection(*(set(each.modules) for each in environments))
    return ProgramEnvironment(
        packages=[f"{name} {' or '.join(sorted({each[name] for each in versions}))}" for name in names],
        modules=sorted(modules),
    )


def _bad(message: str) -> Problem:
    return Problem(Kind.MALFORMED, "program", message, field="program")
