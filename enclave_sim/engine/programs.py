"""Sample and aggregate: a provider's units in blocks, a program run on each, its clipped outputs added up.

After Nissim, Raskhodnikova and Smith (Smooth sensitivity and sampling, 2007) and GUPT (Mohan et al., 2012).

*Claim.* Let D and D' differ by all rows of one unit u, at this provider. Whatever the program does, the sums of
`block_sums` over D and D' can be drawn together so that each has the distribution it has by itself, and they differ by
what one block adds; `plan.sensitivity` needs nothing else, and says how far that is.

*Proof.* Every unit v has a draw r_v: under a key that is fresh for this sum, AES-256 of the code that v has at rest. As
codes are different, the draws are independent and uniform, as far as AES under a secret key is a random function (up
to n²·2^-129 over n units). Its first half says v's block, its second half v's place within the block. The codes decide
nothing else, so it does not matter that a shard that is sealed with u gives others other codes than one without: give
all others in D' the draws that they have in D. Then everybody but u is in the same block, and in the same order. A
block shows, in this order, the rows of its own units, numbered within the block, in arrays made anew from those rows
alone (`_array`: no dictionary of the whole table, no buffer that is shared). So all blocks but u's are equal byte for
byte. The order of blocks is drawn from the key and the block's number. What a block adds is made of what `RunBlocks`
returns for it, a function of the program, that block and coins of its own; so it is the same for all other blocks, and
u's block adds before and after what `grid_steps` may give for any outcome, also where it had no units and added the
default. ∎

The order of a unit's own rows was drawn when they were sealed, independently for different units.

*What is taken for granted of `RunBlocks`:* that nothing passes from one run to another (no state, no shared clock or
load), that it gives one outcome for each block, in order, and never fails for what a program does. That is the
sandbox's matter and is tested there. `block_sums` gives it every block, those without units too, so that how often the
program runs, and for how long, is public.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import BlockOutput, BlockTree, Plan

from enclave_sim.engine.protocol import Cancelled, OpenTable, never
from enclave_sim.plan.sensitivity import output_width
from enclave_sim.privacy.clipping import Integers
from enclave_sim.sealed.schema import UNIT_COLUMN

KEY_BYTES = 32
Block: TypeAlias = Mapping[str, pa.Table]
"""What one run of a program sees: its tables by name, as the plan lists them and their columns."""

_UNITS, _BLOCKS = 0, 1
"""What is drawn for: the first half of a number that is encrypted."""


class RunBlocks(Protocol):
    """Runs a program once on each block, in order, each run knowing nothing of the others."""

    def __call__(self, program: bytes, blocks: Iterable[Block], width: int, /) -> Iterator[Sequence[float] | None]:
        """One outcome for each block: `width` numbers, or None where the program did not return as many."""
        ...


def block_sums(
    plan: Plan,
    declaration: DatasetDeclaration,
    open_table: OpenTable,
    program: bytes,
    run: RunBlocks,
    *,
    key: bytes | None = None,
    cancelled: Callable[[], bool] = never,
) -> list[int]:
    """The cells of a plan with a program at one provider, in grid steps of 2^-fraction_bits: each in [0, blocks · 2^f].

    The order of blocks is a permutation that nobody knows and every sum has anew: who saw when something happened
    while a block ran, such as a load on the machine, would not know which units were in it.

    Args:
        plan: one that `plan.validation.check_plan` accepts.
        program: the bytes that the plan names by their hash.
        key: 32 secret bytes that are used for this sum alone; by default drawn. For tests.

    Raises:
        Cancelled: soon after `cancelled()` turned true; and what `open_table` raises.
    """
    shape, outputs = plan.program, plan.statistics[0].block_outputs.outputs
    secret = secrets.token_bytes(KEY_BYTES) if key is None else key
    # The first table's columns, unit included, then the next one's.
    columns = {each.table: list(each.columns) for each in shape.tables}
    tables = {name: _read(open_table, name, wanted, declaration.privacy_unit) for name, wanted in columns.items()}
    dealt = Dealt.of([table[UNIT_COLUMN] for table in tables.values()], shape.blocks, secret)
    cut = {name: _Cut(table, dealt, columns[name], declaration.privacy_unit) for name, table in tables.items()}
    order = np.argsort(_draws(np.arange(shape.blocks), _BLOCKS, secret)[:, 0], kind="stable").tolist()

    def blocks() -> Iterator[Block]:
        for number in order:
            if cancelled():
                raise Cancelled
            yield {name: table.block(number) for name, table in cut.items()}

    total = [0] * sum(map(output_width, outputs))
    outcomes = chain(run(program, blocks(), len(outputs)), repeat(None))
    for number, outcome in zip(order, outcomes, strict=False):
        of_block = outcome if dealt.has_units(number) else None
        for cell, step in grid_steps(of_block, outputs, plan.fraction_bits):
            total[cell] += step
    return total


def grid_steps(
    outcome: Sequence[float] | None, outputs: Sequence[BlockOutput], fraction_bits: int
) -> Iterator[tuple[int, int]]:
    """What one block adds to which cells, whatever the outcome is: as many as the outputs and their levels.

    To the cell of an output without a tree an integer from 0 to 2^fraction_bits; to one node on each level of a tree,
    that of the range with the clipped output, 2^fraction_bits.
    """
    values = outcome if _is_whole(outcome, len(outputs)) and outcome is not None else [each.absent for each in outputs]
    first, whole = 0, 1 << fraction_bits
    for value, output in zip(values, outputs, strict=True):
        share = _share(value, output)
        if output.HasField("tree"):
            yield from ((first + node, whole) for node in _nodes(share, output.tree))
        else:
            # Rounded division may leave [0, 1] by a hair; the sensitivity allows for nothing beyond.
            yield first, min(max(round(share * whole), 0), whole)
        first += output_width(output)


@dataclass(frozen=True)
class Dealt:
    """Which block each unit is in, and as which of its units.

    Attributes:
        units: codes of all units that have a row in any of the tables, ascending.
        block: of each unit.
        number: of each unit, from 0 within its block.
        sizes: units of each block.
    """

    units: Integers
    block: Integers
    number: Integers
    sizes: Integers

    @classmethod
    def of(cls, columns: Sequence[pa.ChunkedArray], blocks: int, key: bytes) -> Dealt:
        """Deal the units of these columns."""
        units = np.unique(np.concatenate([column.to_numpy() for column in columns])).astype(np.int64)
        draws = _draws(units, _UNITS, key)
        block = (draws[:, 0] % np.uint64(blocks)).astype(np.int64)
        sizes = np.bincount(block, minlength=blocks).astype(np.int64)
        order = np.lexsort((draws[:, 1], block))
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        number = np.empty(len(units), np.int64)
        number[order] = np.arange(len(units)) - starts[block[order]]
        return cls(units, block, number, sizes)

    def has_units(self, block: int) -> bool:
        """Whether any unit is in the block."""
        return bool(self.sizes[block])


class _Cut:
    """One table, ready to be given block by block."""

    def __init__(self, table: pa.Table, dealt: Dealt, columns: Sequence[str], unit: str) -> None:
        places = np.searchsorted(dealt.units, table[UNIT_COLUMN].to_numpy())
        block, self._number = dealt.block[places], dealt.number[places]
        self._table, self._columns, self._unit = table, columns, unit
        # Sorting is stable: a unit's rows keep their order.
        self._rows = np.lexsort((self._number, block))
        self._ends = np.cumsum(np.bincount(block, minlength=len(dealt.sizes)))

    def block(self, number: int) -> pa.Table:
        """The rows of one block."""
        start = self._ends[number - 1] if number else 0
        rows = self._rows[start : self._ends[number]]
        arrays = {
            name: pa.array(self._number[rows], pa.int64())
            if name == self._unit
            else _array(self._table[name], pa.array(rows))
            for name in self._columns
        }
        return pa.table(arrays)


def _read(open_table: OpenTable, name: str, columns: Sequence[str], unit: str) -> pa.Table:
    opened = open_table(name, [UNIT_COLUMN, *(column for column in columns if column != unit)])
    if isinstance(opened, pa.Table):
        return opened
    return pa.Table.from_batches([opened.read(group) for group in range(len(opened))], opened.schema)


def _array(column: pa.ChunkedArray, rows: pa.Array) -> pa.Array:
    """These rows in buffers of their own, as plain values: a dictionary would show what other rows have."""
    taken = column.take(rows)
    if pa.types.is_dictionary(taken.type):
        taken = taken.cast(taken.type.value_type)
    return pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], taken.type)


def _draws(numbers: NDArray[np.int64], purpose: int, key: bytes) -> NDArray[np.uint64]:
    """128 bits for each number, as two: AES-256 in single blocks of different contents, which is a random function."""
    contents = np.empty((len(numbers), 2), ">u8")
    contents[:, 0], contents[:, 1] = purpose, numbers
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 (as a function of numbers)
    drawn = encryptor.update(contents.tobytes()) + encryptor.finalize()
    return np.frombuffer(drawn, "<u8").reshape(-1, 2)


def _is_whole(outcome: Sequence[float] | None, width: int) -> bool:
    return (
        outcome is not None
        and len(outcome) == width
        and all(isinstance(value, float) and math.isfinite(value) for value in outcome)
    )


def _share(value: float, output: BlockOutput) -> float:
    """Which part of the range lies below the clipped value."""
    return (min(max(value, output.lower), output.upper) - output.lower) / (output.upper - output.lower)


def _nodes(share: float, tree: BlockTree) -> Iterator[int]:
    """The node of each level whose range has the value; a range includes its lower edge, the last one its upper too."""
    leaves, before = tree.branching**tree.levels, 0
    leaf = min(max(math.floor(share * leaves), 0), leaves - 1)
    for level in range(1, tree.levels + 1):
        yield before + leaf // tree.branching ** (tree.levels - level)
        before += tree.branching**level
