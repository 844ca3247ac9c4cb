"""Deployed models, asked with a token for something else: what a token is not for, its signature does not make good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import people_scene  # type: ignore[import-not-found]
import pytest
from yingbi.api.v1 import deployment_pb2 as messages

from gateway.api.deployments import DeploymentService


@pytest.mark.requirement("ROL-04")
@pytest.mark.parametrize(
    ("method", "request_", "person"),
    [
        ("Predict", messages.PredictRequest(), "developer"),
        ("WithdrawDeployment", messages.WithdrawDeploymentRequest(), "developer"),
        ("WithdrawDeployment", messages.WithdrawDeploymentRequest(), "operator"),
    ],
)
def test_a_token_for_reading_uses_and_withdraws_none(tmp_path: Path, method: str, request_: Any, person: str) -> None:
    zone = people_scene.Zone(tmp_path)
    zone.make_token(person, "reader", "read")
    nothing: Any = None
    service = DeploymentService(nothing, zone.authentication)
    with pytest.raises(people_scene.Refused) as caught:
        people_scene.run(getattr(service, method)(request_, people_scene.Call("reader")))
    assert caught.value.code == "other_scope"
