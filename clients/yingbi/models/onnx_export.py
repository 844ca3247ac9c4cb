"""A fitted model as an ONNX file: for programs that know nothing of Yingbi.

The graph has one input `X` of float32, a row for each case and the columns of the design in the order of the metadata's
`columns` (what `frame_of` makes); it computes in float64. Outputs are named as scikit-learn's converters name them:
`variable` of a number or of components, `label` and `probabilities` of classes, `label` and `scores` (distances) of
centres. Where a variable has no value (NaN), numbers and probabilities are NaN, and the label means nothing.

Operators are those of the standard set, each of which looks at one row at a time, and LabelEncoder of ai.onnx.ml, which
gives a class its name; there are no loops, no functions and no data outside the file. The metadata say which model it
is: kind, formula, columns, classes, and the fingerprint that the training's receipt verifies.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, FitColumn
from yingbi.cells import Cell, to_json
from yingbi.generalized_model import GeneralizedModel
from yingbi.linear_model import LinearModel
from yingbi.models.boosting import BoostedModel
from yingbi.models.clusters import KMeansModel
from yingbi.models.in_rounds import FittedInRounds
from yingbi.models.kinds import Fitted, able
from yingbi.models.naive_bayes import NaiveBayesModel
from yingbi.models.networks import LARGEST_INPUT, NetworkModel
from yingbi.models.principal import PrincipalModel

INPUT, NUMBER, LABEL, PROBABILITIES, SCORES = "X", "variable", "label", "probabilities", "scores"
IR_VERSION, OPSET, ML_OPSET = 8, 17, 3
"""Old enough for every runtime of the last years."""


def write_onnx(model: AnyModel, path: str | Path) -> None:
    """Write a model to a file.

    Raises:
        Problem: UNAVAILABLE "onnx_missing"; REFUSED "no_onnx", for a model without a graph.
    """
    Path(path).write_bytes(onnx_bytes(model))


def write_onnx_of(answer: object, path: str | Path) -> None:
    """The same of an answer that is a model; raises Problem for one that is not."""
    able(answer, "to_onnx")(path)


def onnx_bytes(model: AnyModel) -> bytes:
    """The file's content. Raises Problem as `write_onnx`."""
    onnx = _onnx()
    build = _GRAPHS.get(model.fit.model)
    if build is None:
        message = f"There is no ONNX form of {model.to_json()['model']}."
        raise Problem(Kind.REFUSED, "no_onnx", message, hint="estimator() is the same model in scikit-learn.")
    columns = columns_of(model)
    if not columns:
        raise Problem(Kind.REFUSED, "no_onnx", "A constant alone has no ONNX form.", hint="It is the intercept.")
    graph = Graph(onnx, len(columns))
    build(model, graph)
    made = graph.finished(
        {
            "model": str(model.to_json()["model"]),
            "formula": model.fit.formula,
            "columns": json.dumps([each.name for each in columns]),
            "fingerprint": model.fingerprint,
            **_classes(model),
        }
    )
    return cast("bytes", made.SerializeToString())


def check_installed() -> None:
    """UNAVAILABLE "onnx_missing", where the package is not there: to be asked before anything is spent."""
    _onnx()


def columns_of(model: AnyModel) -> Sequence[FitColumn]:
    """The columns that the graph's input has."""
    return model.fit.columns[:-1] if isinstance(model, _WithResponse) else model.fit.columns


def _classes(model: AnyModel) -> dict[str, str]:
    labels = getattr(model, "labels", None)
    if isinstance(model, GeneralizedModel | NetworkModel | BoostedModel):
        labels = model.classes
    return {} if not labels else {"classes": json.dumps([to_json(each) for each in labels])}


AnyModel = Fitted | FittedInRounds
_WithResponse = LinearModel | GeneralizedModel | NetworkModel | BoostedModel
"""Models whose last column is the response."""


@dataclass
class Graph:
    """A graph as it is put together: every method gives the name of what it computes."""

    onnx: Any
    columns: int
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def rows(self) -> str:
        """The input, in float64."""
        return self.node("Cast", INPUT, to=self.onnx.TensorProto.DOUBLE)

    def node(self, operator: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any) -> str:
        """What an operator makes of its inputs."""
        name = output or f"n{len(self.nodes)}"
        made = self.onnx.helper.make_node(operator, list(inputs), [name], domain=domain, **attributes)
        self.nodes.append(made)
        return name

    def constant(self, values: Sequence[float] | Sequence[Sequence[float]]) -> str:
        """A vector, or a matrix by its rows."""
        name, rows = f"c{len(self.constants)}", [each for each in values if isinstance(each, Sequence)]
        shape = [len(values), len(rows[0])] if rows else [len(values)]
        flat = [float(one) for each in values for one in (each if isinstance(each, Sequence) else [each])]
        self.constants.append(self.onnx.helper.make_tensor(name, self.onnx.TensorProto.DOUBLE, shape, flat))
        return name

    def affine(self, rows: str, weights: Sequence[Sequence[float]], bias: Sequence[float]) -> str:
        """rows · weightsᵀ + bias: of each row of weights a column."""
        return self.node("Gemm", rows, self.constant(weights), self.constant(bias), transB=1)

    def within(self, rows: str, lower: Sequence[float], upper: Sequence[float]) -> str:
        """Rows, each column cut to its bounds."""
        return self.node("Min", self.node("Max", rows, self.constant(lower)), self.constant(upper))

    def give_numbers(self, name: str, width: int) -> None:
        """The output of numbers."""
        self.node("Cast", name, output=NUMBER, to=self.onnx.TensorProto.FLOAT)
        self._output(NUMBER, self.onnx.TensorProto.FLOAT, width)

    def give_classes(self, scores: str, labels: Sequence[Cell]) -> None:
        """The outputs of classes, by a score of each that is the logarithm of its probability but for a constant."""
        types = self.onnx.TensorProto
        place = self.node("ArgMax", scores, axis=1, keepdims=0)
        numbers = all(isinstance(each, int) for each in labels)
        names: dict[str, Any] = (
            {"values_int64s": [int(cast("int", each)) for each in labels]}
            if numbers
            else {"values_strings": [str(to_json(each)) for each in labels]}
        )
        self.node(
            "LabelEncoder", place, domain="ai.onnx.ml", output=LABEL, keys_int64s=list(range(len(labels))), **names
        )
        self._output(LABEL, types.INT64 if numbers else types.STRING)
        probabilities = self.node("Softmax", scores, axis=1)
        self.node("Cast", probabilities, output=PROBABILITIES, to=types.FLOAT)
        self._output(PROBABILITIES, types.FLOAT, len(labels))

    def give_nearest(self, distances: str, width: int) -> None:
        """The outputs of centres."""
        types = self.onnx.TensorProto
        self.node("ArgMin", distances, output=LABEL, axis=1, keepdims=0)
        self._output(LABEL, types.INT64)
        self.node("Cast", distances, output=SCORES, to=types.FLOAT)
        self._output(SCORES, types.FLOAT, width)

    def finished(self, metadata: Mapping[str, str]) -> Any:
        """The model, checked."""
        helper = self.onnx.helper
        rows = helper.make_tensor_value_info(INPUT, self.onnx.TensorProto.FLOAT, [None, self.columns])
        graph = helper.make_graph(self.nodes, "yingbi", [rows], self.outputs, self.constants)
        sets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, producer_name="yingbi", opset_imports=sets, ir_version=IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        self.onnx.checker.check_model(model)
        return model

    def _output(self, name: str, kind: int, *width: int) -> None:
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, kind, [None, *width]))


def _linear(model: LinearModel, graph: Graph) -> None:
    graph.give_numbers(graph.affine(graph.rows(), [model.slopes], [model.intercept]), 1)


def _naive_bayes(model: NaiveBayesModel, graph: Graph) -> None:
    """Scores Σ_j −(x_j − m_cj)²/2v_cj + constant, as one product with x and x².

    Columns are moved and scaled first, as all classes' means and variances suggest, so that squares lose nothing.
    """
    means = [[one.mean.value for one in each.spreads] for each in model.classes]
    variances = [[one.variance.value for one in each.spreads] for each in model.classes]
    middle = [math.fsum(column) / len(column) for column in zip(*means, strict=True)]
    scale = [math.sqrt(max(column)) for column in zip(*variances, strict=True)]
    moved = graph.node("Div", graph.node("Sub", graph.rows(), graph.constant(middle)), graph.constant(scale))
    both = graph.node("Concat", moved, graph.node("Mul", moved, moved), axis=1)
    weights, biases = [], []
    for each, mean, variance in zip(model.classes, means, variances, strict=True):
        m = [(one - centre) / size for one, centre, size in zip(mean, middle, scale, strict=True)]
        v = [one / size**2 for one, size in zip(variance, scale, strict=True)]
        pairs = list(zip(m, v, strict=True))
        weights.append([*(one / spread for one, spread in pairs), *(-0.5 / spread for _, spread in pairs)])
        biases.append(
            math.log(each.share.value) - math.fsum((math.log(spread) + one * one / spread) / 2 for one, spread in pairs)
        )
    graph.give_classes(graph.affine(both, weights, biases), model.labels)


def _principal(model: PrincipalModel, graph: Graph) -> None:
    moved = graph.node("Sub", graph.rows(), graph.constant([each.value for each in model.means]))
    scaled = graph.node("Div", moved, graph.constant(model.scales))
    loadings = [[one.value for one in each.loadings] for each in model.components]
    graph.give_numbers(graph.affine(scaled, loadings, [0.0] * len(loadings)), len(loadings))


def _generalized(model: GeneralizedModel, graph: Graph) -> None:
    size = len(columns_of(model)) + 1
    values = [each.value for each in model.coefficients]
    sets = [values[start : start + size] for start in range(0, len(values), size)]
    # The first class has 0.
    sets = [[0.0] * size, *sets] if model.classes else sets
    predictors = graph.affine(graph.rows(), [each[1:] for each in sets], [each[0] for each in sets])
    if model.classes:
        graph.give_classes(predictors, model.classes)
    else:
        graph.give_numbers(graph.node("Exp", predictors), 1)


def _k_means(model: KMeansModel, graph: Graph) -> None:
    """The nearest centre, and the distances to all: |z|² − 2z·c + |c|² by its parts."""
    columns, centres = model.fit.columns, [each.centre for each in model.state.clusters]
    moved = graph.node("Sub", graph.rows(), graph.constant([each.centre for each in columns]))
    z = graph.node("Div", moved, graph.constant([each.half_range for each in columns]))
    both = graph.node("Concat", z, graph.node("Mul", z, z), axis=1)
    weights = [[*(-2 * each for each in centre), *(1.0 for _ in centre)] for centre in centres]
    squares = graph.affine(both, weights, [math.fsum(each * each for each in centre) for centre in centres])
    graph.give_nearest(graph.node("Sqrt", graph.node("Max", squares, graph.constant([0.0]))), len(centres))


def _network(model: NetworkModel, graph: Graph) -> None:
    """Inputs cut to the columns' bounds and scaled, as training has them, and the layers."""
    columns, state = columns_of(model), model.state
    moved = graph.node("Sub", graph.rows(), graph.constant([each.centre for each in columns]))
    z = graph.node("Div", moved, graph.constant([each.half_range for each in columns]))
    inside = graph.within(z, [each.lower for each in columns], [each.upper for each in columns])
    scaled = graph.node("Mul", inside, graph.constant(state.scales[: len(columns)]))
    shifted = graph.node("Add", scaled, graph.constant(state.shifts[: len(columns)]))
    values = graph.within(shifted, [-LARGEST_INPUT] * len(columns), [LARGEST_INPUT] * len(columns))
    *hidden, last = model.layers
    for layer in hidden:
        sums = graph.affine(values, [own[1:] for own in layer], [own[0] for own in layer])
        values = graph.node("Tanh", sums)
    if len(model.classes) == 2:
        # The first class has 0.
        last = [[0.0] * len(last[0]), *last]
    if not model.classes:
        response, (own,) = model.fit.columns[-1], last
        unit = response.half_range / state.scales[-1]
        last = [[response.centre + unit * (own[0] - state.shifts[-1]), *(unit * each for each in own[1:])]]
    scores = graph.affine(values, [own[1:] for own in last], [own[0] for own in last])
    if model.classes:
        graph.give_classes(scores, model.classes)
    else:
        graph.give_numbers(scores, 1)


def _boosting(model: BoostedModel, graph: Graph) -> None:
    """At each edge that a column has passed the score changes by so much; of a category edges are between values."""
    count, numbers = len(columns_of(model)), graph.rows()
    bounded = graph.within(numbers, [-sys.float_info.max] * count, [sys.float_info.max] * count)
    parts, weights, constant = [graph.node("Sub", bounded, bounded)], [1.0] * count, model.constant
    picked, edges = list[list[float]](), list[float]()
    for place, (column, shape) in enumerate(zip(columns_of(model), model.shapes, strict=True)):
        own = [index + 0.5 for index in range(len(column.levels) - 1)] if column.levels else shape.edges
        edges += own
        picked += [[float(other == place) for other in range(count)] for _ in own]
        constant += shape.scores[0]
        weights += [after - before for before, after in itertools.pairwise(shape.scores)]
    if edges:
        above = graph.affine(bounded, picked, [-each for each in edges])
        passed = graph.node("GreaterOrEqual", above, graph.constant([0.0]))
        parts.append(graph.node("Cast", passed, to=graph.onnx.TensorProto.DOUBLE))
    # What is subtracted from itself is 0, or NaN where a variable has no value.
    both = graph.node("Concat", *parts, axis=1)
    if model.classes:
        graph.give_classes(graph.affine(both, [[0.0] * len(weights), weights], [0.0, constant]), model.classes)
    else:
        graph.give_numbers(graph.affine(both, [weights], [constant]), 1)


_GRAPHS: dict[Fit.Model.ValueType, Callable[[Any, Graph], None]] = {
    Fit.MODEL_LINEAR_REGRESSION: _linear,
    Fit.MODEL_GAUSSIAN_NAIVE_BAYES: _naive_bayes,
    Fit.MODEL_PRINCIPAL_COMPONENTS: _principal,
    Fit.MODEL_LOGISTIC_REGRESSION: _generalized,
    Fit.MODEL_POISSON_REGRESSION: _generalized,
    Fit.MODEL_K_MEANS: _k_means,
    Fit.MODEL_NEURAL_NETWORK: _network,
    Fit.MODEL_EXPLAINABLE_BOOSTING: _boosting,
}
"""How the graph of a model of each kind is put together."""


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
    except ImportError as error:
        raise Problem(
            Kind.UNAVAILABLE,
            "onnx_missing",
            "The onnx package is not installed.",
            hint="pip install 'yingbi[learn]'",
        ) from error
    return onnx
