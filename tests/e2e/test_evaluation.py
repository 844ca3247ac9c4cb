"""A model through real processes: its accuracy with a receipt that verifies, or refused with nothing spent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.e2e.test_ask import METADATA, tables
from tests.onnx_models import logistic, model, node
from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("zone")


def test_a_model_is_evaluated_in_the_enclaves_or_refused_before_it_costs(zone: Zone, tmp_path: Path) -> None:
    zone.add(tmp_path / "models", METADATA.replace("dataset: clinic", "dataset: models"), tables())
    file = tmp_path / "model.onnx"
    file.write_bytes(logistic([0.05], -2.475))
    said = ["--inputs", "age", "--response", "age >= 40", "--task", "binary", "--by", "age > 60"]
    asked: list[str | Path] = ["evaluate", "models", file, *said, "--epsilon", "100", "--request-id", "models-1"]
    previewed = zone.call(*asked, "--preview", "--json")
    if previewed.code:
        assert previewed.json["code"] == "sandbox_unavailable"
        assert zone.spent("models") == 0
        return
    answer = zone.fetch(*asked, "--save-receipt", tmp_path / "receipt.json")
    assert answer["model"] == hashlib.sha256(file.read_bytes()).hexdigest()
    everybody, young, old = answer["groups"]
    accuracy = everybody["measures"]["accuracy"]
    # Who is between 40 and 50 is told wrong; nobody else is.
    ages = tables()["people"]["age"].to_numpy()
    exact = 1 - ((ages >= 40) & (ages < 50)).mean()
    assert abs(accuracy["value"] - exact) <= 6 * accuracy["noise_error"] + 1e-3
    assert young["measures"]["auc"]["value"] > 0.95
    assert abs(old["measures"]["accuracy"]["value"] - 1) <= 6 * old["measures"]["accuracy"]["noise_error"] + 1e-3
    assert zone.fetch("receipt", "verify", tmp_path / "receipt.json")["verified"]
    assert zone.fetch(*asked)["job"] == answer["job"]
    spent = zone.spent("models")
    mixing = tmp_path / "mixing.onnx"
    mixing.write_bytes(model([node("ReduceMean", ["x"], ["y"], axes=[0])], columns=1))
    assert zone.problem(3, "evaluate", "models", mixing, *asked[3:-1], "models-2")["code"] == "model"
    assert zone.spent("models") == spent
