"""Running one's own program on made-up rows, on one's own machine: everything about it may be seen."""

from __future__ import annotations

import math
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import BlockOutput, Plan
from yingbi.mock import MockTable, mock_tables

if TYPE_CHECKING:
    import pandas as pd

MOST_BLOCKS = 100
MOST_ROWS = 1_000
LEAST_ROWS = 10
LONGEST_SHOWN = 60
SHARE_OF_SLOT = 0.8
"""Of a block's time that its program has; the sandbox takes the rest to end it."""

Run = Callable[[Mapping[str, "pd.DataFrame"]], Sequence[float]]


@dataclass(frozen=True)
class Rehearsal:
    """What a program returned for blocks of made-up rows, and what follows for the answer's error."""

    names: tuple[str, ...]
    outcomes: tuple[tuple[float, ...], ...]
    """Of each block, clipped."""
    blocks: int
    """That the real answer is the mean of."""
    medians: tuple[bool, ...] = ()
    """Which outputs it is the median of; by default none."""
    defaults: int = 0
    """Blocks that count as the default, since something that the program returned was not finite."""
    slow: int = field(default=0, compare=False)
    """Blocks that took longer here than the program has in an enclave, and would count as the default there."""

    @property
    def sampling_errors(self) -> tuple[float, ...]:
        """For each output, how far a mean over so many blocks of such rows varies: one standard error.

        A median's is taken to be that of normal outcomes, √(π/2) times a mean's. It says nothing of the bias of small
        blocks, and real rows vary otherwise than made-up ones.
        """
        return tuple(
            statistics.stdev(values) * factor / math.sqrt(self.blocks) if len(values) > 1 else math.nan
            for values, factor in zip(
                zip(*self.outcomes, strict=True),
                (math.sqrt(math.pi / 2) if self._is_median(place) else 1.0 for place in range(len(self.names))),
                strict=True,
            )
        )

    @property
    def middles(self) -> tuple[float, ...]:
        """Of each output the mean over the blocks, or the median where that is asked for."""
        return tuple(
            statistics.median(values) if self._is_median(place) else statistics.fmean(values)
            for place, values in enumerate(zip(*self.outcomes, strict=True))
        )

    def _is_median(self, place: int) -> bool:
        return bool(self.medians) and self.medians[place]

    def to_json(self) -> dict[str, object]:
        return {
            "blocks": len(self.outcomes),
            "defaults": self.defaults,
            "slow": self.slow,
            "outputs": [
                {
                    "name": name,
                    "median" if self._is_median(place) else "mean": middle,
                    "sampling_error": error,
                }
                for place, (name, middle, error) in enumerate(
                    zip(self.names, self.middles, self.sampling_errors, strict=True)
                )
            ],
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        found = zip(self.names, self.middles, self.sampling_errors, strict=True)
        lines = [
            f"on made-up rows {name} is {middle:.4g} over {len(self.outcomes)} blocks; a "
            f"{'median' if self._is_median(place) else 'mean'} of {self.blocks} such blocks varies by {error:.2g}, "
            "beside the noise"
            for place, (name, middle, error) in enumerate(found)
        ]
        if self.defaults:
            lines.append(
                f"for {self.defaults} of these blocks the program returned NaN or infinity, so that they count as the "
                "default; where no values are declared, made-up rows have invented ones"
            )
        if self.slow:
            lines.append(
                f"{self.slow} of these blocks took longer here than the program has, and would count as the default: "
                "declare more --seconds"
            )
        return lines


def rehearse(
    code: bytes, plan: Plan, declaration: DatasetDeclaration, *, rows: int | None = None, seed: int | None = None
) -> Rehearsal:
    """Run `code` on made-up blocks of a plan; see `programs.Program.rehearse`."""
    run, outputs = _function(code), plan.statistics[0].block_outputs.outputs
    blocks = plan.program.blocks * plan.noise.parties
    units = declaration.max_units // max(1, blocks)
    size = rows or min(max(units, LEAST_ROWS), MOST_ROWS)
    most = plan.program.block_millis / 1000 * SHARE_OF_SLOT
    outcomes, defaults, slow = [], 0, 0
    for number in range(min(blocks, MOST_BLOCKS)):
        tables = mock_tables(declaration, size, None if seed is None else seed + number)
        frames, began = frames_of(tables, plan, declaration.privacy_unit), time.perf_counter()
        values = _returned(run, frames, len(outputs))
        slow += time.perf_counter() - began > most
        defaults += not all(map(math.isfinite, values))
        outcomes.append(_counted(values, outputs))
    names = tuple(output.name for output in plan.outputs)
    medians = tuple(output.HasField("tree") for output in outputs)
    return Rehearsal(names, tuple(outcomes), blocks, medians, defaults, slow)


def frames_of(tables: Sequence[MockTable], plan: Plan, unit: str) -> dict[str, pd.DataFrame]:
    """What a block's tables are for the program: the columns that the plan shows, and units numbered from 0."""
    import pandas as pd

    numbers: dict[object, int] = {}
    made = {table.name: table for table in tables}
    frames: dict[str, pd.DataFrame] = {}
    for shown in plan.program.tables:
        table = made[shown.table]
        cells = {name: [row[place] for row in table.rows] for place, name in enumerate(table.header)}
        cells[unit] = [numbers.setdefault(one, len(numbers)) for one in cells[unit]]
        frames[shown.table] = pd.DataFrame({name: cells[name] for name in shown.columns})
    return frames


def _function(code: bytes) -> Run:
    names: dict[str, Any] = {"__name__": "program"}
    try:
        exec(compile(code, "program.py", "exec"), names)  # noqa: S102 (the caller's own code, on their own machine)
    except (Exception, SystemExit) as error:
        raise _failed("does not load", error) from error
    run = names.get("run")
    if not callable(run):
        raise Problem(
            Kind.REFUSED,
            "program_failed",
            "The program defines no function run(tables).",
            field="program",
            hint="def run(tables): return [tables['labs']['value'].mean()]",
        )
    return run  # type: ignore[no-any-return]


def _returned(run: Run, frames: Mapping[str, pd.DataFrame], width: int) -> list[float]:
    try:
        returned: object = run(frames)
    except (Exception, SystemExit) as error:
        raise _failed("fails on made-up rows", error) from error
    try:
        values = [float(value) for value in returned]  # type: ignore[attr-defined]
    except Exception as error:
        raise _wrong_shape(f"returned {_brief(returned)}, which is no list of numbers", width) from error
    if len(values) != width:
        raise _wrong_shape(f"returned {len(values)} numbers; {width} outputs are declared", width)
    return values


def _counted(values: Sequence[float], outputs: Sequence[BlockOutput]) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)):
        return tuple(output.absent for output in outputs)
    return tuple(min(max(value, output.lower), output.upper) for value, output in zip(values, outputs, strict=True))


def _brief(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= LONGEST_SHOWN else type(value).__name__


def _wrong_shape(what: str, width: int) -> Problem:
    return Problem(
        Kind.REFUSED,
        "program_failed",
        f"The program {what}.",
        field="program",
        hint=f"return a list of {width}: one number for each output, in their order",
    )


def _failed(what: str, error: BaseException) -> Problem:
    """With the last line of the program itself, also where a library that it called failed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "program.py"]
    place = f"{lines[-1]}:1" if lines else None
    return Problem(
        Kind.REFUSED,
        "program_failed",
        f"The program {what}: {type(error).__name__}: {error}.",
        field="program",
        position=place,
        hint="where it fails on real rows, the block counts as the default, and nobody is told",
    )
