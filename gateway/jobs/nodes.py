"""The provider nodes as the gateway sees them: who is connected, and what they are asked to do.

Nodes dial out. A node asks for its next task and waits; a task given to a node that starts anew is given
again, since every task may be done twice with the same result. A task with long vectors is several messages, and so
is its result: the next one goes out when the node asks for more, and comes in when the one before was taken, so that
no more than one of each node is in memory.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from yingbi.api.parts import is_last
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence, KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import Hello, NextTaskRequest, RecallTask, SignedHeads, Task, TaskResult

from gateway.jobs.programs import common_environment
from gateway.jobs.said_heads import SaidHeads

log = logging.getLogger("gateway.nodes")

# A node is between two polls for no longer than this.
GRACE_SECONDS = 2.0


Messages = Callable[[], Iterable[Task]]
"""The messages of one task, made when they are sent, and anew for a node that starts anew."""

Take = Callable[[str, TaskResult], None]
"""What is done with each message of a node's result, in a thread; a message may come again, or all from the first."""


Heard = Callable[[TaskResult], None]
"""What is done with the answer to what a node was told first."""


def no_take(node: str, result: TaskResult) -> None:
    """For results of one message."""


@dataclass
class _Asked:
    """A task that a node was asked to do."""

    messages: Messages
    take: Take
    result: asyncio.Future[TaskResult]
    # Whoever has it given first gives it again to a node that starts anew.
    first: bool = False


@dataclass
class _Node:
    hello: Hello
    run: str = ""
    polls: int = 0
    # Which poll is the node's last: an earlier one that still waits is on a connection that the node gave up.
    last_poll: int = 0
    last_seen: float = 0.0
    waiting: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    # Tasks of one message that go before all others, and between the messages of one.
    first: deque[str] = field(default_factory=deque)
    tasks: dict[str, _Asked] = field(default_factory=dict)
    # What is left of the task whose messages are on their way.
    sending: Iterator[Task] = field(default_factory=lambda: iter(()))
    # The last message, until the node says that it arrived.
    sent: Task = field(default_factory=Task)
    # Of a node that was reminded of its journal: what it says to that.
    recalled: asyncio.Future[TaskResult] | None = None

    def connected(self) -> bool:
        return self._is_here() and (self.recalled is None or self.recalled.done()) and self.refusal() is None

    def refusal(self) -> Failure | None:
        """Why its enclave takes part in nothing."""
        if self.recalled is None or not self.recalled.done():
            return None
        result = self.recalled.result()
        return result.failure if result.WhichOneof("kind") == "failure" else None

    def _is_here(self) -> bool:
        return self.polls > 0 or time.monotonic() - self.last_seen < GRACE_SECONDS


class Nodes:
    """All nodes of the zone's key epoch."""

    def __init__(self, verify: Callable[[Hello], KeyEpoch], said: SaidHeads | None = None) -> None:
        """`verify` checks a node's evidence and key epoch, and raises EvidenceError.

        A node that starts anew is reminded of what `said` has of it; nothing is without.
        """
        self._verify = verify
        self._said = said
        self._nodes: dict[str, _Node] = {}
        # Tasks of another run of the gateway have other ids: what a node has of one is no part of any of these.
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._sequence = itertools.count(1)
        self.signed_epoch: SignedKeyEpoch | None = None
        self.epoch: KeyEpoch | None = None
        # What a node that starts anew is told before it gets any task.
        self.told_first: Callable[[str], Iterable[tuple[Messages, Heard]]] = lambda name: ()

    def expect(self, signed: SignedKeyEpoch, epoch: KeyEpoch) -> None:
        """Which key epoch the nodes are to be in that connect."""
        self.signed_epoch, self.epoch = signed, epoch

    async def next_task(self, name: str, request: NextTaskRequest, wait_seconds: float) -> Task:
        """The next message for the node, or an empty one after `wait_seconds`; raises Problem or EvidenceError."""
        node = self._welcome(name, request.run, request.hello)
        if node.sent.sequence != request.received and node.sent.id in node.tasks:
            return node.sent
        node.polls += 1
        node.last_poll = poll = node.last_poll + 1
        try:
            message = await asyncio.wait_for(self._next(node, poll), wait_seconds)
        except TimeoutError:
            message = Task()
        except asyncio.CancelledError:
            # The connection is gone, and the node with it as far as anybody can tell, unless it has a newer one.
            if poll == node.last_poll:
                node.last_seen = -GRACE_SECONDS
            raise
        finally:
            node.polls -= 1
        node.last_seen = time.monotonic()
        return message

    async def complete(self, name: str, result: TaskResult) -> None:
        """Hand a result to whoever waits for it; a result that nobody waits for is dropped."""
        node = self._nodes.get(name)
        asked = node.tasks.get(result.id) if node else None
        if asked is None or asked.result.done():
            return
        try:
            if result.WhichOneof("kind") != "failure":
                await asyncio.to_thread(asked.take, name, result)
        except Exception as error:
            _end(asked.result, error)
        if is_last(result):
            _end(asked.result, result)

    async def ask(self, name: str, messages: Messages, take: Take = no_take) -> TaskResult:
        """Give a task to a node and wait for its result, the last message; a failure there is raised as Problem.

        What `take` raises ends the task here, and is raised.
        """
        task = self._give(self._nodes[name], messages, take)
        try:
            result = await self._nodes[name].tasks[task].result
        finally:
            self._nodes[name].tasks.pop(task, None)
        if result.WhichOneof("kind") == "failure":
            failure = result.failure
            log.warning("%s did not do its part of job %s: %s: %s", name, result.job, failure.code, failure.message)
            raise Problem(Kind.FAILED, failure.code, f"{name}: {failure.message}", hint=failure.hint or None)
        return result

    def tell_first(self, name: str, messages: Messages, heard: Heard) -> None:
        """Give a node a task of one message before all that it was given; nothing to one that never connected."""
        if node := self._nodes.get(name):
            self._give_first(node, messages, heard)

    def states(self) -> dict[str, bool]:
        """Which nodes of the epoch are connected, in the order of their key indexes."""
        holders = [holder.node for holder in self.epoch.holders] if self.epoch else []
        return {name: name in self._nodes and self._nodes[name].connected() for name in holders}

    def heard(self, name: str, said: SignedHeads) -> None:
        """Keep what a node's enclave says of its journal, to remind it when it starts anew."""
        if self._said is not None:
            self._said.put(name, said)

    def refusals(self) -> dict[str, Failure]:
        """By node: why its enclave takes part in nothing, where it said so."""
        refusals = {name: node.refusal() for name, node in self._nodes.items()}
        return {name: refusal for name, refusal in refusals.items() if refusal is not None}

    def evidence(self, name: str) -> Evidence | None:
        """What a node's enclave showed of itself when it connected last."""
        node = self._nodes.get(name)
        return None if node is None else node.hello.evidence

    def missing(self) -> list[str]:
        """The nodes of the epoch that are not connected."""
        return [name for name, connected in self.states().items() if not connected]

    def check_connected(self) -> KeyEpoch:
        """The key epoch, if all its nodes are connected; raises Problem that names the others."""
        if self.epoch is None:
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", "No provider node has connected yet.")
        for name, refusal in self.refusals().items():
            said = f"{name}: {refusal.message} Every provider's node takes part in a job; nothing was charged."
            raise Problem(Kind.UNAVAILABLE, refusal.code, said, hint=refusal.hint or None)
        if missing := self.missing():
            raise unavailable(missing)
        return self.epoch

    def check_programs(self) -> None:
        """Raise Problem that names a node whose enclave runs no programs, and says why."""
        for name, node in self._nodes.items():
            if node.hello.HasField("no_sandbox"):
                raise Problem(
                    Kind.REFUSED,
                    "sandbox_unavailable",
                    f"{name} runs no programs: {node.hello.no_sandbox} Nothing was charged.",
                    hint="ask in SQL, which needs no sandbox, or ask the zone's operator",
                    details={"node": name},
                )

    def program_environment(self) -> ProgramEnvironment | None:
        """What programs can import at every node that connected; None where one runs none, or none has connected."""
        said = [node.hello.programs for node in self._nodes.values() if node.hello.HasField("programs")]
        return common_environment(said) if said and len(said) == len(self._nodes) else None

    def _welcome(self, name: str, run: str, hello: Hello) -> _Node:
        node = self._nodes.get(name)
        if node is None or node.run != run:
            epoch = self._verify(hello)
            if hello.node != name or name not in [holder.node for holder in epoch.holders]:
                raise Problem(Kind.NOT_ALLOWED, "unknown_node", f"{name} is no key holder of this zone.")
            self.signed_epoch, self.epoch = hello.key_epoch, epoch
            node = self._restart(name, run, hello)
        return node

    def _restart(self, name: str, run: str, hello: Hello) -> _Node:
        """A node that starts anew gets again what it had not finished."""
        given = self._nodes[name].tasks if name in self._nodes else {}
        unfinished = {task: each for task, each in given.items() if not each.result.done() and not each.first}
        node = _Node(hello=hello, run=run)
        for messages, heard in self.told_first(name):
            self._give_first(node, messages, heard)
        if self._said is not None and (said := self._said.of(name)) is not None:
            recall = RecallTask(heads=said)
            task = self._give(node, lambda: [Task(recall=recall)], no_take)
            node.recalled = node.tasks[task].result
        node.tasks.update(unfinished)
        for task in unfinished:
            node.waiting.put_nowait(task)
        self._nodes[name] = node
        return node

    def _give(self, node: _Node, messages: Messages, take: Take) -> str:
        """Queue a task for a node; its id."""
        task = f"{self._run}-{next(self._numbers)}"
        node.tasks[task] = _Asked(messages, take, asyncio.get_running_loop().create_future())
        node.waiting.put_nowait(task)
        return task

    def _give_first(self, node: _Node, messages: Messages, heard: Heard) -> None:
        task = f"{self._run}-{next(self._numbers)}"
        result: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()

        def done(future: asyncio.Future[TaskResult]) -> None:
            node.tasks.pop(task, None)
            if not future.cancelled() and future.exception() is None:
                heard(future.result())

        result.add_done_callback(done)
        node.tasks[task] = _Asked(messages, no_take, result, first=True)
        node.first.append(task)
        # Whoever waits for a task looks again.
        node.waiting.put_nowait("")

    def _first(self, node: _Node) -> Task | None:
        while node.first:
            for message in self._messages(node, node.first.popleft()):
                return message
        return None

    async def _next(self, node: _Node, poll: int) -> Task:
        while True:
            if (told := self._first(node)) is not None:
                node.sent = told
                return told
            message = next(node.sending, None)
            if message is None:
                task = await node.waiting.get()
                if poll != node.last_poll:
                    node.waiting.put_nowait(task)
                    return Task()
                node.sending = self._messages(node, task)
            elif message.id in node.tasks:
                node.sent = message
                return message

    def _messages(self, node: _Node, task: str) -> Iterator[Task]:
        """Those of a task that somebody still waits for, numbered; where one cannot be made, that ends the task."""
        asked = node.tasks.get(task)
        if asked is None:
            return
        try:
            for message in asked.messages():
                message.id, message.sequence = task, next(self._sequence)
                yield message
        except Exception as error:
            _end(asked.result, error)


def _end(future: asyncio.Future[TaskResult], outcome: TaskResult | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def unavailable(missing: Iterable[str]) -> Problem:
    """What a caller is told when providers' nodes are down."""
    names = ", ".join(missing)
    return Problem(
        Kind.UNAVAILABLE,
        "node_unavailable",
        f"Not connected: {names}. Every provider's node takes part in a job; nothing was charged.",
        hint="`yingbi status DIR` shows what runs; `yingbi down DIR` and `yingbi up DIR` start it again",
        details={"nodes": names},
    )


async def first_failure(awaitables: Iterable[Awaitable[TaskResult]]) -> list[TaskResult]:
    """All results in order; the first failure cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
