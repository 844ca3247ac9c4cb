"""The audit record of deployed models: every step has its row, or is not taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text
from yingbi.deployments import deploy

from gateway.governance.stops import DATASET
from tests.attacks.stoppable_models import JOB_ID, Stoppable
from tests.attacks.test_deployment_gateway import (
    ROWS,
    deployed,
    parameters,
    recorded,
    refusal,
    seen,
    uses,
)


@pytest.mark.requirement("AUD-01")
def test_every_step_says_who_did_what_and_a_prediction_how_many_rows(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    found = seen(zone, "clinic-2").predict(ROWS)
    seen(zone, "operator").withdraw()
    seen(zone, "developer").withdraw()
    rows = [row for row in stoppable.rows() if row.action.startswith("deployment.")]
    assert [(row.action.partition(".")[2], row.person, row.organisation, row.subject) for row in rows] == [
        ("deploy", "developer", "institute", "bmi-1"),
        ("approve", "operator", "operator", "bmi-1"),
        ("predict", "clinic-2", "clinic", "bmi-1"),
        ("answer", "clinic-2", "clinic", "bmi-1"),
        ("withdraw", "operator", "operator", "bmi-1"),
    ]
    deploys, _, predicts, answer, _ = (json.loads(row.details) for row in rows)
    assert (deploys["jobs"], deploys["callers"]) == ([JOB_ID], ["clinic"])
    order = found.receipts[0].body.order_digest.hex()
    assert predicts == answer == {"rows": 2, "order": order}


def test_what_the_enclave_refuses_is_recorded_as_not_counted(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    stoppable.tell(DATASET, "visits")
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "stopped"
    assert stoppable.steps()[-2:] == ["deployment.predict", "deployment.take_back"]


@pytest.mark.requirement("AUD-03")
def test_without_an_audit_row_nothing_is_deployed_approved_used_or_withdrawn(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    gateway: Any = zone.as_("developer")
    steps: dict[str, Callable[[], object]] = {
        "pending": lambda: deploy(gateway, parameters(), "bmi-1", callers=["clinic"], node="node-2"),
        "active": lambda: seen(zone, "operator").approve(),
        "active still": lambda: seen(zone, "clinic-1").predict(ROWS),
        "withdrawn": lambda: seen(zone, "operator").withdraw(),
    }
    before = ""
    for state, step in steps.items():
        asked = len(zone.nodes.asked)
        stoppable.do(_rename, "audit", "gone")
        assert refusal(step) == "storage"
        stoppable.do(_rename, "gone", "audit")
        assert not before or seen(zone, "operator").state == before
        assert len(zone.nodes.asked) == asked
        step()
        before = state.split()[0]
    assert (recorded(zone), uses(zone)) == (2, [("clinic", 2, 2, 0)])


@pytest.mark.requirement("AUD-03")
def test_an_answer_that_cannot_be_recorded_is_withheld(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    stoppable.while_asked(lambda: zone.database.run(_rename, "audit", "gone"))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "storage"
    stoppable.do(_rename, "gone", "audit")
    assert stoppable.steps()[-1] == "deployment.predict"


def _rename(connection: Connection, present: str, new: str) -> None:
    connection.execute(text(f"ALTER TABLE {present} RENAME TO {new}"))
