"""Accounts: to which organisation each belongs, in files of today and of before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.governance.callers import Caller, Role, load_callers, save_callers

ADA = Caller("ada", Role.DEVELOPER, "ab", "cd", "college")
OPERATOR = Caller("op", Role.OPERATOR, "ab", "cd", "operator")


@pytest.mark.requirement("ROL-01")
def test_accounts_are_read_as_they_were_written(tmp_path: Path) -> None:
    save_callers(tmp_path / "callers.json", [ADA, OPERATOR])
    assert load_callers(tmp_path / "callers.json") == [ADA, OPERATOR]


@pytest.mark.requirement("ROL-01")
def test_an_account_of_a_file_without_organisations_is_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    path.write_text(json.dumps([{"name": "ada", "role": "developer", "bearer_hash": "ab", "signing_key": "cd"}]))
    assert load_callers(path) == [replace(ADA, organisation="ada")]


@pytest.mark.parametrize("name", ["", "x" * 64])
def test_an_organisation_has_a_short_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "callers.json"
    save_callers(path, [ADA])
    path.write_text(path.read_text().replace('"college"', json.dumps(name)))
    with pytest.raises(ValueError, match="the organisation of ada must have 1 to 63 characters"):
        load_callers(path)


def test_only_developers_spend() -> None:
    assert (ADA.spends_as, OPERATOR.spends_as) == ("college", None)
