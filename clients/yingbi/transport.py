"""How calls reach a gateway: gRPC over TLS with a bearer credential, failures turned into Problems."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TypeVar, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from yingbi.api import credentials
from yingbi.api.problem import Kind, Problem, kind_of_status
from yingbi.api.v1 import (
    agreement_pb2,
    agreement_pb2_grpc,
    attestation_pb2,
    attestation_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
)
from yingbi.profile import Profile

Request = TypeVar("Request")
Response = TypeVar("Response")

_MESSAGE_LIMIT = 64 * 1024 * 1024
_DEADLINE_SECONDS = 60.0
_ERROR_DOMAIN = "yingbi"


class Gateway:
    """The calls that a client makes, one method each. Raises Problems and nothing else."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.address = profile.reachable_at()
        self._metadata = (("authorization", f"Bearer {credentials.bearer(profile.token)}"),)
        self._channel = _channel(self.address, profile.ca_pem)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._attestation = attestation_pb2_grpc.AttestationServiceStub(self._channel)
        self._agreements = agreement_pb2_grpc.AgreementServiceStub(self._channel)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def list_datasets(self) -> list[dataset_pb2.Dataset]:
        answer = self._call(self._datasets.ListDatasets, dataset_pb2.ListDatasetsRequest())
        return list(answer.datasets)

    def get_dataset(self, name: str) -> dataset_pb2.Dataset:
        return self._call(self._datasets.GetDataset, dataset_pb2.GetDatasetRequest(dataset=name))

    def register_agreement(self, file: str, document: bytes) -> agreement_pb2.RegisteredAgreement:
        request = agreement_pb2.RegisterAgreementRequest(file=file, document=document)
        return self._call(self._agreements.RegisterAgreement, request)

    def list_agreements(self, dataset: str = "") -> list[agreement_pb2.RegisteredAgreement]:
        answer = self._call(self._agreements.ListAgreements, agreement_pb2.ListAgreementsRequest(dataset=dataset))
        return list(answer.agreements)

    def get_agreement(self, name: str) -> agreement_pb2.RegisteredAgreement:
        return self._call(self._agreements.GetAgreement, agreement_pb2.GetAgreementRequest(agreement=name))

    def get_evidence(self, node: str, nonce: bytes) -> attestation_pb2.GetEvidenceResponse:
        request = attestation_pb2.GetEvidenceRequest(node=node, nonce=nonce)
        return self._call(self._attestation.GetEvidence, request)

    def preview_query(self, query: job_pb2.Query) -> job_pb2.Preview:
        return self._call(self._jobs.PreviewQuery, job_pb2.PreviewQueryRequest(query=query))

    def submit_query(self, request: job_pb2.SubmitQueryRequest) -> job_pb2.Job:
        return self._call(self._jobs.SubmitQuery, request)

    def preview_batch(self, batch: job_pb2.BatchQuery) -> job_pb2.BatchPreview:
        return self._call(self._jobs.PreviewBatch, job_pb2.PreviewBatchRequest(batch=batch))

    def submit_batch(self, request: job_pb2.SubmitBatchRequest) -> job_pb2.BatchJobs:
        return self._call(self._jobs.SubmitBatch, request)

    def get_job(self, job: str) -> job_pb2.Job:
        return self._call(self._jobs.GetJob, job_pb2.GetJobRequest(job=job))

    def list_jobs(self) -> Iterator[job_pb2.Job]:
        token = ""
        while True:
            page = self._call(self._jobs.ListJobs, job_pb2.ListJobsRequest(page_token=token))
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def watch_job(self, job: str, after_sequence: int) -> Iterator[job_pb2.Job]:
        """The job's states as they come, until the gateway ends the stream or the iterator is closed."""
        request = job_pb2.WatchJobRequest(job=job, after_sequence=after_sequence)
        stream = _uninterrupted(lambda: self._jobs.WatchJob(request, metadata=self._metadata))
        states = iter(stream)
        try:
            while (message := _uninterrupted(lambda: next(states, None))) is not None:
                yield message
        except grpc.RpcError as error:
            raise self._problem(error) from error
        finally:
            stream.cancel()  # type: ignore[no-untyped-call]

    def cancel_job(self, job: str) -> job_pb2.Job:
        return self._call(self._jobs.CancelJob, job_pb2.CancelJobRequest(job=job))

    def approve_job(self, approval: job_pb2.SignedApproval) -> job_pb2.Job:
        return self._call(self._jobs.ApproveJob, job_pb2.ApproveJobRequest(approval=approval))

    def refuse_job(self, job: str, reason: str) -> job_pb2.Job:
        return self._call(self._jobs.RefuseJob, job_pb2.RefuseJobRequest(job=job, reason=reason))

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        try:
            return _uninterrupted(lambda: method(request, metadata=self._metadata, timeout=_DEADLINE_SECONDS))
        except grpc.RpcError as error:
            raise self._problem(error) from error

    def _problem(self, error: grpc.RpcError) -> Problem:
        return problem_of(error, self.address, self.profile.up_hint())


def _uninterrupted(call: Callable[[], Response]) -> Response:
    """Make the call in a thread of its own, and wait for it where an interrupt does no harm.

    A KeyboardInterrupt between gRPC's steps leaves half a call, for whose end closing the channel then waits
    for ever.
    """
    done: SimpleQueue[tuple[Response | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except Exception as error:
            done.put((None, error))

    Thread(target=run, daemon=True).start()
    response, error = done.get()
    if error is not None:
        raise error
    return cast(Response, response)


def problem_of(error: grpc.RpcError, address: str, up_hint: str) -> Problem:
    """What a failed call says: the gateway's own words where it sent some, else what gRPC knows."""
    code, details = _code(error), _details(error)
    status = _rich_status(error)
    for packed in () if status is None else status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain == _ERROR_DOMAIN:
            said = dict(info.metadata)
            return Problem(
                kind_of_status(code.name),
                info.reason,
                status.message if status else details,
                said.pop("field", None),
                said.pop("position", None),
                said.pop("hint", None),
                said,
            )
    if code is grpc.StatusCode.UNAVAILABLE and ("handshake" in details.lower() or "certificate" in details.lower()):
        return Problem(
            Kind.UNAVAILABLE,
            "gateway_certificate",
            f"What answers at {address} has no certificate of this zone's CA.",
            hint="Check the address and the CA file.",
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Problem(Kind.UNAVAILABLE, "gateway_unavailable", f"No gateway answers at {address}.", hint=up_hint)
    return Problem(kind_of_status(code.name), code.name.lower(), details or f"The gateway answered {code.name}.")


def _rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    if not isinstance(error, grpc.Call):
        return None
    try:
        return rpc_status.from_call(error)
    except ValueError:  # the trailer and the status line disagree: believe the line
        return None


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN


def _details(error: grpc.RpcError) -> str:
    return (error.details() or "") if isinstance(error, grpc.Call) else str(error)


def _channel(address: str, ca_pem: str) -> grpc.Channel:
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
        ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    ]
    if _is_loopback(address):
        options.append(("grpc.enable_http_proxy", 0))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_pem.encode()), options)


def _is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
