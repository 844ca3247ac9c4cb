"""Programs in an enclave: unsealed, checked against the plan's hash, and run on blocks in a sandbox."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import program_info
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Program

from enclave_sim.engine.programs import Block, RunBlocks
from enclave_sim.identity import Identity
from enclave_sim.plan.programs import MAX_PROGRAM_BYTES
from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError, preload
from enclave_sim.sandbox.blocks import pack_tables
from enclave_sim.sandbox.zygote_process import is_supported

NEEDED = ("pandas", "pyarrow")
"""What hands a block to a program."""

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
    except InvalidTag as error:
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
        sandbox = Sandbox(Limits(seconds=program.block_millis / 1000, memory_bytes=MEMORY_BYTES))
    except SandboxUnavailableError as error:
        raise unavailable(str(error)) from error

    def run(code: bytes, blocks: Iterable[Block], width: int) -> Iterator[Sequence[float] | None]:
        yield from sandbox.run(code, (pack_tables(dict(block)) for block in blocks), width)

    with sandbox:
        yield run


def why_no_sandbox() -> str | None:
    """Why programs cannot run here, as far as can be told at once; None where they may.

    What the sandbox proves of itself takes seconds, and is proven anew whenever one is opened.
    """
    if not is_supported():
        return unavailable("it needs Linux on x86-64").message
    missing = [name for name in NEEDED if find_spec(name) is None]
    return unavailable(f"{', '.join(missing)} is not installed").message if missing else None


def program_environment() -> ProgramEnvironment:
    """What programs can import here, as the measurement has it too; nothing is loaded for it."""
    return ProgramEnvironment(packages=preload.installed(), modules=preload.standard())


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
