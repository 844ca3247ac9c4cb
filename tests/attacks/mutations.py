"""Inputs for fuzzing that know the form of what they change: bytes, CBOR, protobuf messages.

Everything is drawn by hypothesis, which makes what it finds small and prints how to see it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LONG = os.environ.get("YINGBI_LONG") == "1"
# Of each target, with --long: together more than ten minutes.
LONG_SECONDS = 100
LONG_TEXT = 100
"""Letters that a text is repeated of."""
AnyMessage = TypeVar("AnyMessage", bound=Message)
Result = TypeVar("Result")
Refusal = TypeVar("Refusal", bound=Exception)


def fuzz(target: Callable[[st.DataObject], None], examples: int, *, long: bool = LONG) -> None:
    """Try a target on so many inputs; in the long form on ever new ones for LONG_SECONDS."""
    quiet = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

    @settings(max_examples=examples, suppress_health_check=quiet, database=None)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        target(data)

    ends = time.monotonic() + LONG_SECONDS
    tried()
    while long and time.monotonic() < ends:
        tried()


def outcome(call: Callable[[], Result], documented: type[Refusal]) -> Result | Refusal:
    """What a call returns, or the documented error that it raises; any other error is a crash."""
    try:
        return call()
    except documented as refused:
        return refused


def altered(data: st.DataObject, original: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes flipped, put in, taken out, repeated, cut off; lengths made huge; the end of another one."""
    changed = bytearray(original)
    ways = ["flip", "insert", "delete", "repeat", "cut", "huge", *(["splice"] if others else [])]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        count = data.draw(st.integers(1, 40))
        match data.draw(st.sampled_from(ways)):
            case "flip" if at < len(changed):
                changed[at] ^= data.draw(st.integers(1, 255))
            case "insert":
                changed[at:at] = data.draw(st.binary(max_size=20))
            case "delete":
                del changed[at : at + count]
            case "repeat":
                changed[at:at] = changed[at : at + count]
            case "cut":
                del changed[at:]
            case "huge":
                changed[at : at + 4] = b"\xff" * 4
            case "splice":
                changed[at:] = data.draw(st.sampled_from(others))[at:]
    return bytes(changed)


# CBOR

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_HEAD_LENGTHS = {1: 24, 2: 25, 4: 26, 8: 27}
numbers = st.sampled_from([-1, 0, 1, 23, 24, 255, 256, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**64)])
cbor_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=8) | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-5, 5), inner, max_size=3),
    max_leaves=5,
)
_HOSTILE = [
    b"",
    b"\xff",
    b"\xf6",
    b"\xf7",
    b"\xe0",
    b"\xf9\x7e\x00",
    b"\xfb" + bytes(8),
    b"\x81" * 5000 + b"\x01",
    b"\xa1\x01" * 200 + b"\x01",
    b"\xd8\x1c\x81\xd8\x1d\x00",  # an array that holds itself
    b"\xd8\x23\x62((",  # a regular expression that is none
    b"\xc2\x58\x40" + b"\xff" * 64,  # a large number
    b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
    b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x62\xff\xfe",  # text that is none
]


def odd_cbor(data: st.DataObject, value: Any) -> bytes:
    """`value`, at one or two places in another form than the deterministic one, or something else there."""
    places = _count(value)
    odd = data.draw(st.sets(st.integers(0, places - 1), min_size=0, max_size=2))
    return _Odd(data, odd).written(value)


def _count(value: Any) -> int:
    match value:
        case list():
            return 1 + sum(map(_count, value))
        case dict():
            return 1 + sum(map(_count, value.values()))
        case _:
            return 1


@dataclass
class _Odd:
    data: st.DataObject
    places: set[int]
    at: int = -1

    def written(self, value: Any) -> bytes:
        self.at += 1
        if self.at not in self.places:
            return self._plain(value)
        ways = ["long head", "other", "hostile", "tag", "indefinite", "swap", "drop", "more", "twice", "order", "alter"]
        match self.data.draw(st.sampled_from(ways)):
            case "long head":
                return self._plain(value, self.data.draw(st.sampled_from(list(_HEAD_LENGTHS))))
            case "other":
                return self._plain(self.data.draw(cbor_values))
            case "hostile":
                return self.data.draw(st.sampled_from(_HOSTILE))
            case "tag":
                return _head(_TAG, self.data.draw(st.integers(0, 300))) + self._plain(value)
            case "indefinite":
                return self._indefinite(value)
            case "alter" if isinstance(value, bytes):
                return self._plain(altered(self.data, value))
            case way if isinstance(value, dict) and len(value) > 1:
                return self._map(value, way)
            case _:
                return self._plain(value, 8)

    def _map(self, value: dict[int, Any], way: str) -> bytes:
        pairs = list(value.items())
        first = self.data.draw(st.integers(0, len(pairs) - 1))
        second = self.data.draw(st.integers(0, len(pairs) - 1))
        match way:
            case "swap":
                (one, its), (another, that) = pairs[first], pairs[second]
                pairs[first], pairs[second] = (one, that), (another, its)
            case "drop":
                del pairs[first]
            case "more":
                pairs.append((self.data.draw(st.integers(-100, 100)), self.data.draw(cbor_values)))
            case "twice":
                pairs.insert(first, pairs[second])
            case _:
                pairs[first], pairs[second] = pairs[second], pairs[first]
        body = b"".join(self._plain(key) + self.written(item) for key, item in pairs)
        return _head(_MAP, len(pairs)) + body

    def _indefinite(self, value: Any) -> bytes:
        match value:
            case bytes():
                return b"\x5f" + self._plain(value) + b"\xff"
            case str():
                return b"\x7f" + self._plain(value) + b"\xff"
            case list():
                return b"\x9f" + b"".join(map(self.written, value)) + b"\xff"
            case dict():
                body = b"".join(self._plain(key) + self.written(item) for key, item in value.items())
                return b"\xbf" + body + b"\xff"
            case _:
                return self._plain(value, 8)

    def _plain(self, value: Any, width: int = 0) -> bytes:
        match value:
            case bool():
                return b"\xf5" if value else b"\xf4"
            case None:
                return b"\xf6"
            case int() if 0 <= value < 2**64:
                return _head(_UNSIGNED, value, width)
            case int() if -(2**64) <= value < 0:
                return _head(_NEGATIVE, -1 - value, width)
            case int():
                return b"\xc2\x49\x01" + bytes(8)
            case float():
                return b"\xfb" + bytes(8)
            case bytes():
                return _head(_BYTES, len(value), width) + value
            case str():
                encoded = value.encode("utf-8", "surrogatepass")
                return _head(_TEXT, len(encoded), width) + encoded
            case list():
                return _head(_ARRAY, len(value), width) + b"".join(map(self.written, value))
            case dict():
                # As deterministic CBOR has them: by their encoded keys.
                pairs = sorted((self._plain(key), item) for key, item in value.items())
                return _head(_MAP, len(value), width) + b"".join(key + self.written(item) for key, item in pairs)
            case _:
                raise TypeError(type(value))


def _head(major: int, number: int, width: int = 0) -> bytes:
    least = next((w for w in (0, 1, 2, 4, 8) if number < (24 if w == 0 else 1 << 8 * w)), 8)
    width = max(width, least)
    if width == 0:
        return bytes([major << 5 | number])
    return bytes([major << 5 | _HEAD_LENGTHS[width]]) + number.to_bytes(width, "big")


# Protobuf

_Slot = tuple[Message, FieldDescriptor, int]
_FLOATS = [0.0, -1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")]
_UNSIGNED_TYPES = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def altered_message(
    data: st.DataObject,
    message: AnyMessage,
    others: Sequence[Message] = (),
    inside: dict[str, type[Message]] | None = None,
) -> AnyMessage:
    """A copy with one to three fields that are otherwise: gone, repeated, altered, extreme, or out of another message.

    `inside` says which fields, by their names, are serialized messages themselves: those are opened, too.
    """
    changed = type(message)()
    changed.CopyFrom(message)
    for _ in range(data.draw(st.integers(1, 3))):
        slots = list(_slots(changed))
        if not slots:
            return changed
        _alter(data, *data.draw(st.sampled_from(slots)), others, inside or {})
    return changed


def altered_bytes(
    data: st.DataObject, message: Message, others: Sequence[Message] = (), **inside: type[Message]
) -> bytes:
    """A message that is altered as one, or as its bytes."""
    if data.draw(st.integers(0, 4)):
        return altered_message(data, message, others, inside).SerializeToString(deterministic=True)
    return altered(data, message.SerializeToString(deterministic=True), [one.SerializeToString() for one in others])


def _slots(message: Message) -> Iterator[_Slot]:
    for descriptor, value in message.ListFields():
        items = list(value) if descriptor.is_repeated else [value]
        for index, item in enumerate(items):
            yield message, descriptor, index
            if isinstance(item, Message):
                yield from _slots(item)
    for unset in message.DESCRIPTOR.fields:
        if not unset.is_repeated and unset.message_type is None and not getattr(message, unset.name):
            yield message, cast(FieldDescriptor, unset), 0


def _alter(
    data: st.DataObject,
    owner: Message,
    descriptor: FieldDescriptor,
    index: int,
    others: Sequence[Message],
    inside: dict[str, type[Message]],
) -> None:
    name = descriptor.name
    ways = ["clear", "value", "value", "value"]
    ways += ["delete", "repeat", "reverse"] if descriptor.is_repeated else []
    same = [one for other in others for one in _messages(other) if one.DESCRIPTOR is owner.DESCRIPTOR]
    ways += ["other", "theirs", "theirs"] if same else []
    values = getattr(owner, name)
    match data.draw(st.sampled_from(ways)):
        case "clear":
            owner.ClearField(name)
        case "other":
            owner.CopyFrom(data.draw(st.sampled_from(same)))
        case "theirs":
            theirs = data.draw(st.sampled_from(same))
            owner.ClearField(name)
            owner.MergeFrom(_only(theirs, name))
        case "delete":
            del values[index]
        case "repeat" if descriptor.message_type is None:
            values.append(values[index])
        case "repeat":
            values.add().CopyFrom(values[index])
        case "reverse":
            items = list(values)[::-1]
            owner.ClearField(name)
            getattr(owner, name).extend(items)
        case _ if descriptor.message_type is not None:
            owner.ClearField(name)
            if descriptor.is_repeated:
                getattr(owner, name).add()
            else:
                getattr(owner, name).SetInParent()
        case _ if descriptor.is_repeated:
            values[index] = _value(data, descriptor, values[index], inside)
        case _:
            setattr(owner, name, _value(data, descriptor, values, inside))


def _only(message: Message, name: str) -> Message:
    """A copy without its other fields."""
    copied = type(message)()
    copied.CopyFrom(message)
    for descriptor, _ in message.ListFields():
        if descriptor.name != name:
            copied.ClearField(descriptor.name)
    return copied


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for item in value if descriptor.is_repeated else [value]:
                yield from _messages(item)


def _value(data: st.DataObject, descriptor: FieldDescriptor, old: Any, inside: dict[str, type[Message]]) -> Any:
    match descriptor.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if descriptor.type == FieldDescriptor.TYPE_BYTES:
            opened = (
                outcome(lambda: inside[descriptor.name].FromString(old), DecodeError)
                if descriptor.name in inside
                else None
            )
            if isinstance(opened, Message) and data.draw(st.booleans()):
                return altered_bytes(data, opened)
            return altered(data, old)
        case FieldDescriptor.CPPTYPE_STRING:
            # Only a short text a thousandfold: altered so three times over, 16 letters would be 16 gigabytes.
            longer = old[:LONG_TEXT] * 1000
            return data.draw(st.text(max_size=12) | st.just(old + "x") | st.just("../" + old) | st.just(longer))
        case FieldDescriptor.CPPTYPE_BOOL:
            return not old
        case FieldDescriptor.CPPTYPE_ENUM:
            return data.draw(st.integers(0, 30))
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return data.draw(st.sampled_from([old * 2, *_FLOATS]))
        case kind:
            bits = 32 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
            low, high = (0, 2**bits - 1) if kind in _UNSIGNED_TYPES else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            near = [min(high, max(low, number)) for number in (old - 1, old + 1, -old, 0, 1)]
            return data.draw(st.sampled_from([*near, low, high]) | st.integers(low, high))
