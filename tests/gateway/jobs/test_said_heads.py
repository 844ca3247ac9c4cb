"""A node that starts anew is reminded of what it said of its journal, and one that forgot it takes part in nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import (
    CancelTask,
    HeadsBody,
    Hello,
    JournalHead,
    NextTaskRequest,
    SignedHeads,
    Task,
    TaskResult,
)

from gateway.jobs.nodes import Nodes
from gateway.jobs.said_heads import SaidHeads

EPOCH = KeyEpoch(holders=[KeyHolder(node="node-1", index=1)])


def said(epoch: int, counter: int) -> SignedHeads:
    heads = [JournalHead(counter=counter)]
    return SignedHeads(body=HeadsBody(key_epoch=epoch, heads=heads).SerializeToString(), signature=b"signed")


def test_the_latest_is_kept_and_outlives_the_gateway(tmp_path: Path) -> None:
    kept = SaidHeads(tmp_path / "heads")
    assert kept.of("node-1") is None
    for epoch, counter in ((1, 7), (1, 9), (1, 8)):
        kept.put("node-1", said(epoch, counter))
    kept = SaidHeads(tmp_path / "heads")
    assert kept.of("node-1") == said(1, 9)
    assert kept.of("node-2") is None
    # A new key begins anew.
    kept.put("node-1", said(2, 3))
    assert kept.of("node-1") == said(2, 3)


def test_a_file_that_is_garbage_reminds_of_nothing(tmp_path: Path) -> None:
    kept = SaidHeads(tmp_path / "heads")
    (tmp_path / "heads" / "node-1").write_bytes(b"\xff")
    assert kept.of("node-1") is None
    kept.put("node-1", said(1, 1))
    assert kept.of("node-1") == said(1, 1)


def nodes(folder: Path) -> Nodes:
    kept = SaidHeads(folder / "heads")
    kept.put("node-1", said(1, 9))
    return Nodes(lambda hello: EPOCH, kept)


async def poll(gateway: Nodes, run: str, received: int = 0) -> Task:
    request = NextTaskRequest(run=run, hello=Hello(node="node-1"), received=received)
    return await gateway.next_task("node-1", request, 5)


def answer(task: Task, failure: Failure | None = None) -> TaskResult:
    result = TaskResult(id=task.id, failure=failure)
    if failure is None:
        result.recalled.SetInParent()
    return result


def test_a_node_counts_as_connected_once_it_has_answered(tmp_path: Path) -> None:
    async def scene() -> None:
        gateway = nodes(tmp_path)
        reminder = await poll(gateway, "first")
        assert reminder.recall.heads == said(1, 9)
        assert gateway.missing() == ["node-1"]
        await gateway.complete("node-1", answer(reminder))
        assert gateway.check_connected() == EPOCH

    asyncio.run(scene())


def test_a_node_that_forgot_is_named_before_anything_is_charged(tmp_path: Path) -> None:
    async def scene() -> None:
        gateway = nodes(tmp_path)
        reminder = await poll(gateway, "first")
        await gateway.complete(
            "node-1", answer(reminder, Failure(code="rolled_back", message="Restored.", hint="rekey"))
        )
        with pytest.raises(Problem, match="node-1: Restored") as raised:
            gateway.check_connected()
        assert (raised.value.code, raised.value.hint) == ("rolled_back", "rekey")
        # Until it starts anew, with the journal that it had.
        await gateway.complete("node-1", answer(await poll(gateway, "second", reminder.sequence)))
        assert gateway.check_connected() == EPOCH

    asyncio.run(scene())


def test_the_reminder_comes_before_what_was_left_undone(tmp_path: Path) -> None:
    async def scene() -> None:
        gateway = nodes(tmp_path)
        first = await poll(gateway, "first")
        await gateway.complete("node-1", answer(first))
        asking = asyncio.create_task(gateway.ask("node-1", lambda: [Task(job="job-1", cancel=CancelTask())]))
        undone = await poll(gateway, "first", first.sequence)
        assert undone.HasField("cancel")
        again = await poll(gateway, "second")
        assert again.HasField("recall")
        await gateway.complete("node-1", answer(again))
        assert (await poll(gateway, "second", again.sequence)).id == undone.id
        asking.cancel()

    asyncio.run(scene())
