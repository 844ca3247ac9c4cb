"""Where the opened integers of a plan lie, and which of them make a row of the answer. Pure.

The vector holds statistic after statistic, each over all groups (the last key varying fastest), each group with
`width` cells. A grouping set has a row for every combination of its keys' values; its cells are those of all
groups that agree with it, added up as integers. Counts of distinct units are not added up, since a unit may be in
several groups: a row has them one after another. Where statistics are marginals, and so measure one table several
times, a row's cell is the least-squares estimate from all of them (`yingbi.api.marginals`). A plan may come from a
receipt that somebody forged, so everything is bounded before anything is allocated.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from yingbi.api import model_vectors
from yingbi.api.v1.plan_pb2 import BlockOutput, BlockTree, GroupKey, ModelVector, Plan, RangeCounts, Statistic, Value
from yingbi.marginal_tables import Marginals, keys_of, tables_of
from yingbi.uncertain import Number

LANGUAGE_VERSION = 2
MAX_CELLS = 200_000
MAX_KEYS = 64
MAX_SETS = 4096
MAX_ADDITIONS = 50_000_000
"""Grouping sets times cells: what adding them up costs."""

MAX_MARGINAL_WORK = 20_000_000
"""Steps that the estimates from one table's marginals take: some seconds."""

MARGINAL_KINDS = ("row_count", "non_null_count", "bounded_sum")

Cell = bool | int | float | str | datetime.date | datetime.datetime | None

_EPOCH_DAY = datetime.date(1970, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)


class PlanError(ValueError):
    """A plan, or a vector beside it, that is no table."""


@dataclass(frozen=True)
class Row:
    """One row to come: its keys (None for those that its grouping set lacks) and its cells, by statistic."""

    keys: tuple[Cell, ...]
    leaves: int
    """How many groups were added up."""
    cells: tuple[Sequence[float], ...]
    """In grid steps. Of distinct units one for each of the groups, of other statistics their sum."""
    place: int = 0
    """Which row it is, where rows are compared; else 0."""
    parts: Sequence[int] = (0,)
    """Where rows are compared: which independent noises, each of `leaves / len(parts)` groups, its cells have."""
    windows: dict[int, Number | None] = field(default_factory=dict, compare=False, repr=False)
    """What was made of this and other rows; see `windows`."""
    memory: dict[int, list[float]] = field(default_factory=dict, compare=False, repr=False)
    """What was computed of a statistic's cells, for the next column that needs it."""
    set: int = 0
    """Which of the layout's grouping sets it is of."""


@dataclass(frozen=True)
class Layout:
    """The shape of a plan's vector; there is one only for plans that are small enough to be read."""

    plan: Plan
    values: tuple[tuple[Cell, ...], ...]
    """Of each key."""
    widths: tuple[int, ...]
    """Of each statistic."""
    sets: tuple[tuple[int, ...], ...]
    """Of each grouping set: its keys, ascending."""
    tables: tuple[Marginals | None, ...] = ()
    """Of each statistic: the marginals that measure the same table; None where it is alone, by all keys."""

    @classmethod
    def of(cls, plan: Plan) -> Layout:
        """Raises PlanError for a plan that is malformed, too large, or in another version of the language."""
        if plan.language_version != LANGUAGE_VERSION:
            raise PlanError(f"the plan is in version {plan.language_version} of the language, not {LANGUAGE_VERSION}")
        if len(plan.group_by) > MAX_KEYS:
            raise PlanError(f"the plan has more than {MAX_KEYS} keys")
        if len(plan.grouping_sets) > MAX_SETS:
            raise PlanError(f"the plan has more than {MAX_SETS:,} grouping sets")
        groups = _bounded_product([len(key.values) for key in plan.group_by])
        widths = tuple(width(statistic) for statistic in plan.statistics)
        values, sets = tuple(constants(key.values) for key in plan.group_by), _sets(plan)
        layout = cls(plan, values, widths, sets, _tables(plan, sets))
        if max(groups, layout.length) > MAX_CELLS:
            raise PlanError(f"the plan has more than {MAX_CELLS:,} cells")
        if len(layout.sets) * max(layout.length, groups, 1) > MAX_ADDITIONS:
            raise PlanError("the plan has too many grouping sets")
        return layout

    @property
    def groups(self) -> int:
        return math.prod(len(values) for values in self.values)

    @property
    def length(self) -> int:
        """Of the vector."""
        return sum(self._lengths)

    def length_of(self, statistic: int) -> int:
        """Of one statistic's part of the vector."""
        return self._lengths[statistic]

    @cached_property
    def _lengths(self) -> list[int]:
        """Of each statistic's part of the vector."""
        keys = (keys_of(statistic, len(self.values)) for statistic in self.plan.statistics)
        return [self._size(own) * width for own, width in zip(keys, self.widths, strict=True)]

    @property
    def row_count(self) -> int:
        return sum(self._shown(keys) for keys in self.sets)

    @property
    def has_totals(self) -> bool:
        """Whether there are rows that several groups make."""
        return any(len(keys) < len(self.values) for keys in self.sets)

    @property
    def most_leaves(self) -> int:
        """The most groups that one row is made of."""
        return max((self.groups // max(1, self._size(keys)) for keys in self.sets), default=1)

    def leaves_of(self, number: int) -> int:
        """How many groups a row of this grouping set is made of."""
        return self.groups // max(1, self._size(self.sets[number]))

    @property
    def finest(self) -> int:
        """The first grouping set whose rows are made of the fewest groups."""
        return min(range(len(self.sets)), key=self.leaves_of)

    @property
    def step(self) -> float:
        return 2.0**-self.plan.fraction_bits

    def deviation(self, statistic: int) -> float:
        """The standard deviation of the noise in a cell of one group, in the statistic's own unit.

        Each of `parties` enclaves adds an independent discrete Gaussian to each cell; a row that adds up k
        groups has sqrt(k) times as much. With sigma >= 2 the normal quantiles hold for such a sum far beyond
        the digits shown.
        """
        return math.sqrt(self.plan.noise.parties) * self.plan.statistics[statistic].sigma * self.step

    def deviation_of_row(self, statistic: int, row: Row) -> float:
        """The same in a row, where nothing tells the noises of rows apart."""
        table = self.tables[statistic]
        if table is None:
            return self.deviation(statistic) * math.sqrt(row.leaves)
        return math.sqrt(self.plan.noise.parties * table.variances[row.set]) * self.step

    @property
    def is_comparable(self) -> bool:
        """Whether the noises of different rows can be told apart: not where they share those of marginals."""
        return not any(self.tables)

    def places(self) -> Iterator[tuple[tuple[Cell, ...], int]]:
        """Keys and number of groups of every row, set after set, the last key varying fastest."""
        for keys in self.sets:
            leaves = self.groups // max(1, self._size(keys))
            listed = (values[:-1] if group_by.rest else values for group_by, values in self._keys())
            pools = [values if key in keys else (None,) for key, values in enumerate(listed)]
            for combination in itertools.product(*pools):
                yield combination, leaves

    def rows(self, opened: Sequence[int], *, compared: bool = False) -> Iterator[Row]:
        """Every row with its cells.

        Args:
            compared: tell the noises of different rows apart.

        Raises:
            PlanError: the vector has another length than the plan's.
        """
        if len(opened) != self.length:
            raise PlanError(f"the opened vector has {len(opened)} cells; the plan has {self.length}")
        estimated = self._estimated(opened)
        cells = itertools.chain.from_iterable(
            self._cells(list(opened), keys, {index: found[number] for index, found in estimated.items()})
            for number, keys in enumerate(self.sets)
        )
        if not compared:
            for (keys, leaves), of_row, number in zip(self.places(), cells, self.set_of_rows(), strict=True):
                yield Row(keys, leaves, of_row, set=number)
            return
        for place, (where, of_row, parts) in enumerate(zip(self.places(), cells, self.parts(), strict=True)):
            yield Row(*where, of_row, place, parts)

    def set_of_rows(self) -> Iterator[int]:
        """Of every row: its grouping set."""
        for number, keys in enumerate(self.sets):
            yield from itertools.repeat(number, self._shown(keys))

    def _estimated(self, opened: Sequence[int]) -> dict[int, list[list[float]]]:
        """Of statistics that are marginals: the estimates in grid steps, grouping set by grouping set."""
        starts = list(itertools.accumulate(self._lengths, initial=0))
        vectors = [opened[start:end] for start, end in itertools.pairwise(starts)]
        found: dict[int, list[list[float]]] = {}
        for table in dict.fromkeys(table for table in self.tables if table is not None):
            nothing = [[0.0] * self._size(keys) for keys in self.sets]
            estimates = table.estimates(vectors) if table.is_readable else nothing
            found |= dict.fromkeys(table.statistics, estimates)
        return found

    def parts(self) -> Iterator[Sequence[int]]:
        """Of every row: which independent noises its cells have.

        The rows of one grouping set share no group, so each has a noise of its own. A row of one of several sets
        adds up groups that rows of the others have, too, so its noises are those of its groups.
        """
        if len(self.sets) == 1:
            yield from ((row,) for row in range(self.row_count))
            return
        for keys in self.sets:
            members: list[list[int]] = [[] for _ in range(self._size(keys))]
            for group, row in enumerate(self._targets(keys) or range(self.groups)):
                members[row].append(group)
            yield from itertools.compress(members, self._is_shown(keys))

    def _size(self, keys: tuple[int, ...]) -> int:
        return math.prod(len(self.values[key]) for key in keys)

    def _shown(self, keys: tuple[int, ...]) -> int:
        """Rows of a grouping set that are in the answer: not those of what has none of a key's values."""
        return math.prod(len(self.values[key]) - self.plan.group_by[key].rest for key in keys)

    def _is_shown(self, keys: tuple[int, ...]) -> Iterator[bool]:
        """Of all combinations of the values of a grouping set's keys: whether they are in the answer."""
        each = ([True] * (len(self.values[key]) - 1) + [not self.plan.group_by[key].rest] for key in keys)
        return map(all, itertools.product(*each))

    def _keys(self) -> Iterator[tuple[GroupKey, tuple[Cell, ...]]]:
        return zip(self.plan.group_by, self.values, strict=True)

    def _cells(
        self, opened: list[int], keys: tuple[int, ...], estimated: Mapping[int, list[float]]
    ) -> Iterator[tuple[Sequence[float], ...]]:
        rows, target = self._size(keys), self._targets(keys)
        parts: list[Sequence[float]] = []
        widths, start = list(self.widths), 0
        for index, (width, length) in enumerate(zip(self.widths, self._lengths, strict=True)):
            end = start + length
            part: Sequence[float] = opened[start:end]
            if index in estimated:
                part = estimated[index]
            elif target and self.is_apart(index):
                # Sorting is stable, so a row's groups keep their order.
                part = [part[group] for group in sorted(range(self.groups), key=target.__getitem__)]
                widths[index] = self.groups // max(1, rows)
            elif target:
                part = _added(part, width, target, rows)
            parts.append(part)
            start = end
        for row in itertools.compress(range(rows), self._is_shown(keys)):
            yield tuple(part[row * width : (row + 1) * width] for part, width in zip(parts, widths, strict=True))

    def is_apart(self, statistic: int) -> bool:
        """Whether a row has a statistic's cells group by group, and not added up."""
        return self.plan.statistics[statistic].HasField("distinct_units")

    def _targets(self, keys: tuple[int, ...]) -> list[int] | None:
        """The row within the set that each group goes to; None where groups are the rows."""
        if len(keys) == len(self.values):
            return None
        targets = [0]
        for key, values in enumerate(self.values):
            places = range(len(values))
            targets = [t * len(values) + p if key in keys else t for t in targets for p in places]
        return targets


def width(statistic: Statistic) -> int:
    """Cells of a statistic in each group.

    Raises:
        PlanError: it is of no kind that this version knows, or it alone has too many cells.
    """
    match statistic.WhichOneof("kind"):
        case "range_counts":
            return _tree_width(statistic.range_counts)
        case "unit_norms":
            return len(statistic.unit_norms.edges) + 1
        case "block_outputs":
            return sum(map(output_width, statistic.block_outputs.outputs))
        case "model_vector":
            return _vector_width(statistic.model_vector)
        case None:
            raise PlanError("a statistic is of a kind that this version does not know")
        case _:
            return 1


def _vector_width(vector: ModelVector) -> int:
    try:
        found = model_vectors.width(vector)
    except ValueError as error:
        raise PlanError("a statistic is of a kind that this version does not know") from error
    if found > MAX_CELLS:
        raise PlanError(f"the plan has more than {MAX_CELLS:,} cells")
    return found


def output_width(output: BlockOutput) -> int:
    """Cells of one output of a program; raises as `width` does."""
    return _tree_width(output.tree) if output.HasField("tree") else 1


def to_python(value: Value) -> Cell:
    """A constant of the plan language as Python has it."""
    match value.WhichOneof("kind"):
        case "date_days":
            return _EPOCH_DAY + datetime.timedelta(days=value.date_days)
        case "timestamp_micros":
            return _EPOCH + datetime.timedelta(microseconds=value.timestamp_micros)
        case None:
            return None
        case kind:
            return cast("bool | int | float | str", getattr(value, kind))


def constants(values: Sequence[Value]) -> tuple[Cell, ...]:
    """What a key of the plan may be, or is shown as.

    Raises:
        PlanError: they are not of one type, no date, or not finite.
    """
    try:
        cells = tuple(to_python(value) for value in values)
    except OverflowError as error:
        raise PlanError("a key's value is no date") from error
    if len({value.WhichOneof("kind") for value in values}) > 1:
        raise PlanError("a key's values are not of one type")
    if any(isinstance(cell, float) and not math.isfinite(cell) for cell in cells):
        raise PlanError("a key's value is not finite")
    return cells


def to_json(cell: Cell) -> bool | int | float | str | None:
    """A cell as JSON has it: dates and timestamps in ISO 8601."""
    return cell.isoformat() if isinstance(cell, datetime.date) else cell


def _tree_width(tree: RangeCounts | BlockTree) -> int:
    if tree.branching < 2 or tree.levels < 1:
        raise PlanError("a tree of ranges does not branch")
    total, level = 0, 1
    for _ in range(tree.levels):
        level *= tree.branching
        total += level
        if total > MAX_CELLS:
            raise PlanError(f"a tree of ranges has more than {MAX_CELLS:,} cells")
    return total


def _bounded_product(sizes: Sequence[int]) -> int:
    if 0 in sizes:
        return 0
    product = 1
    for size in sizes:
        product *= size
        if product > MAX_CELLS:
            raise PlanError(f"the plan has more than {MAX_CELLS:,} groups")
    return product


def _sets(plan: Plan) -> tuple[tuple[int, ...], ...]:
    if not plan.grouping_sets:
        return (tuple(range(len(plan.group_by))),)
    sets = tuple(tuple(sorted(set(part.keys))) for part in plan.grouping_sets)
    if any(keys and keys[-1] >= len(plan.group_by) for keys in sets):
        raise PlanError("a grouping set names a key that is not there")
    return sets


def _tables(plan: Plan, sets: tuple[tuple[int, ...], ...]) -> tuple[Marginals | None, ...]:
    for statistic in plan.statistics:
        if any(key >= len(plan.group_by) for key in statistic.marginal.keys):
            raise PlanError("a marginal names a key that is not there")
        if statistic.HasField("marginal") and statistic.WhichOneof("kind") not in MARGINAL_KINDS:
            raise PlanError("a statistic in the plan has no marginals")
    tables = tables_of(plan.statistics, [len(key.values) for key in plan.group_by], sets)
    for table in tables:
        if table is not None and not table.is_sound:
            raise PlanError("the plan's marginals make no table")
        if table is not None and table.work > MAX_MARGINAL_WORK:
            raise PlanError("the plan's marginals are too many")
    return tables


def _added(cells: Sequence[float], width: int, target: list[int], rows: int) -> list[float]:
    sums: list[float] = [0] * (rows * width)
    for group, row in enumerate(target):
        here, there = group * width, row * width
        for node in range(width):
            sums[there + node] += cells[here + node]
    return sums
