"""A node that sends a wrong part of an opening: the gateway asks for proofs then, and only then, and names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from yingbi.api import digests
from yingbi.api.parts import split_result
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.node_pb2 import BoundTotal, OpenedTotal, OpeningShare, TaskResult

from enclave_sim import opening
from enclave_sim.enclave import Enclave
from enclave_sim.paillier.encoding import to_bytes
from gateway.aggregation.total import Total
from gateway.aggregation.vectors import Vectors
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Messages, Nodes, Take, no_take
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.storage.database import Database
from tests.attacks.three_enclaves import Trio, with_partials

JOB = "job-1"
Change = Callable[[Enclave, OpeningShare], OpeningShare]


class Relayed(Nodes):
    """Nodes whose enclaves are in this process. What the liar's says is changed, at its first or at its second part."""

    def __init__(
        self, enclaves: list[Enclave], liar: str = "", lies: tuple[Change | None, Change | None] = (None, None)
    ) -> None:
        super().__init__(lambda hello: KeyEpoch())
        self._enclaves = {enclave.node: enclave for enclave in enclaves}
        self._liar, self._lies = liar, lies
        self.asked: list[tuple[str, bool]] = []

    def missing(self) -> list[str]:
        return []

    async def ask(self, name: str, messages: Messages, take: Take = no_take) -> TaskResult:
        (task,) = messages()
        share = opening.open_total(self._enclaves[name], task.job, task.open)
        self.asked.append((name, task.open.prove))
        lie = self._lies[task.open.prove]
        if name == self._liar and lie is not None:
            share = lie(self._enclaves[name], share)
        *_, last = parts = list(split_result(TaskResult(job=task.job, opening_share=share)))
        for part in parts:
            take(name, part)
        return last


def doubled(enclave: Enclave, share: OpeningShare) -> OpeningShare:
    """A wrong part, signed by its corrupt enclave."""
    n = enclave.key.n
    wrong = [2 * int.from_bytes(part, "big") % n for part in share.partials]
    return with_partials(enclave, share, to_bytes(wrong, n), sign=True)


def unproven(_: Enclave, share: OpeningShare) -> OpeningShare:
    """Without the proof that was asked for."""
    return OpeningShare(body=share.body, signature=share.signature, partials=share.partials, part=share.part)


def opened(trio: Trio, nodes: Relayed, folder: Path) -> OpenedTotal:
    """What the gateway's own steps from consents to an opened total come to."""
    plan = trio.plan()
    consents = trio.consent(JOB, trio.contribute(JOB, trio.task(plan)))
    bound = BoundTotal.FromString(trio.enclaves[0].files.load(JOB, "total") or b"")
    numbers = [int.from_bytes(number, "big") for number in bound.ciphertexts]
    total = Total(numbers, digests.digest_all(digests.CIPHERTEXTS, bound.ciphertexts))
    record = cast(JobRecord, SimpleNamespace(job=JOB, plan=plan.SerializeToString(deterministic=True)))
    by_name = {enclave.node: consent for enclave, consent in zip(trio.enclaves, consents, strict=True)}
    database = Database(folder / "gateway.db")
    try:
        runner = Runner(database, nodes, Feed(), Vectors(folder / "vectors"))
        return asyncio.run(runner._opened(record, trio.enclaves[0].epoch, total, by_name))
    finally:
        database.close()


def test_honest_nodes_are_asked_once_and_for_no_proof(trio: Trio, tmp_path: Path) -> None:
    nodes = Relayed(trio.enclaves)
    result = opened(trio, nodes, tmp_path)
    assert len(nodes.asked) == trio.enclaves[0].epoch.threshold
    assert {prove for _, prove in nodes.asked} == {False}
    trio.sign_opened(JOB, result)


@pytest.mark.parametrize("lies", [(doubled, doubled), (doubled, None), (doubled, unproven)])
def test_a_node_that_sends_a_wrong_part_is_named_whatever_it_says_next(
    trio: Trio, tmp_path: Path, lies: tuple[Change, Change | None]
) -> None:
    """For a wrong part there is no proof, and a right one afterwards contradicts what it signed before."""
    openers = Relayed(trio.enclaves)
    opened(trio, openers, tmp_path)
    for liar, _ in openers.asked:
        nodes = Relayed(trio.enclaves, liar, lies)
        with pytest.raises(Problem) as raised:
            opened(trio, nodes, tmp_path)
        assert (raised.value.code, liar in raised.value.message) == ("bad_share", True)
        assert nodes.asked[len(openers.asked) :] == [(name, True) for name, _ in openers.asked]
