"""Whatever is sent about people and sign-in, by whomever: what is wrong with it is told, and is no fault of ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import people_scene  # type: ignore[import-not-found]
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1 import people_pb2, sign_in_pb2

from gateway.api.sign_in import SignInService
from gateway.governance.sign_in import Site

METHODS = [
    *people_pb2.DESCRIPTOR.services_by_name["PeopleService"].methods,
    *sign_in_pb2.DESCRIPTOR.services_by_name["SignInService"].methods,
]
TEXTS = st.one_of(
    st.sampled_from(["", "provider", "ada", "developer", "approver", "read", "ab" * 32, "totp", "passkey", "a" * 200]),
    st.text(max_size=9),
)
OF_TYPE: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_BYTES: st.one_of(st.binary(max_size=40), st.just(people_scene.public("provider"))),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
}


def fill(data: st.DataObject, message: Any) -> Any:
    """Every field, or not, with anything that it can hold."""
    for field in message.DESCRIPTOR.fields:
        if data.draw(st.booleans()):
            continue
        if field.message_type is not None:
            fill(data, getattr(message, field.name)).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(data.draw(st.lists(OF_TYPE[field.type], max_size=3)))
        else:
            setattr(message, field.name, data.draw(OF_TYPE[field.type]))
    return message


def test_nothing_that_is_sent_is_a_fault_of_the_gateway() -> None:
    with tempfile.TemporaryDirectory() as folder:
        zone = people_scene.Zone(Path(folder))
        console = SignInService(zone.database, zone.authentication, Site("http://localhost:1"), clock=lambda: zone.now)

        @settings(max_examples=150, deadline=None)
        @given(st.data())
        def holds(data: st.DataObject) -> None:
            method = data.draw(st.sampled_from(METHODS))
            request = fill(data, GetMessageClass(method.input_type)())
            token = data.draw(st.sampled_from([None, "coordinator", "provider", "auditor", "nobody"]))
            service = zone.service if method.containing_service.name == "PeopleService" else console
            try:
                people_scene.run(getattr(service, method.name)(request, people_scene.Call(token)))
            except people_scene.Refused as refused:
                if refused.status in ("INTERNAL", "UNKNOWN"):
                    raise

        holds()
        zone.database.close()
