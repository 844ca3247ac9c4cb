"""ONNX files for tests, written down node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def weights(name: str, values: Any, kind: Any = np.float32) -> Any:
    """A constant."""
    return numpy_helper.from_array(np.asarray(values, kind), name)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> Any:
    """One operator's use."""
    return helper.make_node(op, list(inputs), list(outputs), domain=domain, **attributes)


def model(
    nodes: Sequence[Any],
    constants: Sequence[Any] = (),
    *,
    columns: int = 3,
    output: str = "y",
    width: int = 1,
    rows: Any = None,
    opset: int = 17,
) -> bytes:
    """A file with one input `x` of so many columns."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", FLOAT, [rows, columns])],
        [helper.make_tensor_value_info(output, FLOAT, [rows, width])],
        list(constants),
    )
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


def logistic(coefficients: Sequence[float], intercept: float = 0.0) -> bytes:
    """1 / (1 + exp(-(x·w + b)))."""
    nodes = [node("Gemm", ["x", "w", "b"], ["z"]), node("Sigmoid", ["z"], ["y"])]
    constants = [weights("w", [[each] for each in coefficients]), weights("b", [intercept])]
    return model(nodes, constants, columns=len(coefficients))


def linear(coefficients: Sequence[float], intercept: float = 0.0) -> bytes:
    """x·w + b."""
    constants = [weights("w", [[each] for each in coefficients]), weights("b", [intercept])]
    return model([node("Gemm", ["x", "w", "b"], ["y"])], constants, columns=len(coefficients))


def softmax(coefficients: Sequence[Sequence[float]]) -> bytes:
    """softmax(x·w), a column of w for each class."""
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Softmax", ["z"], ["y"], axis=1)]
    constants = [weights("w", coefficients)]
    return model(nodes, constants, columns=len(coefficients), width=len(coefficients[0]))


def forest(trees: int, depth: int, features: int, seed: int = 0) -> bytes:
    """A sum of random full trees, as boosted regressors are exported."""
    random = np.random.default_rng(seed)
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
    for tree in range(trees):
        inner = 2**depth - 1
        for number in range(2 ** (depth + 1) - 1):
            is_leaf = number >= inner
            lists["nodes_treeids"].append(tree)
            lists["nodes_nodeids"].append(number)
            lists["nodes_modes"].append("LEAF" if is_leaf else "BRANCH_LEQ")
            lists["nodes_featureids"].append(0 if is_leaf else int(random.integers(features)))
            lists["nodes_values"].append(0.0 if is_leaf else float(random.normal()))
            lists["nodes_truenodeids"].append(0 if is_leaf else 2 * number + 1)
            lists["nodes_falsenodeids"].append(0 if is_leaf else 2 * number + 2)
            if is_leaf:
                lists["target_treeids"].append(tree)
                lists["target_nodeids"].append(number)
                lists["target_ids"].append(0)
                lists["target_weights"].append(float(random.normal()))
    nodes = [node("TreeEnsembleRegressor", ["x"], ["y"], "ai.onnx.ml", n_targets=1, **lists)]
    return model(nodes, columns=features)


_LISTS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_modes",
    "nodes_featureids",
    "nodes_values",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "target_treeids",
    "target_nodeids",
    "target_ids",
    "target_weights",
)
