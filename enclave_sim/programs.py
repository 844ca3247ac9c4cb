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
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment
from yingbi.api.v1.job_pb2 import SealedProgram
from yingbi.api.v1.plan_pb2 import Program

from enclave_sim.engine.programs import Block, RunBlocks
from enclave_sim.engine.protocol import Cancelled
from enclave_sim.identity import Configuration, Identity
from enclave_sim.plan.programs import MAX_PROGRAM_BYTES
from enclave_sim.sandbox import EndedError, Limits, Sandbox, SandboxUnavailableError, preload
from enclave_sim.sandbox.blocks import pack_tables
from enclave_sim.sandbox.in_use import IN_USE, InUse
from enclave_sim.sandbox.limits import OPTIONAL
from enclave_sim.sandbox.zygote_process import StartZygote, is_supported, start_zygote

NEEDED = ("pandas", "pyarrow")
"""What hands a block to a program."""

MEMORY_BYTES = 1 << 30
"""That the run of one block may use."""

OpenSandbox: TypeAlias = Callable[[Program, bytes], AbstractContextManager[RunBlocks]]
"""A place to run a program in, given with its code; raises Problem "sandbox_unavailable" where there is none."""


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


class Sandboxes:
    """The sandboxes of this machine: where programs are run, one after another.

    The last one stays for the next program, if that has the same limits: to start one takes a second and more. Its
    first process reads neither programs nor rows, and every block's process is new; so nothing of a program is left for
    the next, as nothing of a block is.
    """

    def __init__(
        self, start: StartZygote, configuration: Configuration, *, keep: bool = True, in_use: InUse = IN_USE
    ) -> None:
        """`start` starts them; what isolates them goes into the `configuration`."""
        self._start = start
        self._in_use = in_use
        self._configuration = configuration
        self._keep = keep
        self._kept: Sandbox | None = None

    @contextmanager
    def open(self, program: Program, code: bytes) -> Iterator[RunBlocks]:
        """One that has just proven what it is.

        Raises Problem "sandbox_unavailable" where the machine does not give its profile.
        """
        limits = Limits(seconds=program.block_millis / 1000, memory_bytes=MEMORY_BYTES, packages=packages_named(code))
        try:
            sandbox = self._ready(limits)
        except SandboxUnavailableError as error:
            raise unavailable(str(error)) from error
        self._configuration.add(SANDBOX + sandbox.profile.digest)

        def run(code: bytes, blocks: Iterable[Block], width: int) -> Iterator[Sequence[float] | None]:
            try:
                yield from sandbox.run(code, (pack_tables(dict(block)) for block in blocks), width)
            except EndedError as error:
                # Of a job that was stopped: no default stands for what it did not say.
                raise Cancelled from error

        try:
            with self._in_use.while_open(sandbox):
                yield run
        finally:
            if not self._keep:
                self._end()

    def _ready(self, limits: Limits) -> Sandbox:
        if self._kept is None or not _still_serves(self._kept, limits):
            self._end()
            self._kept = Sandbox(limits, self._start)
        return self._kept

    def _end(self) -> None:
        kept, self._kept = self._kept, None
        if kept:
            kept.close()


def _still_serves(kept: Sandbox, limits: Limits) -> bool:
    """Whether it has these limits, and proves itself once more. A new one may do so where it, being lost, cannot."""
    if kept.limits != limits or kept.ended:
        return False
    try:
        kept.prove()
    except SandboxUnavailableError:
        return False
    return True


def packages_named(code: bytes) -> tuple[str, ...]:
    """Which optional packages a program can use: those that its text names. It depends on nothing but the program."""
    if b"sklearn" in code or b"joblib" in code:  # which comes with it
        return OPTIONAL
    return tuple(package for package in OPTIONAL if package.encode() in code)


open_sandbox = Sandboxes(start_zygote, Configuration(), keep=False).open
"""Sandboxes that this very process starts: of an enclave that is not confined, in tests."""


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
