"""What nodes are asked and what they answer: nothing is lost, doubled or taken for another task's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import (
    CancelTask,
    Contribution,
    Hello,
    NextTaskRequest,
    OpenedTotal,
    Part,
    SignTask,
    Task,
    TaskResult,
)

from gateway.jobs.nodes import Nodes, Take, first_failure, no_take

NODE = "node-1"
EPOCH = KeyEpoch(holders=[KeyHolder(node=NODE, index=1), KeyHolder(node="node-2", index=2)])


def messages(count: int, job: str = "job-1") -> Callable[[], Iterator[Task]]:
    """A task of so many messages; each says which it is."""
    return lambda: (
        Task(job=job, sign=SignTask(opened=OpenedTotal(cells=[index])), more=index + 1 < count)
        for index in range(count)
    )


class Fake:
    """A node of the gateway's, and what it remembers of the last message."""

    def __init__(self, nodes: Nodes, name: str = NODE) -> None:
        self._nodes, self._name = nodes, name
        self.run, self.received = "run-1", 0

    async def poll(self, wait: float = 0.05) -> Task:
        """Ask once for the next message, and hold it for received."""
        message = await self.lose(wait)
        if message.id:
            self.received = message.sequence
        return message

    async def lose(self, wait: float = 0.05) -> Task:
        """Ask once; the answer does not arrive here."""
        hello = Hello(node=self._name)
        return await self._nodes.next_task(
            self._name, NextTaskRequest(run=self.run, hello=hello, received=self.received), wait
        )

    async def answer(self, task: Task, part: Part | None = None, **said: object) -> None:
        contribution = Contribution(part=part or Part())
        kind = said or {"contribution": contribution}
        await self._nodes.complete(self._name, TaskResult(id=task.id, job=task.job, **kind))  # type: ignore[arg-type]


def new_nodes() -> Nodes:
    nodes = Nodes(lambda hello: EPOCH)
    nodes.epoch = EPOCH
    return nodes


def run(scene: Callable[[Nodes, Fake], Awaitable[None]]) -> None:
    """Play a scene with one node that has said hello."""

    async def play() -> None:
        nodes = new_nodes()
        node = Fake(nodes)
        await node.poll(0.001)
        await asyncio.wait_for(scene(nodes, node), 60)

    asyncio.run(play())


def asking(nodes: Nodes, count: int = 1, take: Take = no_take, job: str = "job-1") -> asyncio.Task[TaskResult]:
    return asyncio.ensure_future(nodes.ask(NODE, messages(count, job), take))


def index_of(message: Task) -> int:
    return int(message.sign.opened.cells[0])


@settings(max_examples=25)
@given(st.integers(1, 6), st.data())
def test_every_message_arrives_once_in_order_whichever_are_lost(count: int, data: st.DataObject) -> None:
    """A message that the node did not get is what it is sent next, until it says that it has it."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = asking(nodes, count)
        got: list[Task] = []
        while len(got) < count:
            if data.draw(st.booleans()):
                await node.lose()
            else:
                got.append(await node.poll())
        assert [index_of(one) for one in got] == list(range(count))
        assert len({one.id for one in got}) == 1
        sequences = [one.sequence for one in got]
        assert sequences == sorted(set(sequences))
        await node.answer(got[-1])
        assert (await asked).id == got[0].id
        assert not (await node.poll(0.001)).id

    run(scene)


def test_the_messages_of_a_task_are_not_mixed_with_anothers() -> None:
    """And each result goes to whom it is for."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = [asking(nodes, 3, job="job-1"), asking(nodes, 2, job="job-2")]
        got = [await node.poll() for _ in range(5)]
        assert [(one.job, index_of(one)) for one in got] == [
            *(("job-1", index) for index in range(3)),
            *(("job-2", index) for index in range(2)),
        ]
        await node.answer(got[4])
        await node.answer(got[0])
        assert [(await one).job for one in asked] == ["job-1", "job-2"]

    run(scene)


@pytest.mark.parametrize("arrived", [0, 1, 2, 3])
def test_a_node_that_starts_anew_is_given_its_tasks_from_the_first_message(arrived: int) -> None:
    """Whatever it had of them: it forgot all."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = asking(nodes, 3)
        for _ in range(arrived):
            await node.poll()
        node.run, node.received = "run-2", 0
        got = [await node.poll() for _ in range(3)]
        assert [index_of(one) for one in got] == [0, 1, 2]
        await node.answer(got[2])
        await asked

    run(scene)


def test_a_node_that_starts_anew_is_not_given_what_nobody_waits_for() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        done, dropped, kept = asking(nodes, 1), asking(nodes, 2, job="job-2"), asking(nodes, 1, job="job-3")
        await node.answer(await node.poll())
        await done
        await node.poll()
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        node.run, node.received = "run-2", 0
        assert (await node.poll()).job == "job-3"
        assert not (await node.poll(0.001)).id
        kept.cancel()

    run(scene)


def test_the_rest_of_a_task_that_nobody_waits_for_is_not_sent() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        dropped = asking(nodes, 3)
        await node.poll()
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        kept = asking(nodes, 1, job="job-2")
        assert (await node.poll()).job == "job-2"
        kept.cancel()

    run(scene)


def test_a_poll_that_the_node_gave_up_takes_no_message_away() -> None:
    """Its connection is gone and the gateway does not know it yet: the newer poll gets the task, all of it, at once."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        given_up = asyncio.ensure_future(node.lose(10))
        await asyncio.sleep(0)
        polling = asyncio.ensure_future(node.poll(10))
        await asyncio.sleep(0)
        asked = [asking(nodes, 2, job="job-1"), asking(nodes, 1, job="job-2")]
        got = [await polling, await node.poll(), await node.poll()]
        # Which of the two tasks goes first is all one.
        assert [index_of(one) for one in got if one.job == "job-1"] == [0, 1]
        assert [index_of(one) for one in got if one.job == "job-2"] == [0]
        assert not (await given_up).id
        for one in asked:
            one.cancel()

    run(scene)


def test_a_node_whose_old_connection_ends_after_it_came_back_stays_connected() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        old = asyncio.ensure_future(node.lose(10))
        await asyncio.sleep(0)
        new = asyncio.ensure_future(node.poll(0.01))
        await asyncio.sleep(0)
        old.cancel()
        await asyncio.gather(old, return_exceptions=True)
        await new
        assert nodes.states() == {NODE: True, "node-2": False}

    run(scene)


def test_a_node_whose_connection_ends_is_gone_until_it_comes_back() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        polling = asyncio.ensure_future(node.poll(10))
        await asyncio.sleep(0)
        assert nodes.missing() == ["node-2"]
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        assert nodes.missing() == [NODE, "node-2"]
        await node.poll(0.001)
        assert nodes.missing() == ["node-2"]

    run(scene)


def test_every_part_of_a_result_is_taken_before_the_result_is_there() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        taken: list[tuple[str, int]] = []
        asked = asking(nodes, take=lambda name, result: taken.append((name, result.contribution.part.first)))
        task = await node.poll()
        for first in (0, 5, 5, 10):
            await node.answer(task, Part(first=first, more=True))
            assert not asked.done()
        await node.answer(task, Part(first=15))
        assert taken == [(NODE, first) for first in (0, 5, 5, 10, 15)]
        assert (await asked).contribution.part.first == 15
        # A node that does not know that it arrived sends it again: it changes nothing any more.
        await node.answer(task, Part(first=0, more=True))
        await node.answer(task, Part(first=15))
        assert len(taken) == 5

    run(scene)


def test_a_part_that_cannot_be_taken_ends_the_task_and_not_the_node() -> None:
    """A full disk, or numbers that are none: the caller hears which, the node may go on sending."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        taken: list[int] = []

        def take(name: str, result: TaskResult) -> None:
            taken.append(result.contribution.part.first)
            raise Problem(Kind.FAILED, "storage", "The disk is full.")

        asked = asking(nodes, take=take)
        task = await node.poll()
        await node.answer(task, Part(first=0, more=True))
        await node.answer(task, Part(first=5))
        with pytest.raises(Problem, match="The disk is full"):
            await asked
        assert taken == [0]
        following = asking(nodes, job="job-2")
        await node.answer(await node.poll())
        assert (await following).job == "job-2"

    run(scene)


def test_a_task_whose_messages_cannot_be_made_ends_with_the_reason() -> None:
    """What is read from disk meanwhile may be gone."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        def broken() -> Iterator[Task]:
            yield Task(job="job-1", more=True)
            raise OSError("gone")

        asked = asyncio.ensure_future(nodes.ask(NODE, broken))
        following = asking(nodes, job="job-2")
        await node.poll()
        assert (await node.poll()).job == "job-2"
        with pytest.raises(OSError, match="gone"):
            await asked
        following.cancel()

    run(scene)


def test_a_refusal_is_raised_and_logged_with_node_job_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        taken: list[str] = []
        asked = asking(nodes, take=lambda name, result: taken.append(name), job="job-7")
        failure = Failure(code="bad_plan", message="The plan is refused.", hint="ask another")
        await node.answer(await node.poll(), failure=failure)
        with pytest.raises(Problem) as refused:
            await asked
        assert (refused.value.code, refused.value.hint) == ("bad_plan", "ask another")
        assert str(refused.value).startswith("node-1: The plan is refused.")
        assert not taken

    with caplog.at_level(logging.WARNING):
        run(scene)
    (record,) = caplog.records
    assert all(said in record.getMessage() for said in ("node-1", "job-7", "bad_plan", "The plan is refused."))


def test_no_task_has_the_id_of_one_of_another_run_of_the_gateway() -> None:
    """A node outlives a gateway: it may hold half of an old task, or send a result of one."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = asking(nodes)
        old = await node.poll()
        again = new_nodes()
        same_node = Fake(again)
        same_node.run, same_node.received = node.run, node.received
        await same_node.poll(0.001)
        anew = asyncio.ensure_future(again.ask(NODE, messages(1)))
        new = await same_node.poll()
        assert new.id != old.id
        await same_node.answer(old)
        assert not anew.done()
        await same_node.answer(new)
        assert (await anew).id == new.id
        asked.cancel()

    run(scene)


def test_a_message_of_another_run_of_the_gateway_does_not_count_as_received() -> None:
    """The node names a sequence that this run has not come to, or one that it gives to another message."""

    async def scene(nodes: Nodes, node: Fake) -> None:
        node.received = 1
        asked = asking(nodes, 2)
        got = [await node.poll(), await node.poll()]
        assert [index_of(one) for one in got] == [0, 1]
        asked.cancel()

    run(scene)


def test_results_of_unknown_nodes_and_tasks_are_dropped() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = asking(nodes)
        task = await node.poll()
        await Fake(nodes, "node-2").answer(task)
        await node.answer(Task(id="nobody's"))
        assert not asked.done()
        await node.answer(task)
        await asked

    run(scene)


def test_a_cancellation_is_a_task_like_any_other() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        asked = asyncio.ensure_future(nodes.ask(NODE, lambda: [Task(job="job-1", cancel=CancelTask())]))
        task = await node.poll()
        assert task.WhichOneof("kind") == "cancel"
        result = TaskResult(id=task.id, job=task.job)
        result.cancelled.SetInParent()
        await nodes.complete(NODE, result)
        assert (await asked).HasField("cancelled")

    run(scene)


def test_the_first_failure_ends_what_other_nodes_are_asked() -> None:
    async def scene(nodes: Nodes, node: Fake) -> None:
        async def fails() -> TaskResult:
            raise Problem(Kind.FAILED, "x", "This one fails.")

        with pytest.raises(Problem, match="This one fails"):
            await first_failure([nodes.ask(NODE, messages(2)), fails()])
        assert not (await node.poll(0.001)).id

    run(scene)
