"""Stops beside what they ended: who stopped it, when, why, and what each node signed of it, checked by the console.

The key of a node's enclave comes from fresh evidence, which the console verifies; the gateway's word for it counts
nothing. A proof is compared with the stop that the page shows: other words, or another person's stop, have another
digest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.stop_proofs import verify_proof
from yingbi.api.v1.stop_pb2 import NodeProof, StopProof, StopProofBody, StopRecord
from yingbi.display import shown_source
from yingbi.stops import Stopped, moment
from yingbi.stops import of_agreement as stops_of_agreement
from yingbi.transport import Gateway

from yingbi_dashboard.enclaves import Enclaves
from yingbi_dashboard.serving import Serving

SCOPE_NAMES = {
    "job": "stops.job",
    "agreement": "stops.agreement",
    "suspension": "stops.suspension",
    "dataset": "stops.dataset",
    "organisation": "stops.organisation",
}


@dataclass(frozen=True)
class NodeWord:
    """What one node says of a stop; `at` is None while it has said nothing."""

    node: str
    at: datetime | None
    jobs: tuple[str, ...]
    refusal: str
    lifted_at: datetime | None
    mark: str
    """The key of what checking it found: that it holds, does not, or that there is nothing to check, or no key."""
    lift_mark: str
    """The same of what it signed when the stop was lifted; empty while it signed nothing."""


@dataclass(frozen=True)
class ShownStop:
    """A stop as a page shows it."""

    stopped: Stopped
    scope: str
    nodes: tuple[NodeWord, ...]

    @property
    def is_awaited(self) -> bool:
        """Whether some node has still to say whether it stopped."""
        return any(each.mark == "stops.none_yet" and not each.refusal for each in self.nodes)


def shown(record: StopRecord, enclaves: Enclaves) -> ShownStop:
    """A stop with every node's proof checked against the keys that evidence gave."""
    stopped = Stopped(record)
    # Of the stop that is shown, and not as the gateway says: so reason and subject are those that were signed.
    digest = digests.digest(digests.STOP, record.stop.SerializeToString(deterministic=True))
    lift_digest = _lift_digest(record, digest)
    words = [
        NodeWord(
            said.node,
            said.at,
            # What a node signed names jobs of others too; the gateway says which ones the reader may see.
            tuple(job for job in said.jobs if job in record.jobs),
            said.refusal,
            said.lifted_at,
            _mark(proof, digest, enclaves),
            _lift_mark(proof, lift_digest, enclaves),
        )
        for said, proof in zip(stopped.nodes, record.nodes, strict=True)
    ]
    return ShownStop(stopped, SCOPE_NAMES.get(stopped.scope, "stops.other"), tuple(words))


def of_job(gateway: Gateway, job: str) -> list[StopRecord]:
    """The stops that ended a job, newest first; raises Problem."""
    row = gateway.get_job_history(job).job
    names = dict.fromkeys([row.job, row.agreement, row.dataset, row.organisation])
    found = {each.number: each for name in names if name for each in gateway.list_stops(name) if job in each.jobs}
    return [found[number] for number in sorted(found, reverse=True)]


def of_agreement(gateway: Gateway, agreement: str) -> list[StopRecord]:
    """The stops of an agreement, newest first; raises Problem. Jobs have theirs on their own pages."""
    gateway.get_agreement(agreement)
    return [each.message for each in stops_of_agreement(gateway, agreement)]


def routes(console: Serving) -> list[Route]:
    """Parts of pages: evidence takes longer than the rest of one."""

    async def part(request: Request, read: Callable[[Gateway, str], list[StopRecord]], name: str) -> Response:
        found, enclaves = await console.ask(request, lambda gateway: checked(gateway, read(gateway, name)))
        return console.page(
            request,
            "stop_proofs.html",
            found=found,
            problem=enclaves.problem if enclaves else "",
            code=enclaves.code if enclaves else "",
            again=request.url.path,
            moment=moment,
            shown=shown_source,
        )

    async def job(request: Request) -> Response:
        return await part(request, of_job, request.path_params["job"])

    async def agreement(request: Request) -> Response:
        return await part(request, of_agreement, request.path_params["agreement"])

    def checked(gateway: Gateway, records: Sequence[StopRecord]) -> tuple[list[ShownStop], Enclaves | None]:
        if not records:
            return [], None
        enclaves = console.evidence(gateway)
        return [shown(each, enclaves) for each in records], enclaves

    return [Route("/jobs/{job}/stops", job), Route("/agreements/{agreement}/stops", agreement)]


def _mark(said: NodeProof, digest: bytes, enclaves: Enclaves) -> str:
    if said.HasField("confirmed"):
        return "stops.not_shown"
    if not said.HasField("proof"):
        return "stops.none_yet"
    holds = _holds(said.proof, said.node, digest, enclaves)
    return {True: "stops.holds", False: "stops.fails", None: "stops.unchecked"}[holds]


def _lift_mark(said: NodeProof, digest: bytes, enclaves: Enclaves) -> str:
    if not said.HasField("lift_proof"):
        return ""
    holds = _holds(said.lift_proof, said.node, digest, enclaves)
    return {True: "stops.holds", False: "stops.lift_fails", None: "stops.unchecked"}[holds]


def _holds(proof: StopProof, node: str, digest: bytes, enclaves: Enclaves) -> bool | None:
    """Whether an enclave signed this; None where there is no key of it."""
    try:
        # Enclaves of an earlier key epoch had other keys.
        if StopProofBody.FromString(proof.body).key_epoch != enclaves.key_epoch or node not in enclaves.keys:
            return None
        verify_proof(proof, node, digest, enclaves.keys[node])
    except (DecodeError, Problem):
        return False
    return True


def _lift_digest(record: StopRecord, stop: bytes) -> bytes:
    """Of the lift that ends the stop that is shown; of another one no proof is of this."""
    if record.lift.stop != stop:
        return b""
    return digests.digest(digests.LIFT, record.lift.SerializeToString(deterministic=True))
