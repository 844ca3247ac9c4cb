"""Reading an agreement's document: what is accepted, and what is said about every mistake."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement

from gateway.governance.agreement_documents import MAX_BYTES, read_agreement

FALLS = """\
agreement: falls-2026
dataset: visits
organisation: college
purpose: "risk of falls, contract 17"
starts: 2026-01-01
expires: 2027-01-01T00:00+08:00
budget: {epsilon: 1.5, delta: 1e-7}
max_uses: 40
"""


def read(document: str) -> Agreement:
    return read_agreement("falls.yaml", document.encode())


def refused(document: str | bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read_agreement("falls.yaml", document.encode() if isinstance(document, str) else document)
    assert (caught.value.kind, caught.value.code) == (Kind.MALFORMED, "metadata")
    return caught.value


def seconds(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())


def test_the_example_is_read() -> None:
    found = read(FALLS)
    assert (found.agreement, found.dataset, found.organisation) == ("falls-2026", "visits", "college")
    assert found.purpose == "risk of falls, contract 17"
    assert (found.budget_epsilon, found.budget_delta, found.max_uses) == (1.5, 1e-7, 40)
    assert found.starts.seconds == seconds("2026-01-01T00:00+00:00")
    assert found.expires.seconds == seconds("2026-12-31T16:00+00:00")


def test_the_same_in_json_is_the_same() -> None:
    document = {
        "agreement": "falls-2026",
        "dataset": "visits",
        "organisation": "college",
        "purpose": "risk of falls, contract 17",
        "starts": "2026-01-01T00:00:00Z",
        "expires": "2026-12-31T16:00Z",
        "budget": {"epsilon": 1.5, "delta": 1e-7},
        "max_uses": 40,
    }
    assert read(json.dumps(document)) == read(json.dumps(document, indent=2)) == read(FALLS)


def test_uses_that_are_not_limited_are_left_out() -> None:
    assert not read(FALLS.replace("max_uses: 40\n", "")).HasField("max_uses")


@pytest.mark.parametrize(
    ("was", "written", "field", "said"),
    [
        ("purpose: ", "aim: ", "aim", "accepted are agreement, dataset"),
        ("max_uses: 40", "max_use: 40", "max_use", "not known"),
        ("agreement: falls-2026\n", "", "agreement", "missing"),
        ("agreement: falls-2026", "agreement: Falls", "agreement", "is no id"),
        ("expires: 2027", "expires: 2025", "expires", "after starts"),
        ("2026-01-01\n", "2026-02-30\n", "starts", "is no time"),
        ("2026-01-01\n", "20260101\n", "starts", "must be a string"),
        ("2026-01-01\n", "2026-01-01T00:00\n", "starts", "2026-01-31T00:00+08:00"),
        ("2026-01-01\n", "0001-01-01T00:00+08:00\n", "starts", "is no time"),
        ("max_uses: 40", "max_uses: 0", "max_uses", "1 or more"),
        ("max_uses: 40", "max_uses: 1.5", "max_uses", "whole number"),
        ("max_uses: 40", "max_uses: 9223372036854775808", "max_uses", "whole number up to"),
        ("epsilon: 1.5", "epsilon: -1", "budget.epsilon", "epsilon"),
        ("delta: 1e-7", "delta: 2", "budget.delta", "delta"),
    ],
)
def test_a_mistake_is_told_with_its_field(was: str, written: str, field: str, said: str) -> None:
    assert was in FALLS
    problem = refused(FALLS.replace(was, written))
    assert problem.field == field
    assert said in problem.message
    assert problem.message.startswith("falls.yaml:")
    assert problem.position


def test_what_is_no_document_is_refused() -> None:
    assert "must describe an agreement" in refused("").message
    assert "not YAML" in refused("agreement: [").message
    assert "not UTF-8" in refused(b"\xff\xfe").message
    assert "more than 65,536 bytes" in refused("#" * (MAX_BYTES + 1)).message


DAYS = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1))


@given(DAYS, st.integers(-12, 14))
def test_a_time_is_read_to_the_second_in_its_zone(starts: datetime.datetime, hours: int) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    written = starts.replace(microsecond=0, tzinfo=zone)
    document = FALLS.replace("2027", "2300").replace("2026-01-01\n", f"{written.isoformat()}\n")
    assert read(document).starts.seconds == int(written.timestamp())
