"""Operators that work number by number, and sums over a row's own axes.

Every rule says what comes out of a node and refuses it (`NotRowWise`) where the entry of a row could depend on
another row. What a rule is about is the batch, axis 0 of each tensor of rows. Broadcasting aligns axes from the last
one; so a tensor of rows meets others only where batch meets batch, and a constant only where it has size 1 there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yingbi.api.models.nodes import Node
from yingbi.api.models.tensors import BOOL, DOUBLE, FLOAT, FLOATS, INT32, INT64, NUMBERS, NotRowWise, Tensor

Rule = Callable[[Node], list[Tensor]]

_EXPENSIVE = 8
"""Operations that a function such as exp counts for."""

_CASTS = (FLOAT, DOUBLE, INT32, INT64, BOOL)


def broadcast(tensors: Sequence[Tensor], kind: int) -> Tensor:
    """What comes of combining tensors number by number; raises NotRowWise where that mixes rows, or does not fit."""
    rank = max(each.rank for each in tensors)
    is_rows = any(each.rows for each in tensors)
    for each in tensors:
        if each.rows and each.rank < rank:
            raise NotRowWise(
                f"{each.words()} meets a tensor of {rank} axes, so that broadcasting would put rows beside other rows"
            )
        if is_rows and not each.rows and each.rank == rank and each.shape[0] != 1:
            raise NotRowWise(f"the constant {each.words()} has something else for every row")
    # From here on without axis 0 where that is the batch: constants of full rank have 1 there.
    own = [each.shape[1:] if is_rows and not each.rows and each.rank == rank else each.shape for each in tensors]
    length = max(map(len, own))
    padded = [(1,) * (length - len(shape)) + shape for shape in own]
    return Tensor(kind, tuple(_one_size(sizes) for sizes in zip(*padded, strict=True)), is_rows)


def _one_size(sizes: Sequence[int]) -> int:
    different = {size for size in sizes if size != 1}
    if len(different) > 1:
        raise NotRowWise(f"sizes {' and '.join(map(str, sorted(different)))} do not go together")
    return different.pop() if different else 1


def axis_of(axis: int, rank: int) -> int:
    """An axis from 0; raises NotRowWise where it is the batch or not there."""
    found = axis + rank if axis < 0 else axis
    if not 0 <= found < rank:
        raise NotRowWise(f"it has no axis {axis}")
    if found == 0:
        raise NotRowWise("it works along axis 0, over the rows")
    return found


def elementwise(*, kinds: Sequence[int], numbers: Sequence[str] = (), work: int = 1) -> Rule:
    """One number in, one of the same type out; `numbers`: attributes."""

    def rule(node: Node) -> list[Tensor]:
        node.takes(1, 1)
        node.numbers(*numbers)
        given = of_kinds(node.tensor(0), kinds)
        node.work += given.size * work
        return [Tensor(given.kind, given.shape, given.rows)]

    return rule


def combining(*, kinds: Sequence[int], least: int = 2, most: int = 2, result: int | None = None) -> Rule:
    """Numbers of one type in, one out, of that type or of `result`."""

    def rule(node: Node) -> list[Tensor]:
        node.takes(least, most)
        given = [of_kinds(node.tensor(place), kinds) for place in range(len(node.inputs))]
        one_kind(given)
        made = broadcast(given, given[0].kind if result is None else result)
        node.work += made.size * len(given)
        return [made]

    return rule


def of_kinds(tensor: Tensor, kinds: Sequence[int]) -> Tensor:
    """The tensor, if it is of one of these types; raises NotRowWise."""
    if tensor.kind not in kinds:
        raise NotRowWise(f"{tensor.words()} is of a type that it may not have here")
    return tensor


def one_kind(tensors: Sequence[Tensor]) -> None:
    """Refuse (NotRowWise) tensors of different types."""
    if len({each.kind for each in tensors}) > 1:
        raise NotRowWise(f"{' and '.join(each.words() for each in tensors)} are of different types")


def _pow(node: Node) -> list[Tensor]:
    node.takes(2, 2)
    base, exponent = of_kinds(node.tensor(0), FLOATS), of_kinds(node.tensor(1), NUMBERS)
    made = broadcast([base, exponent], base.kind)
    node.work += made.size * _EXPENSIVE
    return [made]


def _where(node: Node) -> list[Tensor]:
    node.takes(3, 3)
    condition, *choices = (node.tensor(place) for place in range(3))
    of_kinds(condition, (BOOL,))
    one_kind(choices)
    made = broadcast([condition, *choices], of_kinds(choices[0], _CASTS).kind)
    node.work += made.size
    return [made]


def _clip(node: Node) -> list[Tensor]:
    node.takes(1, 3)
    node.numbers("min", "max")
    given = of_kinds(node.tensor(0), FLOATS)
    for place in (1, 2):
        bound = node.optional(place)
        if bound is not None and (bound.rows or bound.size != 1 or bound.kind != given.kind):
            raise NotRowWise("its bounds have to be single constants of the same type")
    node.work += given.size
    return [given]


def _cast(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    kind, given = node.integer("to", 0), of_kinds(node.tensor(0), _CASTS)
    node.integer("saturate", 1)
    if kind not in _CASTS:
        raise NotRowWise(f"it makes a type (ONNX number {kind}) that may not be used")
    node.work += given.size
    return [Tensor(kind, given.shape, given.rows)]


def _identity(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    return [node.tensor(0)]


def _dropout(node: Node) -> list[Tensor]:
    node.takes(1, 3)
    node.numbers("ratio")
    node.integer("seed", 0)
    given = of_kinds(node.tensor(0), FLOATS)
    if node.optional(2) is not None:
        raise NotRowWise("it is in training mode, or may be; export the model for inference")
    if node.optional(1) is not None:
        node.constant(1)
    return [given, Tensor(BOOL, given.shape, given.rows)]


def _softmax(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    given = of_kinds(node.tensor(0), FLOATS)
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    if given.rows:
        axis_of(axis, given.rank)
    node.work += given.size * _EXPENSIVE
    return [Tensor(given.kind, given.shape, given.rows)]


def _batch_normalization(node: Node) -> list[Tensor]:
    """With the stored mean and variance: in training mode those are of the batch."""
    node.takes(5, 5)
    node.numbers("epsilon", "momentum")
    if node.integer("training_mode", 0) or node.integer("spatial", 1) != 1:
        raise NotRowWise("it is in training mode, in which it mixes rows; export the model for inference")
    given = of_kinds(node.tensor(0), FLOATS)
    if not given.rows or given.rank < 2:
        raise NotRowWise("it needs rows with at least one axis")
    for place in range(1, 5):
        if node.constant(place).shape != given.shape[:1] or node.constant(place).kind != given.kind:
            raise NotRowWise("its parameters do not fit its input")
    node.work += given.size * 2
    return [given]


def _layer_normalization(node: Node) -> list[Tensor]:
    node.takes(2, 3)
    node.numbers("epsilon")
    node.integer("stash_type", 1)
    given = of_kinds(node.tensor(0), FLOATS)
    if not given.rows:
        raise NotRowWise("it needs rows")
    axis = axis_of(node.integer("axis", -1), given.rank)
    for place in (1, 2):
        if node.optional(place) is not None and node.constant(place).shape != given.shape[axis - 1 :]:
            raise NotRowWise("its parameters do not fit its input")
    node.work += given.size * _EXPENSIVE
    return [given]


def _gelu(node: Node) -> list[Tensor]:
    node.text("approximate", "none")
    return elementwise(kinds=FLOATS, work=_EXPENSIVE)(node)


_PLAIN = elementwise(kinds=FLOATS)
_FUNCTION = elementwise(kinds=FLOATS, work=_EXPENSIVE)
_COMPARISON = combining(kinds=NUMBERS, result=BOOL)
_LOGIC = combining(kinds=(BOOL,), result=BOOL)
_MANY = combining(kinds=FLOATS, least=1, most=64)

RULES: dict[str, Rule] = {
    **dict.fromkeys(("Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Relu", "HardSwish"), _PLAIN),
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Sin", "Cos"), _FUNCTION),
    **dict.fromkeys(("LeakyRelu", "ThresholdedRelu"), elementwise(kinds=FLOATS, numbers=("alpha",))),
    **dict.fromkeys(("Elu", "Celu"), elementwise(kinds=FLOATS, numbers=("alpha",), work=_EXPENSIVE)),
    "Selu": elementwise(kinds=FLOATS, numbers=("alpha", "gamma"), work=_EXPENSIVE),
    "HardSigmoid": elementwise(kinds=FLOATS, numbers=("alpha", "beta")),
    "Gelu": _gelu,
    "Not": elementwise(kinds=(BOOL,)),
    **dict.fromkeys(("Add", "Sub", "Mul"), combining(kinds=NUMBERS)),
    # Not of whole numbers: some processors stop at x / 0.
    **dict.fromkeys(("Div", "PRelu"), combining(kinds=FLOATS)),
    "Pow": _pow,
    **dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"), _COMPARISON),
    **dict.fromkeys(("And", "Or", "Xor"), _LOGIC),
    **dict.fromkeys(("Max", "Min", "Sum", "Mean"), _MANY),
    "Where": _where,
    "Clip": _clip,
    "Cast": _cast,
    "Identity": _identity,
    "Dropout": _dropout,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
}
