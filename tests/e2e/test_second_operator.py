"""A second operator of a real zone: notice, application, review, agreement; and what it may do at each step."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.zones import Zone, add_visits

NOTICE = """
notice: second
title: "A second operator"
conditions: "machines of its own, and people who run them"
scope: "running the zone beside the first operator"
responsibility: "each operator answers for what it registered"
supervision: "the zone's record"
revocation: "at any time, with a reason"
apply_by: 2999-01-01
starts: 2020-01-01
expires: 2999-01-02
"""


def refusal(zone: Zone) -> str:
    """What the second operator is told who wants to see all jobs."""
    problem = zone.problem(3, "jobs", "--as", "runner")
    assert problem["code"] == "operator_not_authorised"
    assert "yingbi operator list" in problem["hint"]
    return str(problem["message"])


def moved(zone: Zone, *arguments: str | Path) -> dict[str, Any]:
    document: dict[str, Any] = zone.fetch("operator", *arguments)
    return document


@pytest.mark.requirement("APP-03", "ROL-02", "ROL-05", "AGR-03")
def test_from_the_notice_to_the_end(fresh_zone: Zone, tmp_path: Path) -> None:
    zone = fresh_zone
    add_visits(zone, tmp_path)  # by the zone's own operator, which came with it
    (own,) = zone.fetch("operator", "list")["notices"]
    assert own["applications"][0]["state"] == "in force"
    assert [event["action"] for event in own["applications"][0]["events"]] == ["apply", "assess", "sign", "sign"]

    zone.fetch("organisation", "add", "runner", "--kind", "operator")
    assert "runner is not authorised to operate this zone: it has not applied under any notice." in refusal(zone)

    file = tmp_path / "notice.yaml"
    file.write_text(NOTICE.replace("title:", "titel:"))
    bad = zone.problem(2, "operator", "notice", file)
    assert bad["position"] == "3:1"
    assert "Did you mean title?" in bad["hint"]
    file.write_text(NOTICE)
    assert zone.problem(3, "operator", "notice", file, "--as", "operator")["code"] == "not_allowed"
    assert moved(zone, "notice", file)["open"]
    assert zone.problem(3, "operator", "notice", file)["code"] == "notice_exists"

    licence = tmp_path / "licence.pdf"
    licence.write_bytes(b"may run machines")
    apply = ("apply", "second", "--statement", "has run zones", "--evidence", f"licence 17={licence}")
    applied = moved(zone, *apply, "--as", "runner")
    digest = hashlib.sha256(b"may run machines").hexdigest()
    assert applied["evidence"] == [{"reference": "licence 17", "sha256": digest}]
    assert zone.problem(3, "operator", *apply, "--as", "runner")["code"] == "application_exists"
    assert "waits for the review of supervisor" in refusal(zone)
    # Nobody reviews or ends what is their own, and nothing is signed before the review.
    review = ("review", "second", "runner", "--pass", "--reason", "licence and machines seen")
    assert zone.problem(3, "operator", *review, "--as", "runner")["code"] == "not_allowed"
    assert zone.problem(3, "operator", "sign", "second", "runner", "--as", "runner")["code"] == "operator_state"

    assert moved(zone, *review)["state"] == "review passed"
    assert moved(zone, "sign", "second", "runner")["signed_by"] == ["coordinator"]
    assert "waits for the signature of runner" in refusal(zone)
    assert moved(zone, "sign", "second", "runner", "--as", "runner")["state"] == "in force"
    assert zone.fetch("jobs", "--as", "runner")["jobs"] == []

    # It holds after a restart, from what is filed alone.
    zone.down()
    zone.up()
    assert zone.fetch("jobs", "--as", "runner")["jobs"] == []

    end = ("terminate", "second", "runner", "--reason", "it sold its machines")
    assert zone.problem(2, "operator", *end)["code"] == "not_confirmed"
    assert moved(zone, *end, "--yes")["state"] == "terminated"
    assert "was terminated by coordinator of coordinator: it sold its machines" in refusal(zone)
    # A stop waits for no papers, and neither does who reads what everybody may.
    assert zone.fetch("stop", "dataset", "visits", "--reason", "it leaks", "--yes", "--as", "runner")
    assert zone.fetch("lift", "dataset", "visits", "--as", "runner")
    assert zone.fetch("datasets", "--as", "runner")["datasets"][0]["dataset"] == "visits"

    rows = [row for row in zone.fetch("audit", "list", "--as", "auditor")["rows"] if row["subject"] == "second/runner"]
    said = [(row["action"], row["person"], row["reason"]) for row in rows]
    assert said == [
        ("operator.apply", "runner", ""),
        ("operator.assess", "supervisor", "licence and machines seen"),
        ("operator.sign", "coordinator", ""),
        ("operator.sign", "runner", ""),
        ("operator.terminate", "coordinator", "it sold its machines"),
    ]
    shown = zone.call("operator", "show", "second", "--as", "developer")
    assert "runner: terminated" in shown.stdout
    assert "evidence: licence 17" in shown.stdout
    listed = zone.call("operator", "list")
    assert "first-operator" in listed.stdout
