"""How much rows of a class count, where a developer says so: for gateways and clients alike."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import ClassWeights, Fit, Value


class UnknownClass(ValueError):
    """A weight is of a value that is no class; `value` is it."""

    def __init__(self, value: str) -> None:
        super().__init__(f"{value} is none of the classes")
        self.value = value


def declared_weights(classes: Sequence[Value], given: ClassWeights) -> list[float]:
    """Of each class the weight that was said for it, 1 where none was.

    A value that is text also stands for a class of another type that is written so: "1", "true".

    Raises:
        UnknownClass: one is of no class.
    """
    found = [1.0] * len(classes)
    for each in given.weights:
        places = [place for place, value in enumerate(classes) if _is_same(value, each.value)]
        if not places:
            raise UnknownClass(_text(each.value))
        found[places[0]] = each.weight
    return found


def counted_classes(fit: Fit) -> int:
    """How many classes round 0 counts beside the other columns: of two, the response's mean says it already."""
    return len(fit.classes) - 1 if fit.HasField("class_weights") and len(fit.classes) > 2 else 0


def _is_same(value: Value, said: Value) -> bool:
    return bool(_of(value) == _of(said)) or (said.HasField("string_value") and _text(value) == said.string_value)


def _of(value: Value) -> object:
    return getattr(value, value.WhichOneof("kind") or "", None)


def _text(value: Value) -> str:
    own = _of(value)
    return str(own).lower() if isinstance(own, bool) else str(own)
