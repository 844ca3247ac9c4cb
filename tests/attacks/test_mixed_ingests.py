"""Shards of different ingests never make one dataset version."""

from __future__ import annotations

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from tests.attacks.three_enclaves import Trio, refusal, visits_declaration, visits_of


def test_shards_of_two_ingests_make_no_dataset_version(trio: Trio) -> None:
    """A unit that moved from one provider to another would be counted twice under `units_disjoint`."""
    first = [visits_of(node) for node in range(3)]
    trio.add(visits_declaration("moved"), first)
    task = trio.task(trio.plan(dataset="moved"))
    before = trio.shards["moved"]
    trio.add(visits_declaration("moved"), [first[1], first[0], first[2]])
    del task.shards[:]
    task.shards.extend([before[0], *trio.shards["moved"][1:]])
    assert {refusal(jobs.contribute, enclave, "job-1", task, never) for enclave in trio.enclaves} == {"bad_shards"}
