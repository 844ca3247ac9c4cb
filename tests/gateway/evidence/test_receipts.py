"""All enclaves sign one receipt's body; it comes from each in parts, and is kept once."""

from __future__ import annotations

from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import Part, ReceiptSignature, TaskResult

from gateway.evidence.receipts import Bodies

NODES = ("node-1", "node-2")


def message(body: bytes, first: int, step: int) -> TaskResult:
    """The part of a body from its byte `first` on."""
    part = Part(first=first, more=first + step < len(body))
    return TaskResult(receipt_signature=ReceiptSignature(receipt_body=body[first : first + step], part=part))


def code_of(taken: list[tuple[str, TaskResult]]) -> str:
    bodies = Bodies()
    with pytest.raises(Problem) as raised:
        _all(bodies, taken)
    return raised.value.code


def _all(bodies: Bodies, taken: list[tuple[str, TaskResult]]) -> bytes:
    for node, result in taken:
        bodies.take(node, result)
    return bodies.one()


@given(st.binary(max_size=60), st.integers(1, 20), st.integers(1, 20), st.data())
def test_the_body_is_what_all_said_whichever_parts_came_again(body: bytes, one: int, two: int, data: object) -> None:
    """Nodes need not be at the same place, nor make parts of one length; none is kept twice."""
    bodies = Bodies()
    draw = data.draw  # type: ignore[attr-defined]
    firsts = [range(0, max(1, len(body)), step) for step in (one, two)]
    for number, pair in enumerate(zip_longest(*firsts)):
        for node, step, first, before in zip(NODES, (one, two), pair, firsts, strict=True):
            again = [before[draw(st.integers(0, number))]] if number < len(before) and draw(st.booleans()) else []
            for each in ([] if first is None else [first]) + again:
                result = message(body, each, step)
                bodies.take(node, result)
                assert not result.receipt_signature.receipt_body
    assert bodies.one() == body


def test_bodies_that_differ_are_no_receipt() -> None:
    assert code_of([("node-1", message(b"abcd", 0, 4)), ("node-2", message(b"abce", 0, 4))]) == "receipts_differ"


@pytest.mark.parametrize(("one", "other"), [(b"abc", b"abcd"), (b"abcd", b"abc")])
def test_nor_is_one_that_others_go_beyond(one: bytes, other: bytes) -> None:
    assert code_of([("node-1", message(one, 0, 4)), ("node-2", message(other, 0, 4))]) == "receipts_differ"


@pytest.mark.parametrize("first", [2, 4])
def test_a_part_that_does_not_follow_is_no_part_of_a_receipt(first: int) -> None:
    """Whatever others said before: each enclave has to have said all of it."""
    assert code_of([("node-2", message(b"abcd", first, 2))]) == "receipts_differ"
    others = [("node-1", message(b"abcd", 0, 4)), ("node-2", message(b"abcd", first, 2))]
    assert code_of(others) == "receipts_differ"
