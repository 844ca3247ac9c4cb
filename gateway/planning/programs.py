"""From a developer's program to a plan: sample and aggregate over blocks of units."""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.range_tree import range_variance
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import (
    BlockMeanMeasure,
    BlockMedianMeasure,
    BlockOutput,
    BlockOutputs,
    BlockTree,
    Measure,
    Output,
    Plan,
    Program,
    ProgramTable,
    Statistic,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.programs import (
    HASH_BYTES,
    MAX_BLOCK_MILLIS,
    MAX_BLOCKS,
    MAX_PROGRAM_OUTPUTS,
    MAX_TOTAL_MILLIS,
    MIN_BLOCK_MILLIS,
    NO_CLIPPING,
    check_block_output,
)
from enclave_sim.plan.schema import find_column, find_table
from gateway.planning.query import Question, Setting, bought_rho_units, checked, sized
from gateway.planning.readable import UnknownColumn
from gateway.planning.statistics import set_prices
from gateway.planning.wording import number

DEFAULT_BLOCK_MILLIS = 500
UNITS_OF_A_BLOCK = 40
LEAST_BLOCKS, MOST_BLOCKS = 4, 200
"""At each provider, where the developer does not say how many."""


MEDIAN_TREE = BlockTree(branching=4, levels=4)
"""256 ranges. Noise moves the rank of a median by about as much as with other trees of as many; see `rank_error`."""

LOST = 7.4
"""With fewer blocks than so many of their `rank_error`, a median has no error: twice 1.96 deviations, where in
`MEDIAN_TREE` they are largest, are as many as there are blocks."""


def plan_program(
    asked: ProgramQuery,
    declaration: DatasetDeclaration,
    *,
    dataset_version: bytes,
    parties: int,
    epsilon: float,
    delta: float,
) -> Question:
    """The plan that runs a program within (ε, δ); the arguments as for `query.plan_question`.

    Raises:
        Problem: a parameter cannot be read (MALFORMED), names something that is not there (UNKNOWN), or asks for
            what cannot be asked (REFUSED).
    """
    setting = Setting(declaration, dataset_version, parties, epsilon, delta)
    rho_units = bought_rho_units(epsilon, delta)
    outputs = _outputs(asked.outputs)
    plan = setting.plan(
        Plan(
            program=_program(asked, declaration, parties),
            statistics=[Statistic(block_outputs=BlockOutputs(outputs=outputs))],
            clipping=NO_CLIPPING,
            outputs=[
                Output(name=output.name, measure=_measure(output, index)) for index, output in enumerate(asked.outputs)
            ],
        )
    )
    set_prices(plan, [rho_units])
    return Question(checked(sized(plan, setting), setting))


def default_blocks(declaration: DatasetDeclaration, parties: int) -> int:
    """Blocks at each provider: so many that a block has `UNITS_OF_A_BLOCK` where the dataset has max_units.

    More blocks make less noise, and have fewer units, on which a program's results are less exact.
    """
    return min(max(round(declaration.max_units / UNITS_OF_A_BLOCK / parties), LEAST_BLOCKS), MOST_BLOCKS)


def program_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told about a plan with a program: made of the plan and the declaration alone."""
    blocks, parties = plan.program.blocks, plan.noise.parties
    most = max(1, declaration.max_units // (blocks * parties))
    seconds = number(blocks * plan.program.block_millis / 1000)
    medians = {shown.name: shown.measure.HasField("block_median") for shown in plan.outputs}
    averaged = "median" if all(medians.values()) else "mean or median" if any(medians.values()) else "mean"
    notes = [
        f"The answer is the {averaged} of the program's outputs over {blocks * parties:,} blocks of units, {blocks:,} "
        f"at each provider, of about {most:,} units each where the dataset has max_units of them.",
        "± is the noise alone: what the program gives on small blocks may differ from what it would give on all units.",
        f"Running the blocks takes {seconds} s, whatever is in them.",
        "The program sees "
        + ", ".join(f"{each.table} ({', '.join(each.columns)})" for each in plan.program.tables)
        + ".",
    ]
    for shown, output in zip(plan.outputs, plan.statistics[0].block_outputs.outputs, strict=True):
        if medians[shown.name]:
            width = f"{(output.upper - output.lower) / MEDIAN_TREE.branching**MEDIAN_TREE.levels:.3g}"
            least = math.ceil(LOST * rank_error(plan) / parties)
            if blocks < least:
                notes.append(f"Noise hides {shown.name} in so few blocks: ask for {least:,} or more at each provider.")
            notes.append(
                f"{shown.name} is told in steps of {width}. Noise moves it past about {rank_error(plan):.3g} of "
                f"the {blocks * parties:,} blocks, put in order: the closer together these lie, the less that is."
            )
        notes.append(
            f"{shown.name} counts as the nearest bound of [{number(output.lower)}, {number(output.upper)}] beyond it, "
            f"and as {number(output.absent)} for a block without units or without a result."
        )
    if plan.noise.parties_per_unit > 1:
        notes.append(
            f"One {declaration.privacy_unit} may appear at {parties} providers, in a block of each; the noise allows "
            "for all of them."
        )
    return notes


def rank_error(plan: Plan) -> float:
    """The standard deviation, in blocks, of how many lie below the middle of a median's range.

    As the number of blocks is known, that is half of what the counts of both halves differ by; they are independent.
    """
    half = MEDIAN_TREE.branching**MEDIAN_TREE.levels // 2
    variance = range_variance(MEDIAN_TREE.branching, MEDIAN_TREE.levels, 0, half) / 2
    return math.sqrt(plan.noise.parties * variance) * plan.statistics[0].sigma / (1 << plan.fraction_bits)


def words_of(asked: ProgramQuery) -> str:
    """The program in one line, where a query would show its SQL."""
    outputs = ", ".join(
        f"{each.name}: {'median ' * each.median}float[{each.lower:.17g},{each.upper:.17g}]" for each in asked.outputs
    )
    return f"{words_begin(asked.sha256)}RETURNS {outputs}"


def words_begin(sha256: bytes | None = None) -> str:
    """How the words of a program begin, of this one or of any; no SELECT begins so."""
    return "PROGRAM " if sha256 is None else f"PROGRAM {sha256.hex()} "


def _outputs(asked: Sequence[ProgramOutput]) -> list[BlockOutput]:
    if not 1 <= len(asked) <= MAX_PROGRAM_OUTPUTS:
        raise _bad("output", f"A program has 1 to {MAX_PROGRAM_OUTPUTS} outputs, not {len(asked)}.")
    names = [each.name for each in asked]
    for name in names:
        if not name or names.count(name) > 1:
            raise _bad("output", f"Every output has a name of its own; got {name!r}.")
    return [_output(each) for each in asked]


def _measure(asked: ProgramOutput, index: int) -> Measure:
    if asked.median:
        return Measure(block_median=BlockMedianMeasure(output=index))
    return Measure(block_mean=BlockMeanMeasure(output=index))


def _output(asked: ProgramOutput) -> BlockOutput:
    middle = asked.lower + (asked.upper - asked.lower) / 2
    output = BlockOutput(
        lower=asked.lower, upper=asked.upper, absent=asked.absent if asked.HasField("absent") else middle
    )
    if asked.median:
        output.tree.CopyFrom(MEDIAN_TREE)
    try:
        check_block_output(output, asked.name)
    except PlanError as error:
        raise _bad("output", f"The output {error}.") from error
    return output


def _program(asked: ProgramQuery, declaration: DatasetDeclaration, parties: int) -> Program:
    if len(asked.sha256) != HASH_BYTES:
        raise _bad("program", f"A program is named by its SHA-256, which has {HASH_BYTES} bytes.", "send its hash")
    blocks = asked.blocks if asked.HasField("blocks") else default_blocks(declaration, parties)
    millis = asked.block_millis if asked.HasField("block_millis") else DEFAULT_BLOCK_MILLIS
    if not 1 <= blocks <= MAX_BLOCKS:
        raise _bad("blocks", f"There are 1 to {MAX_BLOCKS:,} blocks at each provider, not {blocks:,}.", "leave it out")
    if not MIN_BLOCK_MILLIS <= millis <= MAX_BLOCK_MILLIS:
        between = f"{MIN_BLOCK_MILLIS / 1000:g} to {MAX_BLOCK_MILLIS / 1000:g}"
        raise _bad("seconds", f"A block has {between} seconds, not {millis / 1000:g}.")
    if blocks * millis > MAX_TOTAL_MILLIS:
        hours = MAX_TOTAL_MILLIS / 3_600_000
        raise _bad("blocks", f"All blocks together would take longer than {hours:g} hours.", "ask for fewer blocks")
    return Program(sha256=asked.sha256, tables=_tables(asked.tables, declaration), blocks=blocks, block_millis=millis)


def _tables(asked: Sequence[ProgramTable], declaration: DatasetDeclaration) -> list[ProgramTable]:
    wanted = asked or [ProgramTable(table=table.name) for table in declaration.tables]
    if len({each.table.lower() for each in wanted}) < len(wanted):
        raise _bad("tables", "A table is named twice.", "name each once, with all columns that the program sees")
    return [_table(each, declaration) for each in wanted]


def _table(asked: ProgramTable, declaration: DatasetDeclaration) -> ProgramTable:
    table = find_table(declaration, asked.table)
    if table is None:
        raise _unknown("table", asked.table, [each.name for each in declaration.tables])
    columns: dict[str, None] = {}
    for name in asked.columns or [column.name for column in table.columns]:
        column = find_column(table, name)
        if column is None:
            raise _unknown("column", f"{table.name}.{name}", [f"{table.name}.{each.name}" for each in table.columns])
        columns[column.name] = None
    return ProgramTable(table=table.name, columns=columns)


def _unknown(what: str, name: str, known: list[str]) -> Problem:
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known[:20])}"
    said = f"There is no {what} {name!r}."
    if what == "table":
        return Problem(Kind.UNKNOWN, "unknown_table", said, field="tables", hint=hint)
    column = name.rpartition(".")[2]
    return UnknownColumn(Kind.UNKNOWN, "unknown_column", said, field="tables", hint=hint, column=column)


def _bad(field: str, message: str, hint: str | None = None) -> Problem:
    code = field if field == "program" else f"program_{field}"
    return Problem(Kind.MALFORMED, code, message, field=field, hint=hint)
