"""The provider nodes as the gateway sees them: who is connected, and what they are asked to do.

Nodes dial out. A node asks for its next task and waits; a task given to a node that starts anew is given
again, since every task may be done twice with the same result.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.node_pb2 import Hello, Task, TaskResult

# A node is between two polls for no longer than this.
GRACE_SECONDS = 2.0


@dataclass
class _Node:
    hello: Hello
    run: str = ""
    polls: int = 0
    last_seen: float = 0.0
    waiting: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    # By task id: what was asked, and who waits for the result.
    tasks: dict[str, tuple[Task, asyncio.Future[TaskResult]]] = field(default_factory=dict)

    def connected(self) -> bool:
        return self.polls > 0 or time.monotonic() - self.last_seen < GRACE_SECONDS


class Nodes:
    """All nodes of the zone's key epoch."""

    def __init__(self, verify: Callable[[Hello], KeyEpoch]) -> None:
        """`verify` checks a node's evidence and key epoch, and raises EvidenceError."""
        self._verify = verify
        self._nodes: dict[str, _Node] = {}
        self._numbers = itertools.count(1)
        self.signed_epoch: SignedKeyEpoch | None = None
        self.epoch: KeyEpoch | None = None

    def expect(self, signed: SignedKeyEpoch, epoch: KeyEpoch) -> None:
        """Which key epoch the nodes are to be in that connect."""
        self.signed_epoch, self.epoch = signed, epoch

    async def next_task(self, name: str, run: str, hello: Hello, wait_seconds: float) -> Task:
        """The node's next task, or an empty one after `wait_seconds`; raises Problem or EvidenceError."""
        node = self._welcome(name, run, hello)
        node.polls += 1
        try:
            return await asyncio.wait_for(self._take(node), wait_seconds)
        except TimeoutError:
            return Task()
        except asyncio.CancelledError:
            # The connection is gone, and the node with it as far as anybody can tell.
            node.last_seen = -GRACE_SECONDS
            raise
        finally:
            node.polls -= 1
            if node.last_seen >= 0:
                node.last_seen = time.monotonic()

    def complete(self, name: str, result: TaskResult) -> None:
        """Hand a result to whoever waits for it; a result that nobody waits for is dropped."""
        node = self._nodes.get(name)
        _, future = node.tasks.pop(result.id, (None, None)) if node else (None, None)
        if future is not None and not future.done():
            future.set_result(result)

    async def ask(self, name: str, task: Task) -> TaskResult:
        """Give `task` to a node and wait for its result; a failure there is raised as Problem."""
        node = self._nodes[name]
        task.id = f"t{next(self._numbers)}"
        future: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()
        node.tasks[task.id] = (task, future)
        node.waiting.put_nowait(task.id)
        try:
            result = await future
        finally:
            node.tasks.pop(task.id, None)
        if result.WhichOneof("kind") == "failure":
            failure = result.failure
            raise Problem(Kind.FAILED, failure.code, f"{name}: {failure.message}", hint=failure.hint or None)
        return result

    def states(self) -> dict[str, bool]:
        """Which nodes of the epoch are connected, in the order of their key indexes."""
        holders = [holder.node for holder in self.epoch.holders] if self.epoch else []
        return {name: name in self._nodes and self._nodes[name].connected() for name in holders}

    def missing(self) -> list[str]:
        """The nodes of the epoch that are not connected."""
        return [name for name, connected in self.states().items() if not connected]

    def check_connected(self) -> KeyEpoch:
        """The key epoch, if all its nodes are connected; raises Problem that names the others."""
        if self.epoch is None:
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", "No provider node has connected yet.")
        if missing := self.missing():
            raise unavailable(missing)
        return self.epoch

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
        tasks = self._nodes[name].tasks if name in self._nodes else {}
        node = _Node(hello=hello, run=run, tasks=tasks)
        for task in tasks:
            node.waiting.put_nowait(task)
        self._nodes[name] = node
        return node

    async def _take(self, node: _Node) -> Task:
        while True:
            entry = node.tasks.get(await node.waiting.get())
            if entry is not None:
                return entry[0]


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
