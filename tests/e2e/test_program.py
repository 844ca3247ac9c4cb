"""A program through real processes: its mean with a receipt that verifies, or refused with nothing spent."""

from __future__ import annotations

from pathlib import Path

import pytest
from yingbi.api.configuration import SANDBOX

from tests.e2e.test_ask import METADATA, tables
from tests.zones import Zone

pytestmark = pytest.mark.xdist_group("zone")

PROGRAM = b"""
def run(tables):
    age = tables["people"]["age"].mean()
    return [age, len(tables["visits"]) / len(tables["people"]), age]
"""


def test_a_program_runs_in_the_enclaves_or_is_refused_before_it_costs(zone: Zone, tmp_path: Path) -> None:
    zone.add(tmp_path / "programs", METADATA.replace("dataset: clinic", "dataset: programs"), tables())
    file = tmp_path / "program.py"
    file.write_bytes(PROGRAM)
    outputs = ["--output", "age: float[0,100]", "--output", "visits: float[0,10]"]
    outputs += ["--output", "typical_age: median float[0,100]", "--publish-source"]
    asked: list[str | Path] = ["run", "programs", file, *outputs, "--blocks", "10", "--seconds", "0.6"]
    asked += ["--epsilon", "100", "--request-id", "programs-1"]
    previewed = zone.call(*asked, "--preview", "--json")
    if previewed.code:
        assert previewed.json["code"] == "sandbox_unavailable"
        assert zone.problem(previewed.code, *asked)["code"] == "sandbox_unavailable"
        assert zone.spent("programs") == 0
        return
    answer = zone.fetch(*asked, "--save-receipt", tmp_path / "receipt.json")
    # Blocks of 100 people: means near 50 years and 2.5 visits each.
    for value, error, exact in zip(answer["rows"][0], answer["std_errors"][0], (50, 2.5, 50), strict=True):
        assert abs(value - exact) <= 6 * error + 0.05 * exact
    assert zone.fetch("receipt", "verify", tmp_path / "receipt.json")["verified"]
    assert zone.fetch(*asked)["job"] == answer["job"]
    assert zone.fetch("approve", answer["job"], "--show")["source"] == PROGRAM.decode()
    imported = tmp_path / "imports.py"
    imported.write_bytes(b"import no_such_package\n" + PROGRAM)
    spent = zone.spent("programs")
    assert zone.problem(3, "run", "programs", imported, *asked[3:-1], "programs-2")["code"] == "program_import"
    assert zone.spent("programs") == spent
    for enclave in zone.fetch("attest")["enclaves"]:
        assert [fact for fact in enclave["configuration"] if fact.startswith(SANDBOX)], "it ran without a proof"
