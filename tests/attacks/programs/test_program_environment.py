"""What a zone says that programs can import is what they can import."""

from __future__ import annotations

from enclave_sim.sandbox import Sandbox, preload
from tests.attacks.programs.attempts import NO_TABLES


def test_packages_are_those_that_are_loaded_in_their_versions(sandbox: Sandbox) -> None:
    assert sorted(preload.installed()) == list(sandbox.profile.modules)


def test_all_that_is_listed_can_be_imported_inside(sandbox: Sandbox) -> None:
    names = [each.split()[0] for each in preload.installed()[1:]] + preload.standard()
    source = f"import importlib\ndef run(tables):\n    return [len([importlib.import_module(n) for n in {names}])]"
    assert list(sandbox.run(source.encode(), [NO_TABLES], 1, slots=False)) == [(float(len(names)),)]


def test_what_is_not_there_cannot_be_imported_inside(sandbox: Sandbox) -> None:
    """Though it is installed where the enclave runs: there is no file to read it from."""
    assert "sqlite3" not in preload.standard()
    assert list(sandbox.run(b"import sqlite3\ndef run(t): return [1]", [NO_TABLES], 1, slots=False)) == [None]
