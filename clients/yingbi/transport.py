"""How calls reach a gateway: gRPC over TLS with a bearer credential, failures turned into Problems."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from yingbi.api import credentials
from yingbi.api.problem import Kind, Problem, kind_of_status
from yingbi.api.uninterrupted import uninterrupted
from yingbi.api.v1 import (
    agreement_pb2,
    agreement_pb2_grpc,
    attestation_pb2,
    attestation_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    people_pb2,
    people_pb2_grpc,
    sign_in_pb2,
    sign_in_pb2_grpc,
    stop_pb2,
    stop_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)
from yingbi.profile import Profile

Request = TypeVar("Request")
Response = TypeVar("Response")

_MESSAGE_LIMIT = 64 * 1024 * 1024
_DEADLINE_SECONDS = 60.0
_ERROR_DOMAIN = "yingbi"


class Gateway:
    """The calls that a client makes, one method each. Raises Problems and nothing else."""

    def __init__(self, profile: Profile, *, credential: str | None = None, channel: grpc.Channel | None = None) -> None:
        """The calls of a profile.

        Args:
            credential: what is sent as bearer; by default what follows from the profile's token.
            channel: one that many share, of `channel_to`; who made it closes it, and not this.
        """
        self.profile = profile
        self.address = profile.reachable_at()
        bearer = credentials.bearer(profile.token) if credential is None else credential
        self._metadata = (("authorization", f"Bearer {bearer}"),)
        self._owns_channel = channel is None
        self._channel = channel or channel_to(self.address, profile.ca_pem)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._attestation = attestation_pb2_grpc.AttestationServiceStub(self._channel)
        self._agreements = agreement_pb2_grpc.AgreementServiceStub(self._channel)
        self._deployments = deployment_pb2_grpc.DeploymentServiceStub(self._channel)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._operators = operator_pb2_grpc.OperatorServiceStub(self._channel)
        self._people = people_pb2_grpc.PeopleServiceStub(self._channel)
        self._stops = stop_pb2_grpc.StopServiceStub(self._channel)
        self._sign_in = sign_in_pb2_grpc.SignInServiceStub(self._channel)
        self._verification = verification_pb2_grpc.VerificationServiceStub(self._channel)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._owns_channel:
            self._channel.close()

    def list_datasets(self) -> list[dataset_pb2.Dataset]:
        answer = self._call(self._datasets.ListDatasets, dataset_pb2.ListDatasetsRequest())
        return list(answer.datasets)

    def get_dataset(self, name: str) -> dataset_pb2.Dataset:
        return self._call(self._datasets.GetDataset, dataset_pb2.GetDatasetRequest(dataset=name))

    def get_budget_history(self, dataset: str) -> dataset_pb2.BudgetHistory:
        return self._call(self._datasets.GetBudgetHistory, dataset_pb2.GetBudgetHistoryRequest(dataset=dataset))

    def register_agreement(self, file: str, document: bytes) -> agreement_pb2.RegisteredAgreement:
        request = agreement_pb2.RegisterAgreementRequest(file=file, document=document)
        return self._call(self._agreements.RegisterAgreement, request)

    def draft_agreement(self, file: str, document: bytes) -> agreement_pb2.RegisteredAgreement:
        request = agreement_pb2.RegisterAgreementRequest(file=file, document=document)
        return self._call(self._agreements.DraftAgreement, request)

    def move_agreement(self, step: agreement_pb2.AgreementStep) -> agreement_pb2.RegisteredAgreement:
        return self._call(self._agreements.MoveAgreement, step)

    def list_agreements(self, dataset: str = "") -> list[agreement_pb2.RegisteredAgreement]:
        answer = self._call(self._agreements.ListAgreements, agreement_pb2.ListAgreementsRequest(dataset=dataset))
        return list(answer.agreements)

    def get_agreement(self, name: str) -> agreement_pb2.RegisteredAgreement:
        return self._call(self._agreements.GetAgreement, agreement_pb2.GetAgreementRequest(agreement=name))

    def get_evidence(self, node: str, nonce: bytes) -> attestation_pb2.GetEvidenceResponse:
        request = attestation_pb2.GetEvidenceRequest(node=node, nonce=nonce)
        return self._call(self._attestation.GetEvidence, request)

    def verify(self, request: verification_pb2.VerifyRequest) -> verification_pb2.VerifyResponse:
        return self._call(self._verification.Verify, request)

    def get_verification_use(self, dataset: str) -> verification_pb2.VerificationUse:
        request = verification_pb2.GetVerificationUseRequest(dataset=dataset)
        return self._call(self._verification.GetVerificationUse, request)

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
        stream = uninterrupted(lambda: self._jobs.WatchJob(request, metadata=self._metadata))
        states = iter(stream)
        try:
            while (message := uninterrupted(lambda: next(states, None))) is not None:
                yield message
        except grpc.RpcError as error:
            raise self._problem(error) from error
        finally:
            stream.cancel()  # type: ignore[no-untyped-call]

    def list_job_summaries(self, request: job_pb2.ListJobSummariesRequest) -> job_pb2.ListJobSummariesResponse:
        return self._call(self._jobs.ListJobSummaries, request)

    def get_job_history(self, job: str) -> job_pb2.JobHistory:
        return self._call(self._jobs.GetJobHistory, job_pb2.GetJobRequest(job=job))

    def cancel_job(self, job: str, reason: str = "") -> job_pb2.Job:
        return self._call(self._jobs.CancelJob, job_pb2.CancelJobRequest(job=job, reason=reason))

    def approve_job(self, approval: job_pb2.SignedApproval, job: str = "") -> job_pb2.Job:
        return self._call(self._jobs.ApproveJob, job_pb2.ApproveJobRequest(approval=approval, job=job))

    def list_standing(self, *, all_: bool) -> list[job_pb2.StandingRecord]:
        return list(self._call(self._jobs.ListStanding, job_pb2.ListStandingRequest(all=all_)).standing)

    def revoke_standing(self, name: str, reason: str) -> job_pb2.StandingRecord:
        return self._call(self._jobs.RevokeStanding, job_pb2.RevokeStandingRequest(standing=name, reason=reason))

    def refuse_job(self, job: str, reason: str, clause: str = "", *, returned: bool = False) -> job_pb2.Job:
        request = job_pb2.RefuseJobRequest(job=job, reason=reason, clause=clause, returned=returned)
        return self._call(self._jobs.RefuseJob, request)

    def get_decision(self, job: str) -> job_pb2.Decision:
        return self._call(self._jobs.GetDecision, job_pb2.GetDecisionRequest(job=job))

    def list_decisions(self, page_size: int = 0) -> job_pb2.ListDecisionsResponse:
        return self._call(self._jobs.ListDecisions, job_pb2.ListDecisionsRequest(page_size=page_size))

    def preview_stop(self, scope: stop_pb2.StopScope.ValueType, subject: str) -> stop_pb2.StopPreview:
        return self._call(self._stops.PreviewStop, stop_pb2.PreviewStopRequest(scope=scope, subject=subject))

    def stop(self, signed: stop_pb2.SignedStop) -> stop_pb2.StopRecord:
        return self._call(self._stops.Stop, stop_pb2.StopRequest(stop=signed))

    def lift(self, signed: stop_pb2.SignedLift) -> stop_pb2.StopRecord:
        return self._call(self._stops.Lift, stop_pb2.LiftRequest(lift=signed))

    def list_stops(self, subject: str = "", *, in_force: bool = False) -> list[stop_pb2.StopRecord]:
        request = stop_pb2.ListStopsRequest(subject=subject, in_force=in_force)
        return list(self._call(self._stops.ListStops, request).stops)

    def list_audit(self, after: int) -> audit_pb2.ListAuditResponse:
        return self._call(self._audit.ListAudit, audit_pb2.ListAuditRequest(after=after))

    def check_audit(self) -> audit_pb2.CheckAuditResponse:
        return self._call(self._audit.CheckAudit, audit_pb2.CheckAuditRequest())

    def deploy(self, request: deployment_pb2.DeployRequest) -> deployment_pb2.Deployment:
        return self._call(self._deployments.Deploy, request)

    def list_deployments(self) -> deployment_pb2.ListDeploymentsResponse:
        return self._call(self._deployments.ListDeployments, deployment_pb2.ListDeploymentsRequest())

    def get_deployment(self, name: str) -> deployment_pb2.Deployment:
        return self._call(self._deployments.GetDeployment, deployment_pb2.GetDeploymentRequest(deployment=name))

    def approve_deployment(
        self, name: str, approval: deployment_pb2.SignedDeploymentApproval
    ) -> deployment_pb2.Deployment:
        request = deployment_pb2.ApproveDeploymentRequest(deployment=name, approval=approval)
        return self._call(self._deployments.ApproveDeployment, request)

    def withdraw_deployment(
        self, name: str, withdrawal: deployment_pb2.SignedDeploymentWithdrawal
    ) -> deployment_pb2.Deployment:
        request = deployment_pb2.WithdrawDeploymentRequest(deployment=name, withdrawal=withdrawal)
        return self._call(self._deployments.WithdrawDeployment, request)

    def predict(self, request: deployment_pb2.PredictRequest) -> deployment_pb2.PredictionReply:
        return self._call(self._deployments.Predict, request)

    def publish_notice(self, file: str, document: bytes) -> operator_pb2.PublishedNotice:
        request = operator_pb2.PublishNoticeRequest(file=file, document=document)
        return self._call(self._operators.PublishNotice, request)

    def apply_to_operate(self, request: operator_pb2.ApplyToOperateRequest) -> operator_pb2.OperatorRecord:
        return self._call(self._operators.ApplyToOperate, request)

    def move_operator(self, step: operator_pb2.OperatorStep) -> operator_pb2.OperatorRecord:
        return self._call(self._operators.MoveOperator, step)

    def list_operators(self) -> list[operator_pb2.PublishedNotice]:
        return list(self._call(self._operators.ListOperators, Empty()).notices)

    def who_am_i(self) -> people_pb2.Me:
        return self._call(self._people.WhoAmI, Empty())

    def list_organisations(self) -> people_pb2.ListOrganisationsResponse:
        return self._call(self._people.ListOrganisations, Empty())

    def file_organisation(self, request: people_pb2.FileOrganisationRequest) -> people_pb2.Organisation:
        return self._call(self._people.FileOrganisation, request)

    def remove_organisation(self, request: people_pb2.RemoveOrganisationRequest) -> people_pb2.Organisation:
        return self._call(self._people.RemoveOrganisation, request)

    def list_people(self, organisation: str) -> people_pb2.ListPeopleResponse:
        return self._call(self._people.ListPeople, people_pb2.ListPeopleRequest(organisation=organisation))

    def invite_person(self, request: people_pb2.InvitePersonRequest) -> people_pb2.Person:
        return self._call(self._people.InvitePerson, request)

    def accept_invitation(self, request: people_pb2.AcceptInvitationRequest) -> people_pb2.Person:
        return self._call(self._people.AcceptInvitation, request)

    def remove_person(self, name: str, reason: str) -> people_pb2.Person:
        return self._call(self._people.RemovePerson, people_pb2.RemovePersonRequest(person=name, reason=reason))

    def list_tokens(self) -> people_pb2.ListTokensResponse:
        return self._call(self._people.ListTokens, Empty())

    def create_token(self, request: people_pb2.CreateTokenRequest) -> people_pb2.Token:
        return self._call(self._people.CreateToken, request)

    def revoke_token(self, token_id: str) -> people_pb2.Token:
        return self._call(self._people.RevokeToken, people_pb2.RevokeTokenRequest(token_id=token_id))

    def get_policy(self) -> people_pb2.Policy:
        return self._call(self._people.GetPolicy, Empty())

    def begin_sign_in(self, person: str) -> sign_in_pb2.SignInChallenge:
        return self._call(self._sign_in.BeginSignIn, sign_in_pb2.BeginSignInRequest(person=person))

    def finish_sign_in(self, request: sign_in_pb2.FinishSignInRequest) -> sign_in_pb2.Session:
        return self._call(self._sign_in.FinishSignIn, request)

    def open_session(self, request: sign_in_pb2.OpenSessionRequest) -> sign_in_pb2.Session:
        return self._call(self._sign_in.OpenSession, request)

    def begin_passkey(self) -> sign_in_pb2.PasskeyChallenge:
        return self._call(self._sign_in.BeginPasskey, Empty())

    def register_passkey(self, request: sign_in_pb2.RegisterPasskeyRequest) -> sign_in_pb2.SignInMethod:
        return self._call(self._sign_in.RegisterPasskey, request)

    def begin_totp(self) -> sign_in_pb2.TotpSecret:
        return self._call(self._sign_in.BeginTotp, Empty())

    def register_totp(self, request: sign_in_pb2.RegisterTotpRequest) -> sign_in_pb2.SignInMethod:
        return self._call(self._sign_in.RegisterTotp, request)

    def list_sign_in_methods(self) -> list[sign_in_pb2.SignInMethod]:
        return list(self._call(self._sign_in.ListSignInMethods, Empty()).methods)

    def remove_sign_in_method(self, kind: str, method_id: str) -> sign_in_pb2.ListSignInMethodsResponse:
        request = sign_in_pb2.RemoveSignInMethodRequest(kind=kind, method_id=method_id)
        return self._call(self._sign_in.RemoveSignInMethod, request)

    def sign_out(self) -> people_pb2.Token:
        return self._call(self._sign_in.SignOut, Empty())

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        try:
            return uninterrupted(lambda: method(request, metadata=self._metadata, timeout=_DEADLINE_SECONDS))
        except grpc.RpcError as error:
            raise self._problem(error) from error

    def _problem(self, error: grpc.RpcError) -> Problem:
        return problem_of(error, self.address, self.profile.up_hint())


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


def channel_to(address: str, ca_pem: str) -> grpc.Channel:
    """A channel to the gateway at `address`, whose certificate is of the CA in `ca_pem`."""
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_pem.encode()), _options(address))


def awaited_channel_to(address: str, ca_pem: str) -> grpc.aio.Channel:
    """The same for whoever runs an event loop, as of the loop that it is first used in."""
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca_pem.encode()), _options(address))


def _options(address: str) -> list[tuple[str, int]]:
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
        ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    ]
    if _is_loopback(address):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
