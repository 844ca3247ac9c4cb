"""DatasetService."""

from __future__ import annotations

from functools import partial

from google.protobuf.empty_pb2 import Empty
from sqlalchemy import Connection
from yingbi.api.evidence import roster_digest
from yingbi.api.v1 import dataset_pb2 as messages
from yingbi.api.v1.dataset_pb2_grpc import DatasetServiceServicer
from yingbi.api.v1.job_pb2 import Failure

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.callers import Caller
from gateway.governance.policy import Action, check, may
from gateway.governance.registration import check_registration, fits
from gateway.jobs.nodes import Nodes
from gateway.ledger import history
from gateway.storage import catalogue
from gateway.storage.database import Database


class DatasetService(DatasetServiceServicer):
    """Datasets of the zone, and the state of its nodes."""

    def __init__(
        self, database: Database, nodes: Nodes, authentication: Authentication, *, governed: bool = False
    ) -> None:
        """`governed`: datasets are registered with all that the catalogue needs."""
        self._database = database
        self._nodes = nodes
        self._authentication = authentication
        self._governed = governed

    @answers
    async def GetZone(self, request: Empty, context: Context) -> messages.Zone:
        self._authentication.caller(context)
        states, refusals = self._nodes.states(), self._nodes.refusals()
        return messages.Zone(
            state="ready" if states and all(states.values()) else "starting",
            nodes=[
                messages.NodeState(
                    name=name,
                    connected=connected,
                    refusal=refusal.message,
                    hint=refusal.hint,
                    evidence=self._nodes.evidence(name),
                )
                for name, connected in states.items()
                for refusal in [refusals.get(name, Failure())]
            ],
            key_epoch=self._nodes.signed_epoch,
        )

    @answers
    async def RegisterDataset(self, request: messages.RegisterDatasetRequest, context: Context) -> messages.Dataset:
        caller = self._authentication.caller(context)
        check(caller, Action.REGISTER_DATASET)
        epoch = self._nodes.epoch or self._nodes.check_connected()
        new = check_registration(request, epoch, governed=self._governed)
        register = partial(catalogue.register, person=caller.name, organisation=caller.organisation)
        return await self._database.run(register, new)

    @answers
    async def ListDatasets(
        self, request: messages.ListDatasetsRequest, context: Context
    ) -> messages.ListDatasetsResponse:
        caller = self._authentication.caller(context)
        found = await self._database.run(catalogue.list_all, caller.spends_as)
        return messages.ListDatasetsResponse(datasets=map(self._marked, found))

    @answers
    async def GetDataset(self, request: messages.GetDatasetRequest, context: Context) -> messages.Dataset:
        caller = self._authentication.caller(context)
        return self._marked(await self._database.run(catalogue.show, request.dataset, caller.spends_as))

    @answers
    async def GetBudgetHistory(
        self, request: messages.GetBudgetHistoryRequest, context: Context
    ) -> messages.BudgetHistory:
        caller = self._authentication.caller(context)
        return await self._database.run(_history, request.dataset, caller)

    def _marked(self, dataset: messages.Dataset) -> messages.Dataset:
        """What the nodes can run, and whether they are still those that it was added with: not the catalogue's."""
        epoch = self._nodes.epoch
        registration = messages.RegisterDatasetRequest(shards=dataset.shards).SerializeToString()
        if environment := self._nodes.program_environment():
            dataset.programs.CopyFrom(environment)
        dataset.needs_adding_again = epoch is not None and not fits(registration, roster_digest(epoch))
        return dataset


def _history(connection: Connection, dataset: str, caller: Caller) -> messages.BudgetHistory:
    """Whoever may see all jobs sees who spent what; all others only what is their own organisation's."""
    declaration = catalogue.find(connection, dataset).declaration
    return history.of_dataset(connection, declaration, None if may(caller, Action.SEE_JOBS) else caller.organisation)
