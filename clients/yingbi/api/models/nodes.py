"""A node as rules see it: its inputs, and attributes that each have to be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from yingbi.api.models.tensors import NotRowWise, Tensor
from yingbi.api.v1.onnx_pb2 import OnnxAttribute, OnnxTensor

A_FLOAT, AN_INT, A_STRING, A_TENSOR, FLOATS_, INTS, STRINGS = 1, 2, 3, 4, 6, 7, 8
"""ONNX's numbers of attributes' types."""

_FIELDS = {A_FLOAT: "f", AN_INT: "i", A_STRING: "s", A_TENSOR: "t", FLOATS_: "floats", INTS: "ints", STRINGS: "strings"}

T = TypeVar("T")


@dataclass
class Node:
    """One operator's use. A rule has to ask for every attribute that is there, or the node is refused: `finish`.

    Attributes:
        opset: the version of its operator set.
        inputs: None for one that is left out.
        work: about how many operations it takes for one row; rules add to it.
    """

    op: str
    opset: int
    inputs: Sequence[Tensor | None]
    attributes: Mapping[str, OnnxAttribute]
    work: int = 0
    _asked: set[str] = field(default_factory=set)

    def tensor(self, place: int) -> Tensor:
        """The input at this place; raises NotRowWise where there is none."""
        found = self.optional(place)
        if found is None:
            raise NotRowWise(f"its input {place + 1} is missing")
        return found

    def optional(self, place: int) -> Tensor | None:
        """The input at this place, if there is one."""
        return self.inputs[place] if place < len(self.inputs) else None

    def constant(self, place: int) -> Tensor:
        """An input that has to be a constant; raises NotRowWise."""
        found = self.tensor(place)
        if found.rows:
            raise NotRowWise(f"its input {place + 1} is made of rows, and has to be a constant")
        return found

    def takes(self, least: int, most: int) -> None:
        """Refuse (NotRowWise) another number of inputs."""
        if not least <= len(self.inputs) <= most:
            raise NotRowWise(f"it has {len(self.inputs)} inputs")

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        found = self._attribute(name, AN_INT)
        return default if found is None else found.i

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word; raises NotRowWise where it is none."""
        found = self._attribute(name, A_STRING)
        if found is None:
            return default
        try:
            return found.s.decode()
        except UnicodeDecodeError as error:
            raise NotRowWise(f"its attribute {name} is no text") from error

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of whole numbers; None where it is not there."""
        found = self._attribute(name, INTS)
        return None if found is None else tuple(found.ints)

    def texts(self, name: str) -> tuple[bytes, ...] | None:
        """An attribute that is a list of texts; None where it is not there."""
        found = self._attribute(name, STRINGS)
        return None if found is None else tuple(found.strings)

    def floats(self, name: str) -> int | None:
        """How many numbers an attribute has that is a list of them, whatever they are."""
        found = self._attribute(name, FLOATS_)
        return None if found is None else len(found.floats)

    def value(self, name: str) -> OnnxTensor | None:
        """An attribute that is a tensor."""
        found = self._attribute(name, A_TENSOR)
        return None if found is None else found.t

    def numbers(self, *names: str) -> None:
        """Take these attributes, single numbers whose value changes nothing here."""
        for name in names:
            self._attribute(name, A_FLOAT)

    def finish(self) -> None:
        """Refuse (NotRowWise) attributes that no rule has asked for."""
        if unknown := sorted(set(self.attributes) - self._asked):
            raise NotRowWise(f"its attribute {unknown[0]} is not known here")

    def _attribute(self, name: str, kind: int) -> OnnxAttribute | None:
        self._asked.add(name)
        found = self.attributes.get(name)
        if found is not None and found.type != kind:
            raise NotRowWise(f"its attribute {name} is of another type")
        return found


def attributes_of(given: Sequence[OnnxAttribute]) -> dict[str, OnnxAttribute]:
    """Attributes by name.

    Raises:
        NotRowWise: one is there twice, holds a graph, refers to a function, or more than its type says.
    """
    found: dict[str, OnnxAttribute] = {}
    for each in given:
        if each.name in found:
            raise NotRowWise(f"its attribute {each.name} is there twice")
        if each.HasField("g") or each.graphs:
            raise NotRowWise(f"its attribute {each.name} holds a graph, as loops and branches do")
        # An int32 that a graph's attribute may say by itself, whatever is set; so what is set has to be that alone.
        if each.type not in _FIELDS:
            raise NotRowWise(f"its attribute {each.name} is of a type that is not known here")
        allowed = {"name", "type", "doc_string", _FIELDS[each.type]}
        if any(field.name not in allowed for field, _ in each.ListFields()):
            raise NotRowWise(f"its attribute {each.name} holds more than its type says")
        found[each.name] = each
    return found
