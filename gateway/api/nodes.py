"""NodeService: what provider nodes call. They authenticate with client certificates, on a port of their own."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from yingbi.api.v1 import node_pb2 as messages
from yingbi.api.v1.node_pb2_grpc import NodeServiceServicer

from gateway.api.authentication import node_name
from gateway.api.errors import Context, answers
from gateway.jobs.nodes import Nodes

MAX_WAIT_SECONDS = 60


class NodeService(NodeServiceServicer):
    """Tasks out, results in."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @answers
    async def NextTask(self, request: messages.NextTaskRequest, context: Context) -> messages.Task:
        wait = min(max(request.wait_seconds, 1), MAX_WAIT_SECONDS)
        return await self._nodes.next_task(node_name(context), request, wait)

    @answers
    async def CompleteTask(self, request: messages.CompleteTaskRequest, context: Context) -> Empty:
        await self._nodes.complete(node_name(context), request.result)
        return Empty()
