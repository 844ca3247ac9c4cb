"""A gateway that is real on the wire (gRPC over TLS) and made up behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import client_scene as scene  # type: ignore[import-not-found]
import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import any_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from yingbi.api import credentials, digests, zcdp
from yingbi.api.v1 import (
    agreement_pb2,
    agreement_pb2_grpc,
    attestation_pb2,
    attestation_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    plan_pb2,
    stop_pb2,
    stop_pb2_grpc,
)

BEARERS = {f"Bearer {credentials.bearer(f'{role}-token')}": role for role in ("developer", "operator", "provider")}


class FakeGateway(
    job_pb2_grpc.JobServiceServicer,
    dataset_pb2_grpc.DatasetServiceServicer,
    agreement_pb2_grpc.AgreementServiceServicer,
    attestation_pb2_grpc.AttestationServiceServicer,
    stop_pb2_grpc.StopServiceServicer,
):
    """Answers every question with the same table. Attributes say how it misbehaves."""

    def __init__(self, zone: Any) -> None:
        self.zone = zone
        self.jobs: dict[str, job_pb2.Job] = {}
        self.by_request: dict[str, str] = {}
        self.plan = scene.counting_plan()
        # None: those of the scene.
        self.opened: Sequence[int] | None = None
        self.changes_plan = 0
        self.stream_breaks = 0
        self.ending = job_pb2.JOB_STATE_SUCCEEDED
        self.failure: job_pb2.Failure | None = None
        self.holds = False
        self.watched: list[int] = []
        self.approvals: list[job_pb2.SignedApproval] = []
        self.stops: list[stop_pb2.StopRecord] = []
        self.agreements: list[agreement_pb2.RegisteredAgreement] = []
        self.documents: list[tuple[str, bytes]] = []
        # What a preview says that a request is under; None: what the request names.
        self.previews_under: str | None = None
        self.signed: list[job_pb2.Authorization] = []
        # What the claims of fresh evidence have otherwise than they should, and instead of the nonce that was asked.
        self.claimed: dict[str, Any] = {}
        self.old_nonce: bytes | None = None
        self.unshown: set[str] = set()

    def budget(self) -> dataset_pb2.Budget:
        return dataset_pb2.Budget(
            limit_rho_units=zcdp.bought(10.0, scene.DELTA)[0],
            spent_rho_units=zcdp.bought(1.0, scene.DELTA)[0] * len(self.jobs),
            delta=scene.DELTA,
            epsilon=10.0,
        )

    def GetEvidence(self, request: Any, context: Any) -> attestation_pb2.GetEvidenceResponse:
        self._role(context)
        asked = [each for each in self.zone.nodes if request.node in ("", each.name) and each.name not in self.unshown]
        now = int(time.time())
        claims = {"issued": now, "expires": now + 60, **self.claimed}
        shown = [each.attest(self.old_nonce or request.nonce, **claims) for each in asked]
        # In no order that means anything.
        return attestation_pb2.GetEvidenceResponse(evidence=shown[::-1], key_epoch=self.zone.key_epoch)

    def GetZone(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def RegisterDataset(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def RegisterAgreement(self, request: Any, context: Any) -> agreement_pb2.RegisteredAgreement:
        if self._role(context) != "operator":
            _abort(context, "PERMISSION_DENIED", "not_allowed", "Only an operator adds agreements.")
        self.documents.append((request.file, request.document))
        return self.agreements[-1]

    def DraftAgreement(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def MoveAgreement(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def ListAgreements(self, request: Any, context: Any) -> agreement_pb2.ListAgreementsResponse:
        self._role(context)
        about = [each for each in self.agreements if request.dataset in ("", each.agreement.dataset)]
        return agreement_pb2.ListAgreementsResponse(agreements=about)

    def GetAgreement(self, request: Any, context: Any) -> agreement_pb2.RegisteredAgreement:
        self._role(context)
        return next(each for each in self.agreements if each.agreement.agreement == request.agreement)

    def GetDecision(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def ListStanding(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def RevokeStanding(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def ListDecisions(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def ListJobSummaries(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def GetJobHistory(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def WatchChanges(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def GetBudgetHistory(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def PreviewBatch(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def SubmitBatch(self, request: Any, context: Any) -> NoReturn:
        raise NotImplementedError

    def ListDatasets(self, request: Any, context: Any) -> dataset_pb2.ListDatasetsResponse:
        self._role(context)
        return dataset_pb2.ListDatasetsResponse(datasets=[self._dataset()])

    def GetDataset(self, request: Any, context: Any) -> dataset_pb2.Dataset:
        self._role(context)
        if request.dataset != "clinic":
            _abort(context, "NOT_FOUND", "unknown_dataset", f"There is no dataset {request.dataset!r}.",
                   field="dataset", hint="Did you mean 'clinic'?", nearest="clinic")  # fmt: skip
        return self._dataset()

    def PreviewQuery(self, request: Any, context: Any) -> job_pb2.Preview:
        self._role(context)
        if "*" in request.query.sql.replace("COUNT(*)", ""):
            _abort(context, "FAILED_PRECONDITION", "raw_columns", "Raw rows do not leave the zone.", position="1:8")
        plan = plan_pb2.Plan()
        plan.CopyFrom(self.plan)
        if self.changes_plan:
            plan.dataset_version = bytes([self.changes_plan]) * 32
        under = request.query.agreement if self.previews_under is None else self.previews_under
        notes = ["ages are clipped to 0..100"]
        return job_pb2.Preview(plan=_bytes(plan), budget=self.budget(), notes=notes, agreement=under)

    def SubmitQuery(self, request: Any, context: Any) -> job_pb2.Job:
        self._role(context)
        authorization = request.authorization
        body = _bytes(authorization)
        assert digests.is_signed(authorization.developer_key, digests.AUTHORIZATION, body, request.signature)
        if self.changes_plan:
            self.changes_plan -= 1
            _abort(context, "ABORTED", "plan_changed", "The dataset changed since the preview.")
        self.signed.append(authorization)
        assert authorization.plan_hash == digests.digest(digests.PLAN, _bytes(self.plan))
        assert authorization.rho_units == sum(each.rho_units for each in self.plan.statistics)
        assert authorization.delta == self.plan.delta
        name = self.by_request.setdefault(authorization.request_id, f"job-{len(self.jobs) + 1}")
        if name not in self.jobs:
            self.jobs[name] = job_pb2.Job(
                job=name,
                state=job_pb2.JOB_STATE_WAITING_FOR_APPROVAL if self.holds else job_pb2.JOB_STATE_QUEUED,
                dataset="clinic",
                sql=request.query.sql,
                plan=_bytes(self.plan),
                created=Timestamp(seconds=1_700_000_000),
                request_id=authorization.request_id,
                notes=["ages are clipped to 0..100"],
                sequence=1,
            )
            self.jobs[name].budget.CopyFrom(self.budget())
        return self.jobs[name]

    def GetJob(self, request: Any, context: Any) -> job_pb2.Job:
        self._role(context)
        return self._find(request.job, context)

    def WatchJob(self, request: Any, context: Any) -> Iterator[job_pb2.Job]:
        self._role(context)
        job = self._find(request.job, context)
        self.watched.append(request.after_sequence)
        job.state, job.sequence, job.progress = job_pb2.JOB_STATE_RUNNING, job.sequence + 1, "3 of 3 enclaves"
        yield job
        if self.stream_breaks:
            self.stream_breaks -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        job.state, job.sequence, job.progress = self.ending, job.sequence + 1, ""
        if self.failure:
            job.failure.CopyFrom(self.failure)
        if self.ending == job_pb2.JOB_STATE_SUCCEEDED:
            job.receipt.CopyFrom(scene.receipt_of(self.zone, self.plan, self.opened or scene.OPENED, job.job))
        yield job

    def ListJobs(self, request: Any, context: Any) -> job_pb2.ListJobsResponse:
        self._role(context)
        names = list(self.jobs)
        start = int(request.page_token or 0)
        following = str(start + 1) if start + 1 < len(names) else ""
        return job_pb2.ListJobsResponse(
            jobs=[self.jobs[name] for name in names[start : start + 1]], next_page_token=following
        )

    def CancelJob(self, request: Any, context: Any) -> job_pb2.Job:
        self._role(context)
        job = self._find(request.job, context)
        job.state = job_pb2.JOB_STATE_CANCELLED
        return job

    def Stop(self, request: Any, context: Any) -> stop_pb2.StopRecord:
        self._role(context)
        stop = stop_pb2.Stop.FromString(request.stop.body)
        assert digests.is_signed(stop.signer_key, digests.STOP, request.stop.body, request.stop.signature)
        self._find(stop.subject, context).state = job_pb2.JOB_STATE_CANCELLED
        self.stops.append(stop_pb2.StopRecord(stop=stop, nodes=[stop_pb2.NodeProof(node="node-1")]))
        return self.stops[-1]

    def PreviewStop(self, request: Any, context: Any) -> stop_pb2.StopPreview:
        return stop_pb2.StopPreview(jobs=[request.subject])

    def ListStops(self, request: Any, context: Any) -> stop_pb2.ListStopsResponse:
        return stop_pb2.ListStopsResponse(stops=self.stops)

    def Lift(self, request: Any, context: Any) -> stop_pb2.StopRecord:
        _abort(context, "PERMISSION_DENIED", "may_not_lift", "Another organisation cut it off.")

    def ApproveJob(self, request: Any, context: Any) -> job_pb2.Job:
        if self._role(context) != "provider":
            _abort(context, "PERMISSION_DENIED", "not_allowed", "Only the provider approves.")
        approval = job_pb2.Approval.FromString(request.approval.body)
        assert digests.is_signed(
            approval.operator_key, digests.APPROVAL, request.approval.body, request.approval.signature
        )
        job = self._find(approval.job, context)
        assert approval.plan_hash == digests.digest(digests.PLAN, job.plan)
        job.state = job_pb2.JOB_STATE_QUEUED
        return job

    def RefuseJob(self, request: Any, context: Any) -> job_pb2.Job:
        if self._role(context) != "provider":
            _abort(context, "PERMISSION_DENIED", "not_allowed", "Only the provider refuses.")
        job = self._find(request.job, context)
        job.state = job_pb2.JOB_STATE_REFUSED
        job.failure.CopyFrom(job_pb2.Failure(code="refused", message=f"Refused: {request.reason}"))
        return job

    def _find(self, name: str, context: Any) -> job_pb2.Job:
        if name not in self.jobs:
            _abort(context, "NOT_FOUND", "unknown_job", f"There is no job {name!r}.", field="job")
        return self.jobs[name]

    def _role(self, context: Any) -> str:
        bearer = dict(context.invocation_metadata()).get("authorization", "")
        if bearer not in BEARERS:
            _abort(context, "UNAUTHENTICATED", "unknown_token", "The token is not known here.")
        return BEARERS[bearer]

    def _dataset(self) -> dataset_pb2.Dataset:
        columns = [
            dataset_pb2.ColumnDeclaration(
                name="id", type=plan_pb2.COLUMN_TYPE_INT64, role=dataset_pb2.ColumnDeclaration.ROLE_UNIT
            ),
            dataset_pb2.ColumnDeclaration(
                name="sex",
                type=plan_pb2.COLUMN_TYPE_STRING,
                role=dataset_pb2.ColumnDeclaration.ROLE_ATTRIBUTE,
                values=[plan_pb2.Value(string_value="f"), plan_pb2.Value(string_value="m")],
            ),
            dataset_pb2.ColumnDeclaration(
                name="age",
                type=plan_pb2.COLUMN_TYPE_FLOAT64,
                role=dataset_pb2.ColumnDeclaration.ROLE_ATTRIBUTE,
                lower=0,
                upper=100,
                required=True,
                constant_per_unit=True,
            ),
        ]
        return dataset_pb2.Dataset(
            declaration=dataset_pb2.DatasetDeclaration(
                dataset="clinic",
                zone="medical",
                title={"en": "A [made-up] clinic"},
                grade=3,
                source="made up",
                privacy_unit="id",
                max_units=20_000,
                units_disjoint=True,
                budget_epsilon=10.0,
                budget_delta=scene.DELTA,
                tables=[dataset_pb2.TableDeclaration(name="patients", max_rows_per_unit=1, columns=columns)],
            ),
            version=b"\x01" * 32,
            budget=self.budget(),
        )


@contextmanager
def serving(zone: Any) -> Iterator[tuple[FakeGateway, str]]:
    """The gateway and its address, on a free port of 127.0.0.1."""
    gateway = FakeGateway(zone)
    identity = zone.ca.issue("gateway", ec.generate_private_key(ec.SECP256R1()), server=True)
    key = identity.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = grpc.server(ThreadPoolExecutor(4))
    job_pb2_grpc.add_JobServiceServicer_to_server(gateway, server)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(gateway, server)
    attestation_pb2_grpc.add_AttestationServiceServicer_to_server(gateway, server)
    agreement_pb2_grpc.add_AgreementServiceServicer_to_server(gateway, server)
    stop_pb2_grpc.add_StopServiceServicer_to_server(gateway, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, identity.pem.encode())]))
    server.start()
    try:
        yield gateway, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _abort(context: Any, status: str, code: str, message: str, **metadata: str) -> NoReturn:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=code, domain="yingbi", metadata=metadata))
    number = grpc.StatusCode[status].value[0]
    context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=number, message=message, details=[detail])))
    raise AssertionError
