"""What the attacks alter stays of a size that can be sent: without a bound the generator itself has taken 23 GB."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.deployment_pb2 import GetDeploymentRequest

from tests.attacks.mutations import LONG_TEXT, _value

NAME = GetDeploymentRequest.DESCRIPTOR.fields_by_name["deployment"]


@settings(max_examples=50, database=None)
@given(st.data())
def test_a_long_text_is_not_repeated_whole(data: st.DataObject) -> None:
    """Else three alterations of one name, one upon the other, are a name of gigabytes."""
    assert len(_value(data, NAME, "x" * 10_000, {})) <= 1000 * LONG_TEXT
