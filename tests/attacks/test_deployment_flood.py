"""Developers who deploy without end: what waits for approval is little, and models are read for predictions alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from yingbi.api import deployments as rules
from yingbi.api.v1.deployment_pb2 import DeployRequest, Provenance
from yingbi.api.v1.receipt_pb2 import Receipt
from yingbi.deployments import deploy

from gateway.governance import deployments as governance
from gateway.governance.stops import DATASET
from gateway.jobs import deployment_door
from gateway.storage import tables
from tests.attacks.stoppable_models import Stoppable
from tests.attacks.test_deployment_gateway import ROWS, deployed, parameters, refusal, seen


def test_so_many_of_an_organisation_wait_for_approval_and_no_more(
    stoppable: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(governance, "MAX_PENDING", 2)
    zone = stoppable.zone
    gateway: Any = zone.as_("developer")
    first, _ = (deploy(gateway, parameters(), f"bmi-{number}", callers=["clinic"]) for number in (1, 2))
    assert refusal(deploy, gateway, parameters(), "bmi-3", callers=["clinic"]) == "too_many_pending"
    other: Any = zone.as_("stranger")
    deploy(other, parameters(), "another", callers=["clinic"])
    first.withdraw()
    deploy(gateway, parameters(), "bmi-3", callers=["clinic"])


def test_models_are_not_read_where_deployments_are_listed_or_a_stop_is_shown(stoppable: Stoppable) -> None:
    zone = stoppable.zone
    deployed(zone)
    operator: Any = zone.as_("operator")
    assert not _read_models(operator.list_deployments)
    assert not _read_models(lambda: stoppable.do(deployment_door.hit, DATASET, "visits"))
    assert _read_models(lambda: seen(zone, "clinic-1").predict(ROWS))


def test_of_a_withdrawn_deployment_the_model_is_gone(stoppable: Stoppable) -> None:
    deployed(stoppable.zone).withdraw()
    column = tables.deployments.c.sealed_model
    assert stoppable.do(lambda connection: connection.execute(select(column)).scalars().all()) == [b""]


LONG: dict[str, Callable[[DeployRequest], object]] = {
    "receipts": lambda asked: asked.provenance.rounds.extend([Receipt()] * rules.MAX_JOBS),
    "bytes": lambda asked: asked.provenance.CopyFrom(
        Provenance(receipt=Receipt(body=bytes(rules.MAX_PROVENANCE)), salt=bytes(rules.SALT_BYTES))
    ),
    "salt": lambda asked: setattr(asked.provenance, "salt", bytes(rules.SALT_BYTES + 1)),
    "terms": lambda asked: setattr(asked.terms, "body", bytes(rules.MAX_TERMS + 1)),
}


@pytest.mark.parametrize("lengthen", list(LONG.values()), ids=list(LONG))
def test_what_is_longer_than_any_training_is_not_kept(
    stoppable: Stoppable, lengthen: Callable[[DeployRequest], object]
) -> None:
    gateway: Any = stoppable.zone.as_("developer")
    honest = gateway.deploy

    def longer(asked: DeployRequest) -> object:
        lengthen(asked)
        return honest(asked)

    gateway.deploy = longer
    assert refusal(deploy, gateway, parameters(), "bmi-1", callers=["clinic"]) == "deployment"
    assert not gateway.list_deployments().deployments


def test_bytes_that_nobody_understands_are_not_kept(stoppable: Stoppable) -> None:
    gateway: Any = stoppable.zone.as_("developer")
    honest = gateway.deploy

    def padded(asked: DeployRequest) -> object:
        # A field that no release has: number 2047, of 1,000 bytes.
        asked.provenance.MergeFromString(b"\xfa\x7f\xe8\x07" + bytes(1000))
        return honest(asked)

    gateway.deploy = padded
    assert deploy(gateway, parameters(), "bmi-1", callers=["clinic"]).message.provenance.ByteSize() < 1000


def _read_models(step: Callable[[], object]) -> bool:
    statements: list[str] = []

    def heard(*given: Any) -> None:
        statements.append(given[2])

    event.listen(Engine, "before_cursor_execute", heard)
    try:
        step()
    finally:
        event.remove(Engine, "before_cursor_execute", heard)
    assert statements
    return any("sealed_model" in each for each in statements)
