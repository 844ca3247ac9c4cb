"""Whether a model's prediction of a row depends on that row alone.

*Claim.* Let a model that `check_model` accepts be run on a batch of a fixed number of rows. Whatever its weights are,
entry i of each tensor of rows, along axis 0, is a function of row i of the inputs, of i, and of constants; so are the
outputs.

*Proof.* By induction over the graph's nodes, in their order, which is topological, as a node may only take what is
there before it. Graph inputs: entry i is row i. Initializers: constants. A node of an operator without a rule is
refused, and each rule admits a node only if entry i of its result is made of entries i of its inputs and of
constants: numbers that are combined one by one, where broadcasting lays batch beside batch (`operators.broadcast`);
products with a constant matrix on the right; sums, maxima, sorted places and normalisations over axes other than 0,
with stored parameters; moving numbers within axes other than 0, by constant places (`shapes`); functions of a row of
features (`classic`). Attributes that no rule asks for are refused, and so are loops, branches, functions and random
numbers, which have no rule. ∎

That "and of i" is needed: kernels treat numbers at a buffer's beginning and end in another way than those in between,
and round otherwise there. `enclave_sim.engine.predictions` deals with it.

*No failure by data.* Rules leave out what fails or stops for some values: division of whole numbers, look-ups by
computed places, categories that have to be known. So a batch fails for all data or for none.

*What is run is what was checked.* The file is parsed with our own words for ONNX's format, and refused where it has a
field that these do not have; what is run is written anew from what was parsed, without names for people, declared
shapes and the rest that the check does not look at. How many numbers a tensor has, and how much work a row is, is
known and bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from yingbi.api.models import classic, operators, shapes
from yingbi.api.models.nodes import Node, attributes_of
from yingbi.api.models.tensors import BOOL, DOUBLE, FLOAT, INT32, INT64, NotRowWise, Tensor, constant_of, rows
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.onnx_pb2 import OnnxGraph, OnnxModel, OnnxNode, OnnxValueInfo

MAX_MODEL_BYTES = 8 << 20
MAX_NODES = 2000
MAX_INPUTS = 256
"""Numbers that a model is given of a row."""

MAX_WIDTH = 256
"""Numbers of the output that is read."""

MAX_CONSTANT = 1 << 22
"""Numbers of a constant, written down or computed."""

MAX_ROW_NUMBERS = 1 << 17
"""Numbers of all tensors together that are made of one row."""

MAX_WORK = 1_000_000
"""Operations for one row, roughly."""

IR_VERSIONS, OPSETS, ML_OPSETS = range(3, 12), range(9, 23), range(1, 4)
ML = "ai.onnx.ml"
_INPUT_KINDS = (FLOAT, DOUBLE, INT64, INT32, BOOL)
_OUTPUT_KINDS = (FLOAT, DOUBLE)
_NOTHING_OF = ("training_info", "functions", "configuration")


@dataclass(frozen=True)
class ModelInput:
    """A graph's input: `width` numbers of ONNX's type `kind`."""

    name: str
    kind: int
    width: int


@dataclass(frozen=True)
class CheckedModel:
    """A model of which a row's outputs depend on that row alone.

    Attributes:
        canonical: what is to be run, written anew.
        inputs: in order.
        outputs: how many numbers each output of numbers has for a row, by name.
        work: operations for one row, roughly.
    """

    canonical: bytes
    inputs: tuple[ModelInput, ...]
    outputs: dict[str, int]
    work: int

    @property
    def width(self) -> int:
        """Numbers that it is given of a row."""
        return sum(each.width for each in self.inputs)


def check_model(file: bytes) -> CheckedModel:
    """What a model is, if its prediction of a row depends on that row alone.

    Raises:
        Problem: REFUSED "model": with the node, its operator and why.
    """
    if len(file) > MAX_MODEL_BYTES:
        raise refused(f"it has {len(file):,} bytes, and {MAX_MODEL_BYTES:,} are the most")
    try:
        model = OnnxModel.FromString(file)
    except (DecodeError, ValueError) as error:
        raise refused("it is no ONNX file", hint="export it with skl2onnx or torch.onnx") from error
    try:
        _check_whole(model)
        return _checked(model)
    except NotRowWise as error:
        raise refused(str(error)) from error


def refused(why: str, hint: str | None = None) -> Problem:
    """The problem with a model."""
    message = f"This model cannot be evaluated: {why}."
    return Problem(Kind.REFUSED, "model", message, field="model", hint=hint)


def _check_whole(model: OnnxModel) -> None:
    for message in _messages(model):
        if len(unknown := UnknownFieldSet(message)):
            name = message.DESCRIPTOR.name.removeprefix("Onnx").lower()
            raise NotRowWise(f"a {name} has a field that is not known here (number {unknown[0].field_number})")
    for part in _NOTHING_OF:
        if getattr(model, part):
            raise NotRowWise(f"it has {part.replace('_', ' ')}")
    if model.ir_version not in IR_VERSIONS:
        raise NotRowWise(f"it is of version {model.ir_version} of the format; {_span(IR_VERSIONS)} can be read")


def _messages(message: Message) -> Iterator[Message]:
    """All messages inside one another; they nest no deeper than the words for them."""
    yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for each in [content] if isinstance(content, Message) else content:
                yield from _messages(each)


def _opsets(model: OnnxModel) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in model.opset_import:
        domain = "" if each.domain == "ai.onnx" else each.domain
        allowed = {"": OPSETS, ML: ML_OPSETS}.get(domain)
        if domain in found or allowed is None:
            raise NotRowWise(f"it uses operators of {domain or 'ONNX'} twice, or of others than ONNX and {ML}")
        if each.version not in allowed:
            what = domain or "ONNX"
            raise NotRowWise(f"it uses version {each.version} of the operators of {what}; {_span(allowed)} can be run")
        found[domain] = each.version
    return found


def _span(versions: range) -> str:
    return f"{versions[0]} to {versions[-1]}"


def _checked(model: OnnxModel) -> CheckedModel:
    graph, opsets = model.graph, _opsets(model)
    if graph.quantization_annotation or graph.sparse_initializer:
        raise NotRowWise("it has quantized or sparse parts")
    if len(graph.node) > MAX_NODES:
        raise NotRowWise(f"it has {len(graph.node):,} nodes, and {MAX_NODES:,} are the most")
    known = _constants(graph)
    inputs = tuple(_input(each) for each in graph.input if each.name not in known)
    for each in inputs:
        _define(known, each.name, rows(each.kind, each.width))
    if not 1 <= sum(each.width for each in inputs) <= MAX_INPUTS:
        raise NotRowWise(f"it takes no number of a row, or more than {MAX_INPUTS}")
    walk = _Walk(known, opsets)
    for number, node in enumerate(graph.node):
        walk.take(node, number)
    return CheckedModel(_canonical(model), inputs, _outputs(graph, known), walk.work)


def _constants(graph: OnnxGraph) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for each in graph.initializer:
        try:
            _define(found, each.name, constant_of(each, MAX_CONSTANT))
        except NotRowWise as error:
            raise NotRowWise(f"the constant {each.name!r}: {error}") from error
    return found


def _define(known: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    if not name or name in known:
        raise NotRowWise(f"the name {name!r} is empty, or there twice")
    known[name] = tensor


def _input(given: OnnxValueInfo) -> ModelInput:
    kind, dims = given.type.tensor_type.elem_type, given.type.tensor_type.shape.dim
    what = f"the input {given.name!r}"
    if not given.type.HasField("tensor_type") or kind not in _INPUT_KINDS:
        raise NotRowWise(f"{what} is of a type that it cannot be given; it takes numbers or bool")
    if len(dims) != 2:
        raise NotRowWise(f"{what} has {len(dims)} axes, not 2: rows and columns")
    if dims[0].HasField("dim_value"):
        raise NotRowWise(f"{what} is for {dims[0].dim_value} rows alone; export it for any number (dynamic axis 0)")
    if not 1 <= dims[1].dim_value <= MAX_INPUTS:
        raise NotRowWise(f"{what} does not say how many columns it has, 1 to {MAX_INPUTS}")
    return ModelInput(given.name, kind, dims[1].dim_value)


class _Walk:
    """Takes node after node, and knows what each makes."""

    def __init__(self, known: dict[str, Tensor], opsets: dict[str, int]) -> None:
        self._known, self._opsets = known, opsets
        self._rules = {"": operators.RULES | shapes.rules(MAX_CONSTANT), ML: classic.RULES}
        self._numbers = 0
        self.work = 0

    def take(self, given: OnnxNode, number: int) -> None:
        """Raises NotRowWise, or Problem where there is a hint."""
        what = f"node {number + 1}{f' ({given.name})' if given.name else ''}, {given.op_type}"
        domain = "" if given.domain == "ai.onnx" else given.domain
        rule = self._rules.get(domain, {}).get(given.op_type)
        if rule is None or domain not in self._opsets:
            self._refuse_operator(what, given, domain)
        try:
            node = Node(given.op_type, self._opsets[domain], self._inputs(given), attributes_of(given.attribute))
            if given.overload or given.device_configurations:
                raise NotRowWise("it is of another form than is known here")
            assert rule is not None
            made = rule(node)
            node.finish()
            self._keep(given, made)
        except NotRowWise as error:
            raise NotRowWise(f"{what}: {error}") from error
        self.work += node.work
        if self.work > MAX_WORK:
            raise NotRowWise(f"up to {what} a row is already more work than {MAX_WORK:,} operations")

    def _refuse_operator(self, what: str, given: OnnxNode, domain: str) -> None:
        why = f"{what}: of this operator it is not known that it keeps rows apart"
        if domain not in self._rules:
            raise refused(f"{what}: it is an operator of one's own", hint="use those of ONNX alone")
        near = nearest(given.op_type, list(self._rules[domain]))
        raise refused(why, hint=classic.HINTS.get(given.op_type) or (f"{near} is known" if near else None))

    def _inputs(self, given: OnnxNode) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for name in given.input:
            if name and name not in self._known:
                raise NotRowWise(f"its input {name!r} is not there before it")
            found.append(self._known[name] if name else None)
        return found

    def _keep(self, given: OnnxNode, made: list[Tensor]) -> None:
        if not 1 <= len(given.output) <= len(made):
            raise NotRowWise(f"it has {len(given.output)} outputs")
        for name, tensor in zip(given.output, made, strict=False):
            self._numbers += tensor.size if tensor.rows else 0
            if tensor.size > MAX_CONSTANT or self._numbers > MAX_ROW_NUMBERS:
                raise NotRowWise(f"what it makes is too large ({tensor.words()})")
            if 0 in tensor.shape:
                raise NotRowWise(f"what it makes is empty ({tensor.words()})")
            if name:
                _define(self._known, name, tensor)


def _outputs(graph: OnnxGraph, known: dict[str, Tensor]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in graph.output:
        tensor = known.get(each.name)
        if tensor is None or not tensor.rows:
            raise NotRowWise(f"the output {each.name!r} is not made of rows")
        if tensor.kind in _OUTPUT_KINDS and tensor.rank <= 2 and tensor.size <= MAX_WIDTH:
            found[each.name] = tensor.size
    if not found:
        raise NotRowWise(f"it has no output of 1 to {MAX_WIDTH} numbers for each row")
    return found


def _canonical(model: OnnxModel) -> bytes:
    """The same, without what was not looked at."""
    made = OnnxModel(ir_version=model.ir_version, opset_import=model.opset_import, graph=model.graph)
    graph = made.graph
    graph.name = "model"
    graph.ClearField("doc_string")
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for node in graph.node:
        for name in ("name", "doc_string", "metadata_props"):
            node.ClearField(name)
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return made.SerializeToString(deterministic=True)
