"""Requests that nobody sends: made by hypothesis from descriptors alone, of any kind that there is or will be."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from yingbi.api import deployments, digests, v1

from tests.attacks.mutations import altered

DEPTH = 5
MOST_FIELDS = 6
"""Of one message, beside a request's own: else one message would be all that is invented."""

STATEMENTS = [
    "SELECT COUNT(*) FROM visits",
    "SELECT clinic, AVG(pain), COUNT(DISTINCT person) FROM visits WHERE age > 30 GROUP BY clinic",
    "SELECT MEDIAN(pain) FROM visits; DROP TABLE jobs; --",
    "SELECT * FROM visits UNION SELECT * FROM sqlite_master",
    "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT COUNT(*) FROM a",
    "SELECT SUM(age * 1e308 * 1e308) FROM visits WHERE pain = 'NaN'",
    "SELECT COUNT(*) FROM visits WHERE " + "(" * 300 + "1" + ")" * 300,
    "SELECT COUNT(*) FROM visits WHERE " + " OR ".join(["age = 1"] * 300),
    "' OR 1=1 --",
    "pain ~ age",
    "age, clinic",
    "visits",
    "visits.age",
]
TEXTS = [
    *("", " ", "\0", "0", "-1", "1e999", "NaN", "9" * 30, "9" * 5000, "٣", "²", "None", "null", "[]", "{}"),
    *(
        "../../etc/passwd",
        "/",
        ".",
        "%s%n",
        "<script>alert(1)</script>",
        "\u202egnp.exe",
        "名",
        "🙂" * 40,
        "\x7f\x1b[31m",
    ),
    *("é" * 70, "x" * 70, "a" * 20_000, "ﬁ", "\ud7ff", "\uffff", "visits", "node-1", "developer", "provider", "query"),
]
FLOATS = [0.0, -0.0, 1.0, 0.5, -1.0, 1e-7, 5e-324, 1e308, float("inf"), float("-inf"), float("nan"), 2.0**53 + 2]
DOCUMENTS = [
    b"",
    b"\xff\xfe",
    b"a: &a [*a]",
    b"agreement: \xed\xa0\x80",
    b"{" * 3000,
    b"[" * 3000,
    b"a: " * 3000,
    b"\xef\xbb\xbf",
    b"!!python/object:os.system x",
    b"budget: {epsilon: 1e999, delta: .nan}",
    b"\xa1\x01" * 200 + b"\x01",
    bytes(32),
    bytes(64),
    bytes(65_537),
]


def modules() -> list[Any]:
    """All messages and services of the API, whoever they are for."""
    names = [module.name for module in pkgutil.iter_modules(v1.__path__) if module.name.endswith("_pb2")]
    return [importlib.import_module(f"{v1.__name__}.{name}") for name in names]


def methods() -> list[MethodDescriptor]:
    """Every method of every service."""
    services = [service for module in modules() for service in module.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


def messages() -> list[Descriptor]:
    """Every message that is none's part."""
    return [found for module in modules() for found in module.DESCRIPTOR.message_types_by_name.values()]


ALL = {descriptor.name: descriptor for descriptor in messages()}
DOMAINS = sorted(
    value
    for module in (digests, deployments)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
)


@dataclass(frozen=True)
class Known:
    """What was said before, by the names of fields and of messages: what a request refers to may so exist."""

    texts: Mapping[str, Sequence[str]]
    data: Mapping[str, Sequence[bytes]]
    messages: Mapping[str, Sequence[Message]]

    @classmethod
    def of(cls, said: Sequence[Message]) -> Known:
        """All that there is in these messages."""
        texts: dict[str, list[str]] = {}
        data: dict[str, list[bytes]] = {}
        whole: dict[str, list[Message]] = {}
        for message in said:
            for one in _parts(message):
                whole.setdefault(one.DESCRIPTOR.name, []).append(one)
                for descriptor, value in one.ListFields():
                    values = list(value) if descriptor.is_repeated and descriptor.message_type is None else [value]
                    for each in values:
                        if isinstance(each, str):
                            texts.setdefault(descriptor.name, []).append(each)
                        elif isinstance(each, bytes):
                            data.setdefault(descriptor.name, []).append(each)
        return cls(texts, data, whole)

    @property
    def all_texts(self) -> list[str]:
        """Whatever they are the names of."""
        return sorted({each for found in self.texts.values() for each in found if len(each) < 100}) or [""]


def _parts(message: Message) -> Iterator[Message]:
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        for part in value if descriptor.is_repeated else [value]:
            yield from _parts(part)


def invented(data: st.DataObject, descriptor: Descriptor, known: Known, depth: int = 0) -> Message:
    """A message with some of its fields, each with whatever it can hold."""
    message: Message = GetMessageClass(descriptor)()
    fields = list(descriptor.fields)
    if depth and len(fields) > MOST_FIELDS:
        fields = data.draw(st.lists(st.sampled_from(fields), max_size=MOST_FIELDS, unique_by=lambda one: one.number))
    for one in fields:
        # Those of a request are mostly there: without one of them the rest would not be looked at.
        if data.draw(st.integers(0, 2 if depth else 5)):
            _fill(data, message, one, known, depth)
    return message


def extremes(one: FieldDescriptor) -> list[Any]:
    """Every odd value of a field that holds no message."""
    match one.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if one.type == FieldDescriptor.TYPE_BYTES:
            return DOCUMENTS
        case FieldDescriptor.CPPTYPE_STRING:
            return TEXTS
        case FieldDescriptor.CPPTYPE_BOOL:
            return [False, True]
        case FieldDescriptor.CPPTYPE_ENUM:
            return [*(value.number for value in cast(EnumDescriptor, one.enum_type).values), -1, 10_000, 2**31 - 1]
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return FLOATS
        case kind:
            low, high = _range(kind)
            return sorted({low, low + 1, 0, 1, 2, 7, high // 2, high - 1, high})


def _range(kind: int) -> tuple[int, int]:
    bits = 32 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    unsigned = kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _fill(data: st.DataObject, message: Message, one: FieldDescriptor, known: Known, depth: int) -> None:
    if one.message_type is not None and depth >= DEPTH:
        return
    if not one.is_repeated:
        if one.message_type is None:
            setattr(message, one.name, _value(data, one, known, depth))
        else:
            getattr(message, one.name).CopyFrom(_message(data, one.message_type, known, depth + 1))
        return
    target = getattr(message, one.name)
    for _ in range(data.draw(st.integers(0, 3))):
        if one.message_type is None:
            target.append(_value(data, one, known, depth))
        elif not one.message_type.GetOptions().map_entry:
            target.add().CopyFrom(_message(data, one.message_type, known, depth + 1))
        else:
            key, value = one.message_type.fields_by_name["key"], one.message_type.fields_by_name["value"]
            if value.message_type is None:
                target[_value(data, key, known, depth)] = _value(data, value, known, depth)
            else:
                target[_value(data, key, known, depth)].CopyFrom(_message(data, value.message_type, known, depth + 1))


def _message(data: st.DataObject, descriptor: Descriptor, known: Known, depth: int) -> Message:
    earlier = known.messages.get(descriptor.name)
    if earlier and data.draw(st.booleans()):
        return data.draw(st.sampled_from(earlier))
    if descriptor.full_name == "google.protobuf.Timestamp" and data.draw(st.booleans()):
        # Out of what a Timestamp may hold, and near its ends.
        made = GetMessageClass(descriptor)()
        made.seconds = data.draw(st.sampled_from([-(2**63), -62135596801, 0, 253402300799, 253402300800, 2**63 - 1]))  # type: ignore[attr-defined]
        made.nanos = data.draw(st.sampled_from([-1, 0, 999_999_999, 2**31 - 1]))  # type: ignore[attr-defined]
        return made
    return invented(data, descriptor, known, depth)


def _value(data: st.DataObject, one: FieldDescriptor, known: Known, depth: int) -> Any:
    match one.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if one.type == FieldDescriptor.TYPE_BYTES:
            return _bytes(data, one, known, depth)
        case FieldDescriptor.CPPTYPE_STRING:
            return _text(data, one, known)
        case FieldDescriptor.CPPTYPE_BOOL | FieldDescriptor.CPPTYPE_ENUM:
            return data.draw(st.sampled_from(extremes(one)))
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return data.draw(st.sampled_from(FLOATS))
        case kind:
            return data.draw(st.sampled_from(extremes(one)) | st.integers(*_range(kind)))


def _text(data: st.DataObject, one: FieldDescriptor, known: Known) -> str:
    match data.draw(st.sampled_from(["same", "same", "other", "statement", "odd", "random", "altered"])):
        case "same" if one.name in known.texts:
            return data.draw(st.sampled_from(known.texts[one.name]))
        case "other":
            return data.draw(st.sampled_from(known.all_texts))
        case "statement":
            return data.draw(st.sampled_from(STATEMENTS))
        case "odd":
            return data.draw(st.sampled_from(TEXTS))
        case "altered":
            whole = data.draw(st.sampled_from(known.texts.get(one.name) or STATEMENTS))
            at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
            return whole[:at] + data.draw(st.text(max_size=3) | st.sampled_from(STATEMENTS[-4:])) + whole[end:]
        case _:
            return data.draw(st.text(max_size=12))


def _bytes(data: st.DataObject, one: FieldDescriptor, known: Known, depth: int) -> bytes:
    match data.draw(st.sampled_from(["same", "same", "document", "message", "random", "altered"])):
        case "same" if one.name in known.data:
            return data.draw(st.sampled_from(known.data[one.name]))
        case "document":
            return data.draw(st.sampled_from(DOCUMENTS))
        case "message" if depth < DEPTH:
            # One that nobody has asked for there is as good as random bytes, and longer.
            kind = data.draw(st.sampled_from([_body_of(one), *ALL.values()]))
            return invented(data, kind, known, depth + 2).SerializeToString()
        case "altered" if one.name in known.data:
            return altered(data, data.draw(st.sampled_from(known.data[one.name])))
        case _:
            return data.draw(st.binary(max_size=80))


def _body_of(one: FieldDescriptor) -> Descriptor:
    """The message that these bytes are likely to be: of SignedApproval.body an Approval, of terms an Agreement."""
    owner = cast(Descriptor, one.containing_type)
    named = owner.name.removeprefix("Signed")
    titled = "".join(word.title() for word in one.name.split("_"))
    return ALL.get(named if owner.name != named else titled) or ALL.get(titled) or owner


def signed(data: st.DataObject, message: Message, key: Ed25519PrivateKey) -> None:
    """Sign what carries a signature anew, in place, as `key`'s holder would: only then is what is signed looked at."""
    for one in list(_parts(message)):
        names = one.DESCRIPTOR.fields_by_name
        if "signature" not in names or names["signature"].type != FieldDescriptor.TYPE_BYTES:
            continue
        if "body" in names:
            body = cast(FieldDescriptor, names["body"])
            if data.draw(st.booleans()):
                _own_inside(one, _body_of(body), key)
            _sign(data, one, _body_of(body).name, key, one.body)  # type: ignore[attr-defined]
        for name, what in names.items():
            if what.message_type is not None and _kebab(what.message_type.name) in DOMAINS and not what.is_repeated:
                _own(getattr(one, name), key)
                body_bytes = getattr(one, name).SerializeToString(deterministic=True)
                _sign(data, one, what.message_type.name, key, body_bytes)


def _own_inside(one: Any, kind: Descriptor, key: Ed25519PrivateKey) -> None:
    try:
        opened = GetMessageClass(kind).FromString(one.body)
    except DecodeError:
        return
    _own(opened, key)
    one.body = opened.SerializeToString(deterministic=True)


def _own(body: Message, key: Ed25519PrivateKey) -> None:
    """Name the key's holder wherever the body names a signer."""
    for one in body.DESCRIPTOR.fields:
        if one.name.endswith("_key") and one.type == FieldDescriptor.TYPE_BYTES and not one.is_repeated:
            setattr(body, one.name, key.public_key().public_bytes_raw())


def _sign(data: st.DataObject, owner: Any, kind: str, key: Ed25519PrivateKey, body: bytes) -> None:
    named = _kebab(kind)
    domain = named if named in DOMAINS else data.draw(st.sampled_from(DOMAINS))
    owner.signature = digests.sign(key, domain, body)


def _kebab(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).strip("-")
