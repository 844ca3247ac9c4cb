"""Programs in an enclave: unsealed, checked against the plan's hash, and run on blocks in a sandbox."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from yingbi.api.configuration import SANDBOX
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import program_info
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Program

from enclave_sim.engine.programs import Block, RunBlocks
from enclave_sim.identity import Configuration, Identity
from enclave_sim.plan.programs import MAX_PROGRAM_BYTES
from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError
from enclave_sim.sandbox.blocks import pack_tables
from enclave_sim.sandbox.zygote_process import StartZygote, is_supported, start_zygote

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
    except (InvalidTag, ValueError) as error:
        raise _refused("bad_program", "The program is not sealed to this enclave for this plan.") from error
    if len(code) > MAX_PROGRAM_BYTES:
        raise _refused("bad_program", f"The program has more than {MAX_PROGRAM_BYTES:,} bytes.")
    if hashlib.sha256(code).digest() != program.sha256:
        raise _refused("other_program", "The program is another one than the plan names.")
    return code


def sandboxes(start: StartZygote, configuration: Configuration) -> OpenSandbox:
    """The sandboxes of this machine, which `start` starts; what isolates them goes into the `configuration`.

    Opening one raises Problem "sandbox_unavailable" where the machine does not give its profile.
    """

    @contextmanager
    def open_one(program: Program) -> Iterator[RunBlocks]:
        try:
            sandbox = Sandbox(Limits(seconds=program.block_millis / 1000, memory_bytes=MEMORY_BYTES), start)
        except SandboxUnavailableError as error:
            raise unavailable(str(error)) from error
        configuration.add(SANDBOX + sandbox.profile.digest)

        def run(code: bytes, blocks: Iterable[Block], width: int) -> Iterator[Sequence[float] | None]:
            yield from sandbox.run(code, (pack_tables(dict(block)) for block in blocks), width)

        with sandbox:
            yield run

    return open_one


open_sandbox = sandboxes(start_zygote, Configuration())
"""Sandboxes that this very process starts: of an enclave that is not confined, in tests."""


def why_no_sandbox() -> str | None:
    """Why programs cannot run here, as far as can be told at once; None where they may.

    What the sandbox proves of itself takes seconds, and is proven anew whenever one is opened.
    """
    if not is_supported():
        return unavailable("it needs Linux on x86-64").message
    missing = [name for name in NEEDED if find_spec(name) is None]
    return unavailable(f"{', '.join(missing)} is not installed").message if missing else None


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
