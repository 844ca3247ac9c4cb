"""Models that would make one person's prediction depend on another's, or harm who runs them: refused, and why."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from yingbi.api.models import check
from yingbi.api.models.check import check_model
from yingbi.api.problem import Problem
from yingbi.api.v1 import onnx_pb2
from yingbi.api.v1.plan_pb2 import Model

from enclave_sim.engine.predictions import BATCH_ROWS, LIGHT_BATCH_ROWS, predictions
from enclave_sim.models import open_model
from tests.evaluated import plainly, running
from tests.onnx_models import FLOAT, forest, linear, logistic, model, node, softmax, weights

INTS = np.int64
ONE = weights("one", [1], INTS)


def why(file: bytes) -> str:
    """What a model is refused for."""
    with pytest.raises(Problem) as caught:
        check_model(file)
    assert caught.value.code == "model"
    return caught.value.message


def axes(*values: int) -> Any:
    return weights("axes", list(values), INTS)


def ints(name: str, *values: int) -> Any:
    return weights(name, list(values), INTS)


def subgraph(output: str = "out") -> Any:
    identity = node("Identity", ["x"], [output])
    return helper.make_graph([identity], "inner", [], [helper.make_tensor_value_info(output, FLOAT, None)])


# Each would put something of other rows into a row; onnxruntime runs most of them without a word.
MIXING: dict[str, tuple[Sequence[Any], Sequence[Any], str]] = {
    "mean over rows": ([node("ReduceMean", ["x"], ["y"], axes=[0])], [], "over the rows"),
    "mean over everything": ([node("ReduceMean", ["x"], ["y"])], [], "over all axes"),
    "sum over axes by input": ([node("ReduceSum", ["x", "axes"], ["y"])], [axes(0)], "over the rows"),
    "sum over an axis from the end": ([node("ReduceSum", ["x", "axes"], ["y"])], [axes(-2)], "over the rows"),
    "sum over axes nobody knows": ([node("ReduceSum", ["x", "x"], ["y"])], [], "constant"),
    "sum over no axes": ([node("ReduceSum", ["x", "axes"], ["y"])], [axes()], "over all axes"),
    "softmax over rows": ([node("Softmax", ["x"], ["y"], axis=0)], [], "axis 0"),
    "largest of rows": ([node("ArgMax", ["x"], ["y"])], [], "axis 0"),
    "transposed": ([node("Transpose", ["x"], ["y"])], [], "moves axis 0"),
    "transposed by order": ([node("Transpose", ["x"], ["y"], perm=[1, 0])], [], "moves axis 0"),
    "reshaped to one row": ([node("Reshape", ["x", "s"], ["y"])], [ints("s", 1, -1)], "rows are not what they were"),
    "reshaped to other rows": ([node("Reshape", ["x", "s"], ["y"])], [ints("s", -1, 1)], "rows are not what they were"),
    "reshaped flat": ([node("Reshape", ["x", "s"], ["y"])], [ints("s", -1)], "rows are not what they were"),
    "reshaped to a count": ([node("Reshape", ["x", "s"], ["y"])], [ints("s", 256, 3)], "rows are not what they were"),
    "flattened": ([node("Flatten", ["x"], ["y"], axis=0)], [], "rows apart"),
    "a row by its number": ([node("Gather", ["x", "i"], ["y"], axis=0)], [ints("i", 0)], "over the rows"),
    "a slice of rows": (
        [node("Slice", ["x", "a", "b"], ["y"])],
        [ints("a", 0), ints("b", 1)],
        "over the rows",
    ),
    "rows backwards": (
        [node("Slice", ["x", "a", "b", "axes", "c"], ["y"])],
        [ints("a", -1), ints("b", -999), axes(0), ints("c", -1)],
        "over the rows",
    ),
    "rows times rows": (
        [node("Identity", ["x"], ["z"]), node("MatMul", ["x", "z"], ["y"])],
        [],
        "rows with rows",
    ),
    "a constant times rows": ([node("MatMul", ["w", "x"], ["y"])], [weights("w", np.ones((1, 256)))], "on the left"),
    "columns by Gemm": ([node("Gemm", ["x", "w"], ["y"], transA=1)], [weights("w", np.ones((3, 1)))], "transA"),
    "Gemm of rows": ([node("Gemm", ["x", "x"], ["y"], transB=1)], [], "constant"),
    "Gemm plus rows": ([node("Gemm", ["x", "w", "x"], ["y"])], [weights("w", np.ones((3, 3)))], "constant"),
    "rows laid across": (
        [node("Unsqueeze", ["x", "axes"], ["z"]), node("Sub", ["x", "z"], ["y"])],
        [axes(1)],
        "rows beside other rows",
    ),
    "a new axis before the rows": ([node("Unsqueeze", ["x", "axes"], ["y"])], [axes(0)], "over the rows"),
    "a number for every row": ([node("Add", ["x", "w"], ["y"])], [weights("w", np.ones((256, 3)))], "every row"),
    "rows after rows": ([node("Concat", ["x", "x"], ["y"], axis=0)], [], "over the rows"),
    "running sums": ([node("CumSum", ["x", "i"], ["y"])], [ints("i", 0)], "keeps rows apart"),
    "batch normalisation in training": (
        [node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y", "m", "v"], training_mode=1)],
        [weights("w", [1, 1, 1])],
        "training mode",
    ),
    "dropout in training": (
        [node("Dropout", ["x", "ratio", "on"], ["y"])],
        [weights("ratio", 0.5), weights("on", True, np.bool_)],
        "training mode",
    ),
    "one row of as many numbers": (
        [node("Squeeze", ["c", "axes"], ["z"]), node("Normalizer", ["z"], ["y"], "ai.onnx.ml", norm="L2")],
        [axes(1)],
        "not there before",
    ),
    "the number of rows": ([node("Shape", ["x"], ["y"])], [], "keeps rows apart"),
    "sorted": ([node("TopK", ["x", "one"], ["y", "i"], axis=0)], [ONE], "keeps rows apart"),
    "what is not zero": ([node("NonZero", ["x"], ["y"])], [], "keeps rows apart"),
    "different rows": ([node("Unique", ["x"], ["y"], axis=0)], [], "keeps rows apart"),
    "quantised by the batch": ([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], [], "keeps rows apart"),
    "recurrent over rows": ([node("RNN", ["x", "x", "x"], ["y"])], [], "keeps rows apart"),
    "einsum": ([node("Einsum", ["x"], ["y"], equation="ij->j")], [], "keeps rows apart"),
    "scattered": ([node("ScatterND", ["x", "i", "x"], ["y"])], [ints("i", 0)], "keeps rows apart"),
    "random": ([node("RandomNormalLike", ["x"], ["y"])], [], "keeps rows apart"),
    "a loop": ([node("Loop", ["one", "", "x"], ["y"], body=subgraph())], [ONE], "keeps rows apart"),
    "a branch": ([node("If", ["x"], ["y"], then_branch=subgraph())], [], "keeps rows apart"),
    "a scan": ([node("Scan", ["x"], ["y"], body=subgraph(), num_scan_inputs=1)], [], "keeps rows apart"),
    "a graph where none belongs": ([node("Relu", ["x"], ["y"], body=subgraph())], [], "holds a graph"),
    "an operator of one's own": ([node("Mean", ["x"], ["y"], "org.example")], [], "operator of one's own"),
    "an attribute nobody knows": ([node("Relu", ["x"], ["y"], across_rows=1)], [], "across_rows"),
    "an axis by another type": ([node("Softmax", ["x"], ["y"], axis=[1])], [], "another type"),
    "the embedding of a computed place": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Gather", ["w", "i"], ["y"], axis=0)],
        [weights("w", [[1.0], [2.0]])],
        "constant",
    ),
    "whole numbers that divide": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Div", ["i", "i"], ["y"])],
        [],
        "type",
    ),
}  # fmt: skip


@pytest.mark.parametrize("trick", MIXING)
def test_what_mixes_rows_or_fails_for_some_is_refused_with_its_node(trick: str) -> None:
    nodes, constants, reason = MIXING[trick]
    said = why(model(nodes, constants))
    assert reason in said
    assert "node " in said


@pytest.mark.parametrize(
    ("trick", "kept"),
    [
        ("mean over rows", 0),
        ("softmax over rows", 0),
        ("running sums", 1),
        ("rows laid across", 0),
        ("different rows", 0),
        ("rows times rows", 0),
    ],
)
def test_the_runtime_itself_would_tell_a_row_what_another_one_is(trick: str, kept: int) -> None:
    """A control: these are no empty fears."""
    nodes, constants, _ = MIXING[trick]
    loaded = onnx.load_from_string(model(nodes, constants))
    loaded.graph.output[0].type.tensor_type.ClearField("shape")
    rows = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    if trick == "rows times rows":
        rows = np.concatenate([rows, rows[:1]])  # so that it fits
    others = rows.copy()
    others[1 - kept] = [0.0, -5.0, 6.0]
    before, after = (_all(loaded.SerializeToString(), each)[kept] for each in (rows, others))
    assert before.tolist() != after.tolist()


def _all(file: bytes, rows: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows.astype(np.float32)})[0]


def changed(change: Callable[[Any], object], file: bytes | None = None) -> bytes:
    """A good model with one thing changed."""
    loaded = onnx.load_from_string(logistic([1.0, 2.0, 3.0]) if file is None else file)
    change(loaded)
    return bytes(loaded.SerializeToString())


def _external(loaded: Any) -> None:
    tensor = loaded.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"


def _function(loaded: Any) -> None:
    loaded.functions.add(name="Sigmoid", domain="")


def _fixed_rows(loaded: Any) -> None:
    loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _again(loaded: Any) -> None:
    loaded.graph.node.add().CopyFrom(loaded.graph.node[0])


def _huge(loaded: Any) -> None:
    """A shape of 2^60 numbers with nothing behind it."""
    tensor = loaded.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([1 << 30, 1 << 30])


def _negative(loaded: Any) -> None:
    del loaded.graph.initializer[0].dims[:]
    loaded.graph.initializer[0].dims.extend([-3, -1])


def _short(loaded: Any) -> None:
    loaded.graph.initializer[0].raw_data = b"1234"


def _later(loaded: Any) -> None:
    first = loaded.graph.node[0]
    loaded.graph.node.add().CopyFrom(first)
    del loaded.graph.node[0]


def _twice_held(loaded: Any) -> None:
    loaded.graph.initializer[0].float_data.extend([1.0] * 3)


BROKEN: dict[str, tuple[Callable[[Any], object], str]] = {
    "weights in another file": (_external, "another file"),
    "a function": (_function, "functions"),
    "training": (lambda m: m.training_info.add(), "training info"),
    "sparse weights": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "for one row alone": (_fixed_rows, "for 1 rows alone"),
    "a name twice": (_again, "there twice"),
    "nodes in another order": (_later, "not there before"),
    "a huge shape": (_huge, "more than"),
    "a shape below 0": (_negative, "below 0"),
    "too few weights": (_short, "another number of values"),
    "weights in two places": (_twice_held, "another number of values"),
    "an unknown version": (lambda m: setattr(m, "ir_version", 99), "version 99"),
    "unknown operators": (lambda m: setattr(m.opset_import[0], "version", 99), "version 99"),
    "operators of one's own": (lambda m: m.opset_import.add(domain="mine", version=1), "others than"),
    "texts for an input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "numbers or bool",
    ),
    "no output of numbers": (lambda m: setattr(m.graph.output[0], "name", "w"), "not made of rows"),
}


@pytest.mark.parametrize("change", BROKEN)
def test_a_file_that_says_more_or_other_than_it_should_is_refused(change: str) -> None:
    broken, reason = BROKEN[change]
    assert reason in why(changed(broken))


def test_a_computed_constant_cannot_be_huge() -> None:
    nodes = [node("Add", ["a", "b"], ["c"]), node("ReduceSum", ["c", "axes"], ["d"]), node("Add", ["x", "d"], ["y"])]
    constants = [weights("a", np.ones((4096, 1))), weights("b", np.ones((1, 4096))), axes(0)]
    assert "too large" in why(model(nodes, constants))
    wide = [node("MatMul", ["x", "w"], ["y"])]
    assert "too large" in why(model(wide, [weights("w", np.ones((3, 2**18)))]))


def test_work_for_a_row_is_bounded() -> None:
    nodes = [node("MatMul", ["x", "v"], ["a0"])]
    nodes += [node("MatMul", [f"a{n}", "w"], [f"a{n + 1}"]) for n in range(20)] + [node("Identity", ["a20"], ["y"])]
    constants = [weights("v", np.ones((3, 256))), weights("w", np.ones((256, 256)))]
    assert "more work" in why(model(nodes, constants, width=256))


def test_what_is_no_model_is_refused() -> None:
    for garbage in (b"", b"garbage", bytes(1000), b"\x3a\xff\xff\xff\xff\x0f", logistic([1.0])[:-3]):
        assert why(garbage)
    assert "the most" in why(bytes(check.MAX_MODEL_BYTES + 1))
    nested = b"\x3a\x02\x0a\x00" * 5000
    assert why(nested)


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_check_fail_otherwise_than_by_refusing(noise: bytes, start: int, cut: int) -> None:
    file = logistic([1.0, 2.0, 3.0])
    start %= len(file)
    with contextlib.suppress(Problem):
        assert check_model(file[:start] + noise + file[start + cut :]).outputs


def test_a_field_that_nobody_knows_is_refused_wherever_it_is() -> None:
    """A reader that knows it would run something else than was checked."""
    tag = struct.pack("<BB", 0xFA, 0x3E) + b"\x01x"  # field 1007, one byte
    assert "not known here" in why(logistic([1.0]) + tag)
    inside = changed(lambda m: m.graph.node[0].attribute.add(name="alpha", type=1, f=1.0).MergeFromString(tag))
    assert "not known here" in why(inside)


def test_our_words_for_the_format_are_those_of_onnx() -> None:
    theirs: dict[str, Any] = {
        "Model": onnx.ModelProto, "Graph": onnx.GraphProto, "Node": onnx.NodeProto, "Attribute": onnx.AttributeProto,
        "Tensor": onnx.TensorProto, "ValueInfo": onnx.ValueInfoProto, "Type": onnx.TypeProto,
        "TensorType": onnx.TypeProto.Tensor, "Shape": onnx.TensorShapeProto,
        "Dimension": onnx.TensorShapeProto.Dimension, "Entry": onnx.StringStringEntryProto,
        "OperatorSet": onnx.OperatorSetIdProto,
    }  # fmt: skip
    for name, message in theirs.items():
        known = {field.name: field.number for field in message.DESCRIPTOR.fields}
        ours = getattr(onnx_pb2, f"Onnx{name}").DESCRIPTOR.fields
        assert {field.name: field.number for field in ours}.items() <= known.items(), name


def _tree(**other: Any) -> bytes:
    lists: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_featureids": [0, 0, 0], "nodes_values": [0.5, 0.0, 0.0], "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0],
        "target_weights": [1.0, 2.0], "n_targets": 1,
    }  # fmt: skip
    return model([node("TreeEnsembleRegressor", ["x"], ["y"], "ai.onnx.ml", **(lists | other))])


TREES: dict[str, dict[str, Any]] = {
    "a way in a circle": {"nodes_truenodeids": [0, 0, 0]},
    "two ways to one node": {"nodes_truenodeids": [2, 0, 0]},
    "a way out of the list": {"nodes_falsenodeids": [99, 0, 0]},
    "a feature that is not there": {"nodes_featureids": [3, 0, 0]},
    "a feature before the first": {"nodes_featureids": [-1, 0, 0]},
    "a target that is not there": {"target_ids": [0, 1]},
    "a weight for no leaf": {"target_nodeids": [1, 0]},
    "fewer values than nodes": {"nodes_values": [0.5, 0.0]},
    "a root that is not first": {"nodes_nodeids": [1, 0, 2], "nodes_truenodeids": [1, 1, 0]},
    "a mode of its own": {"nodes_modes": ["BRANCH_ALL", "LEAF", "LEAF"]},
    "another aggregate": {"aggregate_function": "ALL"},
}


@pytest.mark.parametrize("lie", TREES)
def test_trees_that_are_none_are_refused(lie: str) -> None:
    assert check_model(_tree()).outputs == {"y": 1}
    assert why(_tree(**TREES[lie]))


# What is accepted keeps rows apart: tried on graphs that are drawn.

_ONE = ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Softplus", "Erf", "Neg", "Sqrt", "Floor", "Identity")
_TWO = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")


@st.composite
def graphs(draw: st.DrawFn) -> bytes:
    """A chain of operators with axes and shapes that may be right or wrong."""
    random, last = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), "x"
    nodes, constants = [], [weights("small", random.normal(size=(1, 3))), weights("plain", random.normal(size=3))]
    for number in range(draw(st.integers(1, 6))):
        name, kind = f"t{number}", draw(st.integers(0, 8))
        axis = draw(st.integers(-2, 1))
        if kind <= 1:
            nodes.append(node(draw(st.sampled_from(_ONE)), [last], [name]))
        elif kind <= 3:
            other = draw(st.sampled_from([last, "x", "small", "plain"]))
            nodes.append(node(draw(st.sampled_from(_TWO)), [last, other], [name]))
        elif kind == 4:
            constants.append(weights(f"w{number}", random.normal(size=(3, 3))))
            nodes.append(node("MatMul", draw(st.permutations([last, f"w{number}"])), [name]))
        elif kind == 5:
            nodes.append(
                node(draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceL2"])), [last], [name], axes=[axis])
            )
        elif kind == 6:
            nodes.append(node("Softmax", [last], [name], axis=axis))
        elif kind == 7:
            nodes.append(node("Concat", [last, "x"], [name], axis=axis))
        else:
            constants.append(ints(f"s{number}", *draw(st.sampled_from([(0, -1), (-1, 3), (1, -1), (0, 3, 1)]))))
            nodes.append(node("Reshape", [last, f"s{number}"], [name]))
        last = name
    return model([*nodes, node("Identity", [last], ["y"])], constants)


@given(graphs(), st.sampled_from([BATCH_ROWS, LIGHT_BATCH_ROWS]))
@settings(max_examples=150, deadline=None)
def test_a_row_of_an_accepted_graph_is_told_the_same_to_the_bit_whatever_the_others_are(
    file: bytes, batch: int
) -> None:
    try:
        checked = check_model(file)
    except Problem:
        return
    (width,) = checked.outputs.values()
    predict = running(checked.canonical, width, [(each.width, each.kind) for each in checked.inputs])
    random = np.random.default_rng(0)
    rows, units = random.normal(size=(40, 3)), np.arange(40)
    key = bytes(32)
    before = predictions(rows, units, predict, width, key, batch)
    others = random.normal(size=(40, 3)) * 1e30
    others[7] = rows[7]
    others[8] = np.nan
    assert predictions(others, units, predict, width, key, batch)[7].tobytes() == before[7].tobytes()
    assert predictions(rows[7:8], units[7:8], predict, width, key, batch).tobytes() == before[7].tobytes()


def test_drawn_graphs_are_accepted_often_enough() -> None:
    accepted = 0

    @given(graphs())
    @settings(max_examples=100, deadline=None, database=None)
    def count(file: bytes) -> None:
        nonlocal accepted
        try:
            check_model(file)
        except Problem:
            return
        accepted += 1

    count()
    assert accepted >= 15


@pytest.mark.parametrize(
    "file",
    [logistic([1.0, -1.0, 0.5]), linear([1.0, 2.0, 3.0]), softmax(np.eye(3).tolist()), forest(5, 3, 3)],
    ids=["logistic", "linear", "softmax", "forest"],
)
def test_what_is_run_says_what_the_file_says(file: bytes) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3))
    assert plainly(check_model(file).canonical, rows) == pytest.approx(plainly(file, rows))


# In the sandbox.


def _plan_model(file: bytes, output: str = "y") -> Model:
    checked = check_model(file)
    inputs = [f"x{place}" for place in range(checked.width)]
    return Model(
        sha256=hashlib.sha256(file).digest(), inputs=inputs, output=output, width=checked.outputs[output],
        reading=Model.READING_NUMBER,
    )  # fmt: skip


def test_a_model_runs_in_the_sandbox_and_one_that_cannot_is_refused_before_a_row_is_read() -> None:
    file = logistic([1.0, -1.0, 0.5])
    rows = np.random.default_rng(2).normal(size=(3, LIGHT_BATCH_ROWS, 3))
    with open_model(_plan_model(file), check_model(file)) as predict:
        said = predict(rows)
        assert said is not None
        assert said.reshape(-1, 1) == pytest.approx(plainly(file, rows.reshape(-1, 3)), abs=1e-6)
    # Shapes that our check takes and the runtime does not: a kernel that is missing for float64.
    twice = model(
        [
            node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
            node("HardSwish", ["d"], ["h"]),
            node("Cast", ["h"], ["y"], to=FLOAT),
        ],
        width=3,
    )
    checked = check_model(twice)
    with pytest.raises(Problem) as caught, open_model(_plan_model(twice), checked):
        pytest.fail("it ran")
    assert "fails on a batch of zeros" in caught.value.message


def test_the_largest_model_that_is_accepted_has_the_memory_that_it_needs_for_a_batch() -> None:
    """All numbers of a row in one tensor, as float64."""
    width = check.MAX_ROW_NUMBERS - 100
    nodes = [
        node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        node("MatMul", ["d", "w"], ["z"]),
        node("ReduceSum", ["z", "one"], ["s"], keepdims=1),
        node("Cast", ["s"], ["y"], to=FLOAT),
    ]
    file = model(nodes, [weights("w", np.ones((1, width)), np.float64), ONE], columns=1)
    with open_model(_plan_model(file), check_model(file)) as predict:
        said = predict(np.ones((1, BATCH_ROWS, 1)))
        assert said is not None
        assert (said == width).all()
