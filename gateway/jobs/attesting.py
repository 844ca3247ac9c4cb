"""Asking enclaves for fresh evidence, for whoever has a nonce of their own. It is for the asker alone to verify."""

from __future__ import annotations

import asyncio

from yingbi.api.eat import MAX_NONCE, MIN_NONCE
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.attestation_pb2 import Evidence
from yingbi.api.v1.node_pb2 import AttestTask, Task

from gateway.jobs.nodes import Nodes, first_failure

ANSWER_SECONDS = 20.0


async def fresh_evidence(nodes: Nodes, node: str, nonce: bytes) -> list[Evidence]:
    """What the one node's enclave shows for the nonce, or, without a name, what all of the key epoch show.

    Raises:
        Problem: MALFORMED "nonce"; UNKNOWN "unknown_node"; UNAVAILABLE "node_unavailable" where one is not connected or
            does not answer.
    """
    if not MIN_NONCE <= len(nonce) <= MAX_NONCE:
        said = f"A nonce has {MIN_NONCE} to {MAX_NONCE} bytes, and this has {len(nonce)}."
        raise Problem(Kind.MALFORMED, "nonce", said, field="nonce")
    names = _connected(nodes, node)
    asking = first_failure(nodes.ask(name, lambda: [Task(attest=AttestTask(nonce=nonce))]) for name in names)
    try:
        results = await asyncio.wait_for(asking, ANSWER_SECONDS)
    except TimeoutError as error:
        said = f"Not every enclave answered within {ANSWER_SECONDS:.0f} seconds: {', '.join(names)} were asked."
        raise Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint="ask again") from error
    return [result.evidence for result in results]


def _connected(nodes: Nodes, node: str) -> list[str]:
    """The one node, or all of the key epoch; raises Problem unless they are connected."""
    states = nodes.states()
    if node and node not in states:
        near = nearest(node, list(states))
        raise Problem(
            Kind.UNKNOWN,
            "unknown_node",
            f"The zone has no node {node!r}; it has {', '.join(states)}.",
            field="node",
            hint=f"did you mean {near}?" if near else None,
        )
    names = [node] if node else list(states)
    if missing := [name for name in names if not states[name]]:
        said = f"Not connected: {', '.join(missing)}. An enclave that does not run shows nothing."
        hint = "`yingbi status DIR` shows what runs; `yingbi down DIR` and `yingbi up DIR` start it again"
        raise Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint=hint)
    return names
