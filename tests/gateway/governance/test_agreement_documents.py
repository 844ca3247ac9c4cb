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


def test_kinds_of_jobs_are_read_and_what_is_none_is_told() -> None:
    assert not read(FALLS).jobs
    assert list(read(FALLS + "jobs: [query, train]\n").jobs) == ["query", "train"]
    problem = refused(FALLS + "jobs: [trian]\n")
    assert "trian" in problem.message
    assert "Did you mean train?" in str(problem.hint)
    assert "twice" in refused(FALLS + "jobs: [train, train]\n").message
    assert "must be a list" in refused(FALLS + "jobs: train\n").message


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


@pytest.mark.parametrize("bracket", ["[", "{"])
def test_thousands_of_open_brackets_are_refused_before_they_are_parsed(bracket: str) -> None:
    """The parser would take a quarter of a minute for 3,000."""
    assert "nested" in refused(bracket * 3_000).message


@pytest.mark.requirement("AGR-03")
def test_without_an_end_it_ends_after_five_years() -> None:
    endless = FALLS.replace("expires: 2027-01-01T00:00+08:00\n", "")
    assert read(endless).expires.seconds == seconds("2031-01-01T00:00+00:00")
    leap = endless.replace("starts: 2026-01-01", "starts: 2024-02-29T12:00Z")
    assert read(leap).expires.seconds == seconds("2029-02-28T12:00+00:00")
    assert "no date" in refused(endless.replace("starts: 2026-01-01", "starts: 9996-01-01")).message


WORDS = """\
columns: [visits.pain]
max_uses_a_day: 5
provider: hospital
supervisor: bureau
supersedes: falls-2025
scenario: "planning"
responsibility: "the college's"
supervision: "the bureau's"
revocation: "at any time"
"""


@pytest.mark.requirement("AGR-01")
def test_further_clauses_are_read_and_keys_of_organisations_are_none() -> None:
    found = read(FALLS + WORDS)
    assert (list(found.columns), found.max_uses_a_day, found.supersedes) == (["visits.pain"], 5, "falls-2025")
    assert (found.provider, found.supervisor, found.scenario) == ("hospital", "bureau", "planning")
    assert "not known" in refused(FALLS + "provider_key: abc\n").message


@pytest.mark.parametrize(
    "broken",
    ["columns: [pain]", "columns: [a.b.c]", "columns: [visits.]", "columns: [visits.pain, visits.pain]", "columns: []",
     "columns: visits.pain", "max_uses_a_day: 0", "supersedes: falls-2026"],
)  # fmt: skip
def test_clauses_that_say_nothing_are_refused(broken: str) -> None:
    assert refused(FALLS + broken + "\n").field == broken.split(":", maxsplit=1)[0]


@pytest.mark.requirement("AGR-01")
@pytest.mark.parametrize("word", ["scenario", "responsibility", "supervision", "revocation"])
def test_where_both_sign_all_that_they_answer_for_is_said(word: str) -> None:
    whole = FALLS + WORDS
    read_agreement("falls.yaml", whole.encode(), complete=True)
    short = "".join(line for line in whole.splitlines(keepends=True) if not line.startswith(word))
    with pytest.raises(Problem) as caught:
        read_agreement("falls.yaml", short.encode(), complete=True)
    assert caught.value.field == word
