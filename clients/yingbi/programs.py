"""A program of one's own, run on blocks of units: sample and aggregate.

The code goes to each provider's enclave encrypted, after its evidence was verified; the gateway has its hash alone.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yingbi.api.eat import Claims
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import seal_program
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, ProgramEnvironment
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery, SealedProgram
from yingbi.api.v1.job_pb2 import Query as QueryMessage
from yingbi.api.v1.plan_pb2 import Plan, ProgramTable
from yingbi.attest import attest_for_sealing, not_sealable
from yingbi.imports import check_imports
from yingbi.jobs import Job
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.rehearsal import Rehearsal, rehearse
from yingbi.transport import Gateway

MAX_PROGRAM_BYTES = 2**18

Outputs = str | Iterable[str] | Mapping[str, tuple[float, float]]
"""As "mean_age: float[18,100]", "mean_age: float[18,100] = 50" or "age: median float[18,100]", or bounds by name."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_OUTPUT = re.compile(
    rf"\s*(\w[\w ]*?)\s*:\s*(median\s+)?float\s*\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]\s*(?:=\s*({_NUMBER})\s*)?"
)


@dataclass(frozen=True)
class Program(Query):
    """A program to run on one dataset, not asked yet. `sql` is empty."""

    code: bytes = field(default=b"", repr=False)
    outputs: tuple[ProgramOutput, ...] = field(default=(), hash=False)
    tables: tuple[ProgramTable, ...] = field(default=(), hash=False)
    """What it sees; empty: everything."""
    blocks: int | None = None
    """At each provider; None: chosen by the gateway from the dataset's max_units."""
    seconds: float | None = None
    """For each block; None: half a second."""
    publish_source: bool = False
    """Show the code to the zone's operators, who may have to approve it, and to its gateway; else nobody reads it."""
    declaration: DatasetDeclaration | None = field(default=None, repr=False, compare=False)

    environment: ProgramEnvironment | None = field(default=None, repr=False, compare=False)
    """What it can import, as far as is known."""

    @property
    def sha256(self) -> bytes:
        """What the plan names the program by."""
        return hashlib.sha256(self.code).digest()

    def rehearse(self, preview: Preview, *, rows: int | None = None, seed: int | None = None) -> Rehearsal:
        """Run the program here, in this process, on made-up rows: as many blocks as the plan has, or 100.

        Only for code that you trust on your own machine. Nothing is asked of the zone.

        Args:
            rows: of each table of a block; by default as many as a block may have units.

        Raises:
            Problem: REFUSED "program_failed", with what the program said.
        """
        assert self.declaration is not None
        return rehearse(self.code, preview.plan, self.declaration, rows=rows, seed=seed)

    def _message(self, epsilon: float, delta: float | None) -> QueryMessage:
        message = super()._message(epsilon, delta)
        asked = ProgramQuery(sha256=self.sha256, outputs=self.outputs, tables=self.tables, blocks=self.blocks)
        if self.seconds is not None:
            asked.block_millis = round(self.seconds * 1000)
        message.program.CopyFrom(asked)
        return message

    def _preview(self, question: QueryMessage, first: Job | None = None) -> Preview:
        if self.environment is not None:
            check_imports(self.code, self.environment)
        preview = super()._preview(question, first)
        _check_program(preview.plan, question.program)
        return preview

    def _programs(self, preview: Preview) -> Sequence[SealedProgram]:
        """Sealed to the enclaves that hold the key, which are asked for evidence first."""
        return sealed_for(preview, self.gateway, self.code)

    def _source(self) -> bytes:
        return self.code if self.publish_source else b""


def read_program(program: str | Path | bytes) -> bytes:
    """The code of a program, from its file unless it is given; MALFORMED "file" or "program"."""
    if isinstance(program, bytes):
        code = program
    else:
        try:
            code = Path(program).read_bytes()
        except OSError as error:
            raise Problem(
                Kind.MALFORMED, "file", f"Cannot read {str(program)!r}: {error.strerror}.", field="program"
            ) from error
    if len(code) > MAX_PROGRAM_BYTES:
        raise _bad("program", f"A program has at most {MAX_PROGRAM_BYTES:,} bytes, not {len(code):,}.")
    try:
        compile(code, "program.py", "exec")
    except (SyntaxError, ValueError) as error:
        at, said = (f"{error.lineno}:{error.offset}", error.msg) if isinstance(error, SyntaxError) else (None, error)
        raise Problem(
            Kind.MALFORMED,
            "program",
            f"The program is no Python: {said}.",
            field="program",
            position=at,
            hint="define run(tables), which returns one number for each output",
        ) from error
    return code


def read_outputs(outputs: Outputs) -> tuple[ProgramOutput, ...]:
    """The declared outputs; MALFORMED "program_output"."""
    if isinstance(outputs, str):
        return (_output(outputs),)
    if isinstance(outputs, Mapping):
        return tuple(_bounded(name, bounds) for name, bounds in outputs.items())
    return tuple(_output(text) for text in outputs)


def read_tables(tables: Iterable[str] | Mapping[str, Sequence[str]] | None) -> tuple[ProgramTable, ...]:
    """What a program sees: tables by name, or columns by table."""
    if tables is None:
        return ()
    if isinstance(tables, Mapping):
        return tuple(ProgramTable(table=name, columns=columns) for name, columns in tables.items())
    return tuple(ProgramTable(table=name) for name in ([tables] if isinstance(tables, str) else tables))


def sealed_for(preview: Preview, gateway: Gateway, code: bytes) -> list[SealedProgram]:
    """A program, or a model file, for each of the enclaves that the plan is for: asked for fresh evidence first."""
    enclaves = attest_for_sealing(gateway, gateway.profile.trust)
    if len(enclaves) != preview.plan.noise.parties:
        raise not_what_was_asked(f"is for {preview.plan.noise.parties} providers; {len(enclaves)} hold the key")
    return sealed_programs(code, enclaves, preview.plan_hash)


def sealed_programs(code: bytes, enclaves: Iterable[Claims], plan_hash: bytes) -> list[SealedProgram]:
    """The program for each of these enclaves; BAD_EVIDENCE where nothing can be sealed to the key of one."""
    try:
        return [seal_program(code, each, plan_hash) for each in enclaves]
    except ValueError as error:
        raise not_sealable(error) from error


def _check_program(plan: Plan, asked: ProgramQuery) -> None:
    """The plan runs this program and no other, on what was asked for, and reads the answer off its outputs."""
    if plan.program.sha256 != asked.sha256:
        raise not_what_was_asked("runs another program")
    if len(plan.statistics) != 1 or len(plan.statistics[0].block_outputs.outputs) != len(asked.outputs):
        raise not_what_was_asked("has other outputs")
    shape = plan.program
    if (asked.HasField("blocks") and asked.blocks != shape.blocks) or (
        asked.HasField("block_millis") and asked.block_millis != shape.block_millis
    ):
        raise not_what_was_asked("has other blocks")
    if asked.tables and [each.table.lower() for each in asked.tables] != [each.table.lower() for each in shape.tables]:
        raise not_what_was_asked("shows other tables")
    pairs = zip(asked.outputs, plan.outputs, plan.statistics[0].block_outputs.outputs, strict=False)
    for index, (wanted, shown, output) in enumerate(pairs):
        same = (wanted.name, wanted.lower, wanted.upper) == (shown.name, output.lower, output.upper)
        default = not wanted.HasField("absent") or wanted.absent == output.absent
        read = shown.measure.block_median if wanted.median else shown.measure.block_mean
        kind = "block_median" if wanted.median else "block_mean"
        reads = shown.measure.WhichOneof("kind") == kind and (read.block_outputs, read.output) == (0, index)
        if not (same and default and reads) or len(plan.outputs) != len(asked.outputs):
            raise not_what_was_asked(f"has another output than {wanted.name!r}")


def _output(text: str) -> ProgramOutput:
    found = _OUTPUT.fullmatch(text)
    if found is None:
        raise _bad(
            "output",
            f"{text!r} is no output.",
            'write it as "mean_age: float[18,100]", or "age: median float[18,100]" for the median over blocks, or with '
            'what stands for an empty block: "... = 50"',
        )
    name, median, lower, upper, absent = found.groups()
    output = ProgramOutput(name=name, lower=float(lower), upper=float(upper), median=median is not None)
    if absent is not None:
        output.absent = float(absent)
    return _checked(output)


def _bounded(name: str, bounds: tuple[float, float]) -> ProgramOutput:
    try:
        lower, upper = bounds
        return _checked(ProgramOutput(name=name, lower=lower, upper=upper))
    except (TypeError, ValueError) as error:
        raise _bad(
            "output", f"{bounds!r} are no bounds of {name!r}.", f'write them as {{"{name}": (lower, upper)}}'
        ) from error


def _checked(output: ProgramOutput) -> ProgramOutput:
    finite = math.isfinite(output.lower) and math.isfinite(output.upper)
    if not (finite and output.lower < output.upper):
        raise _bad("output", f"The bounds of {output.name!r} must ascend: [{output.lower:g}, {output.upper:g}].")
    if output.HasField("absent") and not output.lower <= output.absent <= output.upper:
        raise _bad("output", f"What stands for an empty block of {output.name!r} must be within its bounds.")
    return output


def _bad(field: str, message: str, hint: str | None = None) -> Problem:
    code = field if field == "program" else f"program_{field}"
    return Problem(Kind.MALFORMED, code, message, field=field, hint=hint)
