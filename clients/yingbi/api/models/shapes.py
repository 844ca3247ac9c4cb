"""Operators that multiply matrices, sum, or move numbers: within a row, with axis 0 as it is. See `operators`."""

from __future__ import annotations

import math
from collections.abc import Callable

from yingbi.api.models.nodes import Node
from yingbi.api.models.operators import Rule, axis_of, broadcast, of_kinds, one_kind
from yingbi.api.models.tensors import FLOATS, INT64, NUMBERS, NotRowWise, Tensor, constant_of


def _matmul(node: Node) -> list[Tensor]:
    """Rows times a constant matrix; or a matrix of each row times another one of the same row."""
    node.takes(2, 2)
    left, right = (of_kinds(node.tensor(place), FLOATS) for place in range(2))
    one_kind([left, right])
    if not left.rows:
        raise NotRowWise("what stands on the left is no tensor of rows, so that it would add rows up")
    if right.rows:
        if left.rank != right.rank or left.rank < 3:
            raise NotRowWise("it multiplies rows with rows, which adds up over rows")
        (*outer, height, inner), (*others, depth, width) = left.shape, right.shape
        if outer != others:
            raise NotRowWise("its inputs do not fit")
        shape = (*outer, height, width)
    else:
        if left.rank < 2 or right.rank != 2:
            raise NotRowWise("it multiplies rows with a constant that is no matrix")
        inner, (depth, width) = left.shape[-1], right.shape
        shape = (*left.shape[:-1], width)
    if inner != depth:
        raise NotRowWise(f"{left.words()} and {right.words()} do not fit")
    node.work += math.prod(shape) * inner
    return [Tensor(left.kind, shape, rows=True)]


def _gemm(node: Node) -> list[Tensor]:
    node.takes(2, 3)
    node.numbers("alpha", "beta")
    left, right = of_kinds(node.tensor(0), FLOATS), of_kinds(node.constant(1), FLOATS)
    if not left.rows or left.rank != 2 or right.rank != 2:
        raise NotRowWise("it has to multiply rows of numbers with a constant matrix")
    if node.integer("transA", 0):
        raise NotRowWise("it turns rows into columns (transA)")
    depth, width = reversed(right.shape) if node.integer("transB", 0) else right.shape
    if left.shape != (depth,):
        raise NotRowWise(f"{left.words()} and {right.words()} do not fit")
    made = Tensor(left.kind, (width,), rows=True)
    one_kind([left, right])
    if node.optional(2) is not None:
        added = node.constant(2)
        one_kind([left, added])
        if broadcast([made, added], made.kind) != made:
            raise NotRowWise("what it adds does not fit")
    node.work += depth * width
    return [made]


def _concat(node: Node) -> list[Tensor]:
    node.takes(1, 1024)
    parts = [node.tensor(place) for place in range(len(node.inputs))]
    one_kind(parts)
    first = parts[0]
    if len({(each.rows, each.rank) for each in parts}) > 1:
        raise NotRowWise("it joins tensors of rows with others, or of different ranks")
    axis = node.integer("axis", 0)
    place = axis_of(axis, first.rank) - 1 if first.rows else _plain_axis(axis, first.rank)
    others = {each.shape[:place] + each.shape[place + 1 :] for each in parts}
    if len(others) > 1:
        raise NotRowWise("what it joins does not fit")
    length = sum(each.shape[place] for each in parts)
    made = Tensor(first.kind, (*first.shape[:place], length, *first.shape[place + 1 :]), first.rows)
    node.work += made.size
    return [made]


def _plain_axis(axis: int, rank: int) -> int:
    found = axis + rank if axis < 0 else axis
    if not 0 <= found < rank:
        raise NotRowWise(f"it has no axis {axis}")
    return found


def _gather(node: Node) -> list[Tensor]:
    """Places that are constants, and there: a place that is looked up in data could be out of range for one row."""
    node.takes(2, 2)
    given, places = node.tensor(0), _ints(node, 1)
    axis = node.integer("axis", 0)
    if not given.rows:
        raise NotRowWise("it takes parts of a constant; export the model with constants folded")
    place = axis_of(axis, given.rank) - 1
    size = given.shape[place]
    if any(not -size <= each < size for each in places):
        raise NotRowWise(f"it takes a place that is not among the {size} of its axis")
    shape = (*given.shape[:place], *node.constant(1).shape, *given.shape[place + 1 :])
    made = Tensor(given.kind, shape, rows=True)
    node.work += made.size
    return [made]


def _slice(node: Node) -> list[Tensor]:
    node.takes(3, 5)
    given, starts, ends = node.tensor(0), _ints(node, 1), _ints(node, 2)
    if not given.rows:
        raise NotRowWise("it takes parts of a constant; export the model with constants folded")
    axes = _ints(node, 3) if node.optional(3) is not None else tuple(range(len(starts)))
    steps = _ints(node, 4) if node.optional(4) is not None else (1,) * len(starts)
    places = [axis_of(axis, given.rank) - 1 for axis in axes]
    if len(set(places)) < len(places) or not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise NotRowWise("its starts, ends, axes and steps do not fit")
    shape = list(given.shape)
    for place, start, end, step in zip(places, starts, ends, steps, strict=True):
        if step < 1:
            raise NotRowWise("it goes backwards, which is not known here")
        shape[place] = len(range(*slice(start, end, step).indices(shape[place])))
    node.work += math.prod(shape)
    return [Tensor(given.kind, tuple(shape), rows=True)]


def _squeeze(node: Node) -> list[Tensor]:
    given, axes = node.tensor(0), _axes(node)
    if axes is None or not given.rows:
        raise NotRowWise("it has to name its axes, of a tensor of rows")
    places = {axis_of(axis, given.rank) - 1 for axis in axes}
    if any(given.shape[place] != 1 for place in places):
        raise NotRowWise("it takes away an axis that is longer than 1")
    return [Tensor(given.kind, tuple(size for at, size in enumerate(given.shape) if at not in places), rows=True)]


def _unsqueeze(node: Node) -> list[Tensor]:
    given, axes = node.tensor(0), _axes(node)
    if axes is None or not given.rows:
        raise NotRowWise("it has to name its axes, of a tensor of rows")
    rank = given.rank + len(axes)
    places = {axis_of(axis, rank) - 1 for axis in axes}
    if len(places) < len(axes):
        raise NotRowWise("it names an axis twice")
    sizes = iter(given.shape)
    return [Tensor(given.kind, tuple(1 if at in places else next(sizes) for at in range(rank - 1)), rows=True)]


def _reshape(node: Node) -> list[Tensor]:
    """As long as axis 0 stays the batch: the first size is 0 (as it is), or -1 with all others given."""
    node.takes(2, 2)
    given, (first, *others) = node.tensor(0), _ints(node, 1) or (1,)
    if not given.rows:
        raise NotRowWise("it reshapes a constant; export the model with constants folded")
    if node.integer("allowzero", 0):
        raise NotRowWise("it may make a tensor without rows (allowzero)")
    sizes = [given.shape[at] if size == 0 and at < len(given.shape) else size for at, size in enumerate(others)]
    if first == 0 and sizes.count(-1) == 1:
        known = -math.prod(sizes)
        sizes[sizes.index(-1)] = given.size // known if known > 0 else 0
    if first not in (0, -1) or any(size < 1 for size in sizes) or math.prod(sizes) != given.size:
        raise NotRowWise(f"it makes {[first, *others]} of {given.words()}, in which rows are not what they were")
    return [Tensor(given.kind, tuple(sizes), rows=True)]


def _flatten(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    given = node.tensor(0)
    axis = node.integer("axis", 1)
    if not given.rows or axis not in (1, 1 - given.rank):
        raise NotRowWise("it has to keep the rows apart (axis 1)")
    return [Tensor(given.kind, (given.size,), rows=True)]


def _transpose(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    given, order = node.tensor(0), node.integers("perm")
    if not given.rows or order is None or order[:1] != (0,) or sorted(order) != list(range(given.rank)):
        raise NotRowWise("it moves axis 0, or may: rows would become columns")
    node.work += given.size
    return [Tensor(given.kind, tuple(given.shape[axis - 1] for axis in order[1:]), rows=True)]


def _reduce(node: Node) -> list[Tensor]:
    given, axes = of_kinds(node.tensor(0), FLOATS), _axes(node)
    keep = node.integer("keepdims", 1)
    node.integer("noop_with_empty_axes", 0)
    if not axes or not given.rows:
        raise NotRowWise("it goes over all axes, and so over the rows; it has to name others")
    places = {axis_of(axis, given.rank) - 1 for axis in axes}
    node.work += given.size
    return [Tensor(given.kind, _reduced(given.shape, places, keep=bool(keep)), rows=True)]


def _reduced(shape: tuple[int, ...], places: set[int], *, keep: bool) -> tuple[int, ...]:
    if any(shape[place] < 1 for place in places):
        raise NotRowWise("it goes over an axis that has nothing")
    return tuple(1 if at in places else size for at, size in enumerate(shape) if keep or at not in places)


def _arg(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    given = of_kinds(node.tensor(0), NUMBERS)
    keep = node.integer("keepdims", 1)
    node.integer("select_last_index", 0)
    if not given.rows:
        raise NotRowWise("it needs rows")
    place = axis_of(node.integer("axis", 0), given.rank) - 1
    node.work += given.size
    return [Tensor(INT64, _reduced(given.shape, {place}, keep=bool(keep)), rows=True)]


def _constant(max_size: int) -> Callable[[Node], list[Tensor]]:
    def rule(node: Node) -> list[Tensor]:
        node.takes(0, 0)
        value = node.value("value")
        if value is None:
            raise NotRowWise("its value has to be a tensor; export the model again with another tool")
        return [constant_of(value, max_size)]

    return rule


def _axes(node: Node) -> tuple[int, ...] | None:
    """An attribute in older operator sets, an input in newer ones."""
    node.takes(1, 2)
    given = node.integers("axes")
    if node.optional(1) is None:
        return given
    if given is not None:
        raise NotRowWise("it names its axes twice")
    return _ints(node, 1)


def _ints(node: Node, place: int) -> tuple[int, ...]:
    found = node.constant(place)
    if found.ints is None or found.rank > 1:
        raise NotRowWise(f"its input {place + 1} has to be a list of whole numbers that are written down")
    return found.ints


def rules(max_size: int) -> dict[str, Rule]:
    """Of operators by name; constants have `max_size` numbers at most."""
    names = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
    return {
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Concat": _concat,
        "Gather": _gather,
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Transpose": _transpose,
        **dict.fromkeys((*names, "ReduceSumSquare", "ReduceLogSumExp"), _reduce),
        **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
        "Constant": _constant(max_size),
    }
