"""A trained model through real processes: deployed, approved, used on a file of rows, cut off, and withdrawn."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.zones import Zone, add_visits

pytestmark = pytest.mark.xdist_group("zone")


def test_a_trained_model_is_deployed_and_used_by_its_callers(zone: Zone, tmp_path: Path) -> None:
    add_visits(zone, tmp_path, "deployed")
    receipt, rows, out, usage = (tmp_path / name for name in ("model.json", "rows.csv", "out.csv", "usage"))
    trained = zone.fetch("train", "deployed", "pain ~ C(clinic)", "--epsilon", "300", "--save-receipt", receipt)
    constant, *slopes = [each["value"] for each in trained["model"]["coefficients"]]
    asked: list[str | Path] = ["deploy", receipt, "--name", "pain-1", "--limit", "5/day", "--decimals", "3"]
    made = zone.fetch(*asked)
    assert (made["state"], made["callers"], made["variables"]) == ("pending", ["developer"], ["clinic"])
    rows.write_text("who,clinic\nann,north\nben,south\ncem,\n")
    predict: list[str | Path] = ["predict", "pain-1", rows, "--out", out, "--save-usage", usage]
    assert zone.problem(3, *predict)["code"] == "deployment_pending"
    approved = zone.call("deployments", "approve", "pain-1")
    assert (approved.code, "as its receipt proves" in approved.stderr) == (0, True), approved
    document = zone.fetch(*predict)
    with out.open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["who", "clinic", "predicted_pain"]
    assert [line[:2] for line in found] == [["ann", "north"], ["ben", "south"], ["cem", ""]]
    assert [line[2] for line in found] == [repr(round(constant, 3)), repr(round(constant + slopes[0], 3)), ""]
    assert document["usage"][0]["fingerprint"] == made["fingerprint"]
    assert zone.problem(3, *predict)["code"] == "uses_exhausted"
    cut_off = zone.call("stop", "dataset", "deployed", "--reason", "a complaint", "--yes")
    assert (cut_off.code, "answer nobody then: pain-1" in cut_off.stderr) == (0, True), cut_off
    assert zone.problem(3, *predict)["code"] == "dataset_cut_off"
    assert zone.call("lift", "dataset", "deployed").code == 0
    assert zone.problem(3, *predict)["code"] == "uses_exhausted"
    (said,) = zone.fetch("deployments", "verify", usage)["usage"]
    assert (said["rows"], said["deployment"], said["organisation"]) == (3, "pain-1", "developer")
    usage.write_text(usage.read_text().replace("node-1", "node-2"))
    assert zone.problem(5, "deployments", "verify", usage)["code"] == "usage_receipt"
    assert zone.problem(2, "deployments", "withdraw", "pain-1")["field"] == "yes"
    assert zone.fetch("deployments", "withdraw", "pain-1", "--yes")["state"] == "withdrawn"
    assert zone.problem(3, *predict)["code"] == "deployment_withdrawn"
    assert "pain-1: withdrawn, linear, predicts pain" in zone.call("deployments").stdout
    (listed,) = [each for each in zone.fetch("deployments")["deployments"] if each["deployment"] == "pain-1"]
    assert (listed["state"], listed["uses"][0]["rows_total"]) == ("withdrawn", 3)
