"""Counts of many ranges of one expression, read off one table or tree of counts.

`COUNT(*) FILTER (WHERE age < 30), COUNT(*) FILTER (WHERE age BETWEEN 30 AND 49), ...` could be a statistic each, every
one with a part of the budget of its own. But all of these conditions cut the values of one expression x at known
constants. So x is replaced by the number of the piece between two cuts that it lies in (`CASE WHEN x < 30 THEN 0 WHEN
x >= 30 AND x < 50 THEN 1 END`), and rows are counted by piece: a row is in one leaf at most, so this costs what one
count costs, however many pieces there are. Each range is a sum of neighbouring leaves. The pieces use the very
comparisons of the filters, so a range counts exactly the rows that its filter lets through: NULL is in no piece, and
no bounds need be declared.

Where long ranges overlap, such sums add up much noise: then upper levels of a tree are measured too (Hay and others,
2010). Which of the three ways is taken, a statistic each, one level or several, is decided by the predicted variance.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from yingbi.api.range_tree import range_variance
from yingbi.api.v1.plan_pb2 import (
    Comparison,
    Conditional,
    Conjunction,
    Expression,
    Negation,
    NullTest,
    RangeCounts,
    Statistic,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_NODES
from enclave_sim.plan.size import check_size
from enclave_sim.plan.statistics import MAX_STATISTICS
from enclave_sim.plan.validation import MAX_CELLS
from enclave_sim.plan.values import MAX_INT64, from_python, to_python
from gateway.planning.aggregates import Aggregate, Function
from gateway.planning.narrowing import conjuncts_of
from gateway.planning.ranges import CELLS

_Cut = tuple[Any, bool]
"""Between the values of x: just below a value, or just above it (True). Cuts of one x are of one type, and ordered."""
_FEWEST = 2
"""One range is a count like any other."""


@dataclass(frozen=True)
class Range:
    """The values of x between two cuts; None is no cut."""

    low: _Cut | None
    high: _Cut | None

    def within(self, other: Range) -> Range:
        """What is in both."""
        lows = [cut for cut in (self.low, other.low) if cut is not None]
        highs = [cut for cut in (self.high, other.high) if cut is not None]
        return Range(max(lows, default=None), min(highs, default=None))

    @property
    def is_empty(self) -> bool:
        return self.low is not None and self.high is not None and bool(self.low >= self.high)


@dataclass(frozen=True)
class Place:
    """Where a count is found: the leaves from `first` to the one before `end` of a statistic."""

    statistic: Statistic
    first: int
    end: int


@dataclass(frozen=True)
class _Reading:
    """A count as a range of one expression, among the rows that fulfil the rest of its filter."""

    operand: Expression
    rest: tuple[Expression, ...]
    range: Range

    @cached_property
    def key(self) -> tuple[bytes, frozenset[bytes]]:
        """The same for all counts that can be read off one tree."""
        return _bytes(self.operand), frozenset(map(_bytes, self.rest))


@dataclass
class RangeWorkload:
    """The counts of a query that are read off trees.

    Args:
        counts: ROWS and NON_NULL aggregates.
        groups: of the query.
    """

    counts: Iterable[Aggregate]
    groups: int
    _places: dict[bytes, Place] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        readings = {key: tuple(_readings(count)) for key, count in {_key(each): each for each in self.counts}.items()}
        # A plan has no more statistics than that.
        for _ in range(MAX_STATISTICS):
            chosen = _most_alike(readings.values())
            members = {
                key: reading for key, several in readings.items() for reading in several if reading.key == chosen
            }
            if len(members) < _FEWEST:
                return
            self._places |= _places(members, self.groups)
            readings = {key: several for key, several in readings.items() if key not in members}

    def place(self, count: Aggregate) -> Place | None:
        """Where a count is found; None where it is a statistic of its own."""
        return self._places.get(_key(count)) if count.filter is not None else None


def asked_variance(tree: RangeCounts, ranges: Iterable[tuple[int, int]]) -> float:
    """The variances of the ranges of a tree, added up, in units of what a plain count has at the same ρ.

    A tree of L levels moves by √L times what a count does (`enclave_sim.plan.sensitivity`), so each node has L times
    the variance of a count.
    """
    return tree.levels * math.fsum(range_variance(tree.branching, tree.levels, *each) for each in ranges)


def ranged(tree: RangeCounts) -> Expression | None:
    """The expression whose ranges the leaves are, where the tree was made here."""
    for branch in tree.term.conditional.branches:
        condition = next(iter(conjuncts_of(branch.condition)))
        return condition.comparison.left
    return None


def _readings(count: Aggregate) -> Iterator[_Reading]:
    """Every way to read a count as one of a range."""
    if count.filter is None:
        return
    conditions = tuple(conjuncts_of(count.filter))
    found: dict[bytes, tuple[Expression, Range]] = {}
    for condition in conditions:
        bounded = _range_of(condition)
        if bounded is not None:
            operand, bounds = bounded
            before = found.get(_bytes(operand), (operand, Range(None, None)))[1]
            found[_bytes(operand)] = operand, before.within(bounds)
    for operand, bounds in found.values():
        if not bounds.is_empty:
            rest = [each for each in conditions if not _is_about(each, operand) and each != _is_there(operand)]
            yield _Reading(operand, (*rest, *_present(count, operand)), bounds)


def _range_of(condition: Expression) -> tuple[Expression, Range] | None:
    """What a condition says, if it compares an expression with a constant that has an order."""
    operand, operator, value = condition.comparison.left, condition.comparison.operator, condition.comparison.right
    if condition.HasField("membership") and len(condition.membership.values) == 1:
        operand, operator = condition.membership.operand, Comparison.OPERATOR_EQUAL
        value = Expression(literal=condition.membership.values[0])
    is_constant = value.literal.WhichOneof("kind") not in (None, "bool_value")
    if not is_constant or operand.HasField("literal"):
        return None
    bounds = _bounds(operator, to_python(value.literal))
    return None if bounds is None else (operand, bounds)


def _bounds(operator: Comparison.Operator.ValueType, point: Any) -> Range | None:
    below, above = (point, False), _above(point)
    return {
        Comparison.OPERATOR_EQUAL: Range(below, above),
        Comparison.OPERATOR_LESS: Range(None, below),
        Comparison.OPERATOR_LESS_OR_EQUAL: Range(None, above),
        Comparison.OPERATOR_GREATER: Range(above, None),
        Comparison.OPERATOR_GREATER_OR_EQUAL: Range(below, None),
    }.get(operator)


def _above(point: Any) -> _Cut:
    """The cut just above a value: of whole numbers and days that just below the next one."""
    if isinstance(point, int) and point < MAX_INT64:
        return point + 1, False
    if isinstance(point, datetime.date) and not isinstance(point, datetime.datetime) and point < datetime.date.max:
        return point + datetime.timedelta(days=1), False
    return point, True


def _is_about(condition: Expression, operand: Expression) -> bool:
    bounded = _range_of(condition)
    return bounded is not None and bounded[0] == operand


def _present(count: Aggregate, operand: Expression) -> list[Expression]:
    """COUNT(y) counts rows where y is not NULL, which goes without saying of the expression with the range."""
    if count.function is Function.ROWS or count.subjects[0].expression == operand:
        return []
    return [_is_there(count.subjects[0].expression)]


def _is_there(operand: Expression) -> Expression:
    """IS NOT NULL."""
    return Expression(negation=Negation(operand=Expression(null_test=NullTest(operand=operand))))


def _most_alike(readings: Iterable[Sequence[_Reading]]) -> tuple[bytes, frozenset[bytes]] | None:
    """What most counts have in common; the first of those that are even."""
    numbers = Counter(reading.key for reading in itertools.chain.from_iterable(readings))
    return max(numbers, key=lambda key: numbers[key], default=None)


def _places(members: dict[bytes, _Reading], groups: int) -> dict[bytes, Place]:
    """The members' places in the best tree; none where a statistic each is better."""
    pieces, leaves = _laid_out({reading.range for reading in members.values()})
    first = next(iter(members.values()))
    term = _numbered(first.operand, pieces)
    if not _is_short(term):
        return {}
    trees = [_tree(term, branching, levels) for branching, levels in _shapes(len(pieces))]
    tree = _best([tree for tree in trees if _fits(tree, len(members), groups)], leaves.values(), len(members))
    if tree is None:
        return {}
    statistic = Statistic(range_counts=tree, filter=_joined(first.rest))
    return {key: Place(statistic, *leaves[reading.range]) for key, reading in members.items()}


def _laid_out(ranges: set[Range]) -> tuple[list[Range], dict[Range, tuple[int, int]]]:
    """The shortest pieces between the cuts of all ranges, ascending, and which of them each range has: from, to before.

    Pieces that are in no range are left out. The pieces of one range are neighbours all the same: they are all in it.
    """
    cuts = sorted({cut for each in ranges for cut in (each.low, each.high) if cut is not None})
    after = {cut: place for place, cut in enumerate(cuts, start=1)}
    spans = {
        each: (after[each.low] if each.low else 0, after[each.high] if each.high else len(cuts) + 1) for each in ranges
    }
    begun, ended = (Counter(ends) for ends in zip(*spans.values(), strict=True))
    depths = list(itertools.accumulate(begun[place] - ended[place] for place in range(len(cuts) + 1)))
    numbers = list(itertools.accumulate((depth > 0 for depth in depths), initial=0))
    between = itertools.pairwise([None, *cuts, None])
    pieces = [Range(low, high) for (low, high), depth in zip(between, depths, strict=True) if depth]
    return pieces, {each: (numbers[start], numbers[end]) for each, (start, end) in spans.items()}


def _best(trees: Sequence[RangeCounts], asked: Collection[tuple[int, int]], statistics: int) -> RangeCounts | None:
    """The tree with the least variance over all ranges that are asked for, each once; None if none is better.

    Of k statistics each has k times the variance that one has with the whole budget: k·k together.
    """
    variances = [asked_variance(tree, asked) for tree in trees]
    least = min(variances, default=math.inf)
    # What rounding makes of two ways that are even is no gain.
    return trees[variances.index(least)] if least < statistics**2 * (1 - 1e-9) else None


def _is_short(term: Expression) -> bool:
    """Whether a plan may hold it."""
    try:
        check_size(term, "term", max_parts=MAX_NODES)
    except PlanError:
        return False
    return True


def _shapes(pieces: int) -> Iterator[tuple[int, int]]:
    """Branching and levels of the trees with enough leaves, one of each height."""
    yield max(2, pieces), 1
    for levels in range(2, (pieces - 1).bit_length() + 1):
        yield next(b for b in itertools.count(2) if b**levels >= pieces), levels


def _fits(tree: RangeCounts, statistics: int, groups: int) -> bool:
    """Whether a tree has few cells: no more than so many statistics, or few enough to cost little time."""
    width = sum(tree.branching**level for level in range(1, tree.levels + 1))
    return bool(width <= statistics or groups * width <= max(CELLS, min(2 * statistics * groups, MAX_CELLS // 2)))


def _tree(term: Expression, branching: int, levels: int) -> RangeCounts:
    """Leaf i has the pieces of number i: whole numbers, in the middle of their leaves."""
    return RangeCounts(term=term, lower=-0.5, upper=branching**levels - 0.5, branching=branching, levels=levels)


def _numbered(operand: Expression, pieces: Sequence[Range]) -> Expression:
    """The number of the piece that a value is in; NULL for NULL, and for values in none."""
    branches = [
        Conditional.Branch(condition=_condition(operand, piece), result=Expression(literal=Value(int64_value=number)))
        for number, piece in enumerate(pieces)
    ]
    return Expression(conditional=Conditional(branches=branches))


def _condition(operand: Expression, piece: Range) -> Expression:
    low, high = piece.low, piece.high
    if low is not None and not low[1] and high == _above(low[0]):
        return _comparison(operand, Comparison.OPERATOR_EQUAL, low)
    parts = []
    if low is not None:
        operator = Comparison.OPERATOR_GREATER if low[1] else Comparison.OPERATOR_GREATER_OR_EQUAL
        parts.append(_comparison(operand, operator, low))
    if high is not None:
        operator = Comparison.OPERATOR_LESS_OR_EQUAL if high[1] else Comparison.OPERATOR_LESS
        parts.append(_comparison(operand, operator, high))
    joined = _joined(parts)
    assert joined is not None, "a piece has a cut"
    return joined


def _comparison(operand: Expression, operator: Comparison.Operator.ValueType, cut: _Cut) -> Expression:
    value = Expression(literal=from_python(cut[0]))
    return Expression(comparison=Comparison(operator=operator, left=operand, right=value))


def _joined(conditions: Sequence[Expression]) -> Expression | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return Expression(conjunction=Conjunction(operands=conditions))


def _key(count: Aggregate) -> bytes:
    counted = count.subjects[0].expression if count.subjects else Expression()
    condition = count.filter if count.filter is not None else Expression()
    return repr((count.function, _bytes(counted), _bytes(condition))).encode()


def _bytes(message: Expression) -> bytes:
    return message.SerializeToString(deterministic=True)
