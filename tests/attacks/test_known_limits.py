"""Attacks that still succeed.

They are strict: whoever closes one of them is told here, and then removes the mark.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.three_enclaves import Trio

# What a test raises where its attack succeeds; anything else is a broken test.
SUCCEEDS = (AssertionError, pytest.fail.Exception)


@pytest.mark.xfail(
    strict=True, raises=SUCCEEDS, reason="nothing inside a zone remembers; it takes a witness outside, or hardware"
)
def test_a_zone_restored_as_a_whole_draws_no_second_noise(trio: Trio, tmp_path: Path) -> None:
    """Every node at once, with all that any of them has seen of the others; or the one node of a zone of one."""
    before = trio.copy(tmp_path / "before")
    task = trio.task(trio.plan())
    first = trio.run("job-1", task).opened
    second = before.run("job-1", task).opened
    before.close()
    assert first == second
