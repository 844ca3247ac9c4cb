"""A subject's consent through real processes: an issuer signs, a provider's enclave answers once, a gateway counts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from yingbi import connect
from yingbi.consents import IssuerKey, sign_consent

from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("zone")

PEOPLE = 60
METADATA = """
dataset: members
zone: test
title: {{en: "Members"}}
grade: 3
source: "made up for tests"
privacy_unit: id
unit_namespace: members
max_units: 1000
units_disjoint: true
budget: {{epsilon: 10.0, delta: 1.0e-7}}
verification:
  fields: {{members: [male, status]}}
  purposes: [insurance-claim]
  issuers: {{registry: "{issuer}"}}
  limits: {{each_subject_a_day: 5, each_developer_a_day: 100}}
  price: 3
tables:
  members:
    file: members.parquet
    max_rows_per_unit: 1
    columns:
      id:     {{type: string, role: unit}}
      male:   {{type: int64, values: [0, 1]}}
      status: {{type: int64, values: [0, 1]}}
"""


@pytest.fixture(scope="module")
def registry(zone: Zone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The issuer's key; the provider approves it, and the dataset is there."""
    folder = tmp_path_factory.mktemp("members")
    key = folder / "issuer.json"
    made = zone.fetch("consent", "key", "--to", key)
    rows = range(PEOPLE)
    members = pa.table(
        {
            "id": [f"Member-{row}-{'secret' * 3}" for row in rows],
            "male": [row % 2 for row in rows],
            "status": [row // 2 % 2 for row in rows],
        }
    )
    zone.add(folder, METADATA.format(issuer=made["public_key"]), {"members": members})
    return key


def _name(row: int) -> str:
    return f"Member-{row}-{'secret' * 3}"


def test_what_is_claimed_is_answered_once_and_the_receipt_verifies_offline(
    zone: Zone, registry: Path, tmp_path: Path
) -> None:
    """Rows were dealt to the nodes, so nobody knows where a member is: each is asked, under a consent of its own."""
    claims = ["--claim", "male=1", "--claim", "status=0"]
    about = ["--subject", _name(5), *claims, "--purpose", "insurance-claim"]
    nodes = list(zone.processes("node"))
    matches, consents = {}, {}
    for node in nodes:
        request, consents[node] = tmp_path / f"{node}.ask", tmp_path / f"{node}.consent"
        zone.fetch("consent", "ask", "members", node, "--to", request)
        zone.fetch("consent", "sign", request, "--key", registry, *about, "--to", consents[node])
        receipt = tmp_path / f"{node}.receipt"
        said = zone.fetch("verify", "members", *about, "--consent", consents[node], "--save-receipt", receipt)
        matches[node] = said["match"]
        checked: Any = zone.fetch("receipt", "verdict", receipt, "--consent", consents[node])
        assert (checked["verified"], checked["match"], checked["node"]) == (True, said["match"], node)
    assert sorted(matches.values()) == [False] * (len(nodes) - 1) + [True]
    assert (said["uses"], said["owed"]) == (len(nodes), 3 * len(nodes))
    shown = zone.fetch("dataset", "show", "members")["verification"]
    assert (shown["fields"], shown["price"]) == (["members.male", "members.status"], 3)
    with connect(folder=zone.root) as connected:
        assert connected.dataset("members").verification_use().owed == said["owed"]
    there = next(node for node in nodes if matches[node])
    again = zone.problem(3, "verify", "members", *about, "--consent", consents[there])
    assert again["code"] == "consent_used"
    other = zone.problem(
        3, "verify", "members", *about[:2], "--claim", "male=1", *about[-2:], "--consent", consents[there]
    )
    assert other["code"] == "other_claims"
    logs = [path for path in zone.root.rglob("*") if path.is_file() and "shards" not in path.parts]
    assert len(logs) > 10
    assert not any(b"secretsecret" in path.read_bytes() for path in logs)


def test_several_at_once_under_one_consent_are_one_answer(zone: Zone, registry: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from yingbi.api.problem import Problem

    with connect(folder=zone.root) as connected:
        members = connected.dataset("members")
        ask = members.consent_request("node-1")
        subject, claims = _name(7), {"male": 1}
        token = sign_consent(
            IssuerKey.load(registry), ask, subject=subject, claims=claims, purpose="insurance-claim", now=time.time()
        )

        def attempt(_: int) -> str:
            try:
                return str(members.verify(subject, claims, "insurance-claim", token))
            except Problem as problem:
                return problem.code

        with ThreadPoolExecutor(4) as together:
            said = sorted(together.map(attempt, range(4)))
    assert said[:3] == ["consent_used"] * 3
    assert said[3] in ("match", "no match")
