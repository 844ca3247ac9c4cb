"""Programs in an enclave: unsealed, checked against the plan's hash, and run on blocks in a sandbox."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import program_info
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Program

from enclave_sim.engine.programs import Block, RunBlocks
from enclave_sim.identity import Identity
from enclave_sim.plan.programs import MAX_PROGRAM_BYTES

MEMORY_BYTES = 1 << 30
"""That the run of one block may use."""

OpenSandbox: TypeAlias = Callable[[Program], AbstractContextManager[RunBlocks]]
"""A place to run a program in; raises Problem "sandbox_unavailable" where there is none."""


def unseal_program(identity: Identity, sealed: SealedProgram, program: Program, plan_hash: bytes) -> bytes:
    """The program that was sealed to this enclave for this plan, if it is the one that the plan names; raises Problem.

    Nothing of it was looked at by the gateway, which cannot open it, nor may it send another.
    """
    try:
        code = identity.unseal(sealed.ciphertext, program_info(plan_hash))
    except (InvalidTag, ValueError) as error:
        raise _refused("bad_program", "The program is not sealed to this enclave for this plan.") from error
    if len(code) > MAX_PROGRAM_BYTES:
        raise _refused("bad_program", f"The program has more than {MAX_PROGRAM_BYTES:,} bytes.")
    if hashlib.sha256(code).digest() != program.sha256:
        raise _refused("other_program", "The program is another one than the plan names.")
    return code


@contextmanager
def open_sandbox(program: Program) -> Iterator[RunBlocks]:
    """The sandbox of this machine; raises Problem "sandbox_unavailable" where it does not give its profile."""
    try:
        sandbox_module: Any = importlib.import_module("enclave_sim.sandbox")
        blocks_module: Any = importlib.import_module("enclave_sim.sandbox.blocks")
    except ModuleNotFoundError as error:
        raise unavailable("this version has no sandbox") from error
    limits = sandbox_module.Limits(seconds=program.block_millis / 1000, memory_bytes=MEMORY_BYTES)
    try:
        sandbox = sandbox_module.Sandbox(limits)
    except sandbox_module.SandboxUnavailableError as error:
        raise unavailable(getattr(error, "reason", str(error))) from error

    def run(code: bytes, blocks: Iterable[Block], width: int) -> Iterator[Sequence[float] | None]:
        packed = (blocks_module.pack_tables(dict(block)) for block in blocks)
        yield from sandbox.run(code, packed, width)

    try:
        yield run
    finally:
        sandbox.close()


def why_no_sandbox(open_: OpenSandbox) -> str | None:
    """Why programs cannot run here, found out by opening a sandbox; None where they can."""
    try:
        with open_(Program(blocks=1, block_millis=1000)):
            return None
    except Problem as problem:
        return problem.message


def unavailable(reason: str) -> Problem:
    """What a developer is told where programs cannot be run; nothing of it depends on data."""
    return Problem(
        Kind.REFUSED,
        "sandbox_unavailable",
        f"This provider's machine cannot run programs in isolation: {reason}.",
        hint="ask in SQL, which needs no sandbox, or ask the provider's operator",
    )


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
