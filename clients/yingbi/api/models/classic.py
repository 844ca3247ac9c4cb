"""The operators of `ai.onnx.ml`: what scikit-learn's models are exported to. See `operators`.

Trees are walked here once, so that no walk of a row is endless or leaves what is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.models.nodes import Node
from yingbi.api.models.operators import Rule, of_kinds
from yingbi.api.models.tensors import DOUBLE, FLOAT, FLOATS, INT64, NUMBERS, STRING, NotRowWise, Tensor, rows

MAX_DEPTH = 128
"""Of a tree."""

_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
_MODES = (b"LEAF", b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ")
_KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def _features(node: Node, kinds: Sequence[int] = NUMBERS) -> Tensor:
    """Rows of numbers: a tensor of rank 1 would be one row of as many numbers as there are rows."""
    node.takes(1, 1)
    given = of_kinds(node.tensor(0), kinds)
    if not given.rows or given.rank != 2:
        raise NotRowWise(f"it needs rows of numbers, not {given.words()}")
    return given


def _labels(node: Node) -> tuple[int, int]:
    """The type of the classes' names, and how many there are."""
    whole, texts = node.integers("classlabels_ints"), node.texts("classlabels_strings")
    other_whole, other_texts = node.integers("classlabels_int64s"), None
    given = [each for each in (whole, texts, other_whole, other_texts) if each]
    if len(given) != 1:
        raise NotRowWise("it has to name its classes once")
    return (STRING if given[0] is texts else INT64), len(given[0])


def _transform(node: Node) -> None:
    if node.text("post_transform", "NONE") not in _TRANSFORMS:
        raise NotRowWise(f"its post_transform is none of {', '.join(_TRANSFORMS)}")


def _linear_classifier(node: Node) -> list[Tensor]:
    given = _features(node)
    kind, classes = _labels(node)
    _transform(node)
    node.integer("multi_class", 0)
    coefficients, intercepts = node.floats("coefficients") or 0, node.floats("intercepts") or 0
    targets = 1 if classes == 2 and coefficients == given.size else classes
    if coefficients != targets * given.size or intercepts not in (0, targets) or classes < 2:
        raise NotRowWise("its coefficients do not fit its classes and its input")
    node.work += coefficients
    return [rows(kind), rows(FLOAT, classes)]


def _linear_regressor(node: Node) -> list[Tensor]:
    given = _features(node, (FLOAT,))
    _transform(node)
    targets = node.integer("targets", 1)
    coefficients, intercepts = node.floats("coefficients") or 0, node.floats("intercepts") or 0
    if targets < 1 or coefficients != targets * given.size or intercepts not in (0, targets):
        raise NotRowWise("its coefficients do not fit its targets and its input")
    node.work += coefficients
    return [rows(FLOAT, targets)]


def _scaler(node: Node) -> list[Tensor]:
    given = _features(node)
    if any(node.floats(name) not in (1, given.size) for name in ("offset", "scale")):
        raise NotRowWise("its offset and scale do not fit its input")
    node.work += given.size
    return [rows(FLOAT, given.size)]


def _normalizer(node: Node) -> list[Tensor]:
    given = _features(node)
    if node.text("norm", "MAX") not in ("MAX", "L1", "L2"):
        raise NotRowWise("its norm is none of MAX, L1, L2")
    node.work += given.size * 2
    return [rows(FLOAT, given.size)]


def _imputer(node: Node) -> list[Tensor]:
    given = _features(node, (FLOAT, INT64))
    node.numbers("replaced_value_float")
    node.integer("replaced_value_int64", 0)
    imputed = node.floats("imputed_value_floats") or len(node.integers("imputed_value_int64s") or ())
    if imputed not in (1, given.size):
        raise NotRowWise("its values do not fit its input")
    node.work += given.size
    return [given]


def _binarizer(node: Node) -> list[Tensor]:
    node.numbers("threshold")
    given = _features(node, FLOATS)
    node.work += given.size
    return [given]


def _one_hot(node: Node) -> list[Tensor]:
    node.takes(1, 1)
    given, categories = of_kinds(node.tensor(0), NUMBERS), node.integers("cats_int64s")
    if not given.rows or not categories:
        raise NotRowWise("it needs rows of numbers, and categories that are whole numbers")
    if not node.integer("zeros", 1):
        raise NotRowWise("it fails for what is no category (zeros = 0); set it to 1")
    made = rows(FLOAT, *given.shape, len(categories))
    node.work += made.size
    return [made]


def _svm_regressor(node: Node) -> list[Tensor]:
    given = _features(node, (FLOAT,))
    _transform(node)
    vectors = node.integer("n_supports", 0)
    node.integer("one_class", 0)
    node.floats("kernel_params")
    fits = node.floats("support_vectors") == vectors * given.size and node.floats("coefficients") == vectors
    if node.text("kernel_type", "LINEAR") not in _KERNELS or vectors < 1 or not fits or node.floats("rho") != 1:
        raise NotRowWise("its support vectors, coefficients or kernel do not fit")
    node.work += vectors * (given.size + 8)
    return [rows(FLOAT, 1)]


def _tree_regressor(node: Node) -> list[Tensor]:
    given, targets = _features(node), node.integer("n_targets", 0)
    if node.text("aggregate_function", "SUM") not in ("SUM", "AVERAGE", "MIN", "MAX"):
        raise NotRowWise("its aggregate_function is not known here")
    _forest(node, given.size, "target", targets)
    return [rows(FLOAT, targets)]


def _tree_classifier(node: Node) -> list[Tensor]:
    given = _features(node)
    kind, classes = _labels(node)
    _forest(node, given.size, "class", classes)
    return [rows(kind), rows(FLOAT, classes)]


def _forest(node: Node, features: int, of: str, targets: int) -> None:
    """Refuse (NotRowWise) trees with what is not there: features, nodes, targets; or with a way that never ends."""
    _transform(node)
    trees, ids = node.integers("nodes_treeids") or (), node.integers("nodes_nodeids") or ()
    modes, tested = node.texts("nodes_modes") or (), node.integers("nodes_featureids") or ()
    true, false = node.integers("nodes_truenodeids") or (), node.integers("nodes_falsenodeids") or ()
    values = _listed(node, "nodes_values")
    hit, missing = node.floats("nodes_hitrates"), node.integers("nodes_missing_value_tracks_true")
    node.value("nodes_hitrates_as_tensor")
    count = len(ids)
    same = {len(trees), len(modes), len(tested), len(true), len(false), values}
    if same != {count} or hit not in (None, 0, count) or (missing is not None and len(missing) not in (0, count)):
        raise NotRowWise("its lists of nodes are of different lengths")
    nodes = {pair: at for at, pair in enumerate(zip(trees, ids, strict=True))}
    if len(nodes) < count or not nodes or any(mode not in _MODES for mode in modes):
        raise NotRowWise("it has a node twice, no node, or one of a mode that is not known here")
    if any(mode != b"LEAF" and not 0 <= feature < features for mode, feature in zip(modes, tested, strict=True)):
        raise NotRowWise(f"a tree looks at a feature that is not among the {features} of its input")
    ways: list[list[int]] = [[] for _ in range(count)]
    for at, (tree, mode) in enumerate(zip(trees, modes, strict=True)):
        if mode != b"LEAF":
            if (tree, true[at]) not in nodes or (tree, false[at]) not in nodes:
                raise NotRowWise("a branch of a tree leads to a node that is not there")
            ways[at] = [nodes[tree, true[at]], nodes[tree, false[at]]]
    _check_targets(node, of, targets, {pair for pair, at in nodes.items() if modes[at] == b"LEAF"})
    node.work += sum(_depths(ways, trees).values()) * 4


def _check_targets(node: Node, of: str, targets: int, leaves: set[tuple[int, int]]) -> None:
    trees, ids = node.integers(f"{of}_treeids") or (), node.integers(f"{of}_nodeids") or ()
    numbers, weights = node.integers(f"{of}_ids") or (), _listed(node, f"{of}_weights")
    base = _listed(node, "base_values")
    if not len(trees) == len(ids) == len(numbers) == weights or base not in (0, 1, targets) or targets < 1:
        raise NotRowWise("its lists of leaves, weights or base values are of different lengths")
    if any(not 0 <= number < targets for number in numbers):
        raise NotRowWise(f"a leaf is for a target that is not among the {targets}")
    if any(pair not in leaves for pair in zip(trees, ids, strict=True)):
        raise NotRowWise("a weight is for a leaf that is not there")


def _depths(ways: Sequence[Sequence[int]], trees: Sequence[int]) -> dict[int, int]:
    """The depth of each tree; raises NotRowWise where nodes have several parents, no root, or lie too deep."""
    parents = [0] * len(ways)
    for way in ways:
        for child in way:
            parents[child] += 1
    roots = [at for at, count in enumerate(parents) if count == 0]
    if max(parents) > 1 or len(roots) != len(set(trees)) or len({trees[root] for root in roots}) != len(roots):
        raise NotRowWise("its trees are none: a way leads in a circle, or two lead to one node")
    starts = [at for at in range(len(trees)) if at == 0 or trees[at] != trees[at - 1]]
    if starts != roots:
        # Whoever runs it takes a node for a root where the number of the tree changes.
        raise NotRowWise("the nodes of a tree are not listed together, or its first one is not its root")
    depths, level, depth, seen = dict.fromkeys(trees, 0), roots, 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > MAX_DEPTH:
            raise NotRowWise(f"a tree is deeper than {MAX_DEPTH}")
        depths |= {trees[at]: depth for at in level}
        level = [child for at in level for child in ways[at]]
    if seen < len(ways):
        raise NotRowWise("its trees are none: a way leads in a circle")
    return depths


def _listed(node: Node, name: str) -> int:
    """How many numbers a list has that may be a list or a tensor."""
    given, tensor = node.floats(name), node.value(f"{name}_as_tensor")
    if tensor is None:
        return given or 0
    if given or tensor.data_type not in (FLOAT, DOUBLE) or tensor.external_data or tensor.data_location:
        raise NotRowWise(f"its {name} are given twice, or elsewhere, or are no numbers")
    size = 4 if tensor.data_type == FLOAT else 8
    held = [len(tensor.float_data), len(tensor.double_data), len(tensor.raw_data) // size]
    if len(tensor.dims) != 1 or tensor.dims[0] != sum(held) or sum(map(bool, held)) > 1:
        raise NotRowWise(f"its {name} do not have the shape that they say")
    return sum(held)


def _label_encoder(node: Node) -> list[Tensor]:
    """Names of classes for their places: each number by itself; what is no key gets the default."""
    node.takes(1, 1)
    given, keys = of_kinds(node.tensor(0), (INT64,)), node.integers("keys_int64s")
    values = {
        STRING: len(node.texts("values_strings") or ()),
        INT64: len(node.integers("values_int64s") or ()),
        FLOAT: node.floats("values_floats") or 0,
    }
    kinds = [kind for kind, count in values.items() if count]
    node.text("default_string", "")
    node.integer("default_int64", -1)
    node.numbers("default_float")
    if not given.rows:
        raise NotRowWise(f"it needs rows of whole numbers, not {given.words()}")
    if not keys or len(set(keys)) < len(keys) or len(kinds) != 1 or values[kinds[0]] != len(keys):
        raise NotRowWise("it needs different keys, keys_int64s, and a value for each")
    node.work += given.size
    return [rows(kinds[0], *given.shape)]


RULES: dict[str, Rule] = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Scaler": _scaler,
    "Normalizer": _normalizer,
    "Imputer": _imputer,
    "LabelEncoder": _label_encoder,
    "Binarizer": _binarizer,
    "OneHotEncoder": _one_hot,
    "SVMRegressor": _svm_regressor,
    "TreeEnsembleRegressor": _tree_regressor,
    "TreeEnsembleClassifier": _tree_classifier,
}
HINTS = {
    "ZipMap": "convert the model with options={'zipmap': False}",
    "SVMClassifier": "evaluate an SVMRegressor, or another classifier",
    "DictVectorizer": "give the model numbers",
    "StringNormalizer": "give the model numbers",
}
