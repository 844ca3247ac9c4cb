"""Attacks that still succeed. They need an enclave that was restored from a backup.

They are strict: whoever closes one of them is told here, and then removes the mark.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import Contribution, OpenTask
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import jobs, opening
from enclave_sim.enclave import Enclave, load_enclave
from enclave_sim.engine.protocol import never
from enclave_sim.plan.layout import layout_of
from gateway.aggregation.total import add_up, open_with
from tests.attacks.three_enclaves import NODES, Trio

# What a test raises where its attack succeeds; anything else is a broken test.
SUCCEEDS = (AssertionError, pytest.fail.Exception)


def _opened(enclaves: Sequence[Enclave], contributions: Sequence[Contribution]) -> bool:
    """Whether these enclaves' shares open the total of these contributions."""
    key = enclaves[0].key
    stretches = [(0, [list(each.ciphertexts) for each in contributions])]
    try:
        task = OpenTask(contributions=contributions)
        shares = [opening.open_total(enclave, "job-1", task) for enclave in enclaves]
        total = add_up(stretches, contributions, key)
        plan = Plan.FromString(enclaves[0].files.load("job-1", "plan") or b"")
        open_with(shares, total, enclaves[0].epoch, key, layout_of(plan, key.public.bits))
    except Problem:
        return False
    return True


@pytest.mark.xfail(
    strict=True, raises=SUCCEEDS, reason="no counter that peers countersign yet; 2t > n + corrupt fails for t=2, n=3"
)
def test_an_enclave_restored_from_a_backup_opens_no_second_total(trio: Trio, tmp_path: Path) -> None:
    """Section 3, "No roll-back": a host that runs two copies of its enclave gets the noise drawn twice."""
    backup = shutil.copytree(trio.folder / NODES[2], tmp_path / "backup")
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    restored = load_enclave(backup, trio.ca_pem)
    again = jobs.contribute(restored, "job-1", trio.task(trio.plan()), never)
    first = _opened([trio.enclaves[0], trio.enclaves[2]], contributions)
    second = _opened([trio.enclaves[1], restored], [*contributions[:2], again])
    restored.journal.close()
    assert not (first and second)
