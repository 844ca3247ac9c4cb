"""What honest callers say in a zone where operators decide alone: a valid request of many kinds, and its answer.

Fuzzed requests are these, altered, and others that refer to what was said here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import certificates, credentials, digests
from yingbi.api.v1.agreement_pb2 import RegisterAgreementRequest
from yingbi.api.v1.attestation_pb2 import GetEvidenceRequest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, LawfulSource, RegisterDatasetRequest
from yingbi.api.v1.deployment_pb2 import (
    ApproveDeploymentRequest,
    DeployRequest,
    PredictRequest,
    WithdrawDeploymentRequest,
)
from yingbi.api.v1.job_pb2 import (
    Approval,
    ApproveJobRequest,
    Authorization,
    BatchPreview,
    BatchQuery,
    GetJobRequest,
    Job,
    Preview,
    PreviewBatchRequest,
    PreviewQueryRequest,
    Query,
    SignedApproval,
    SubmitBatchRequest,
    SubmitQueryRequest,
    SynthesizeQuery,
    TrainQuery,
)
from yingbi.api.v1.node_pb2 import Hello, NextTaskRequest
from yingbi.api.v1.operator_pb2 import ApplyToOperateRequest, OperatorRecord, OperatorStep, PublishNoticeRequest
from yingbi.api.v1.people_pb2 import AcceptInvitationRequest, CreateTokenRequest, InvitePersonRequest, Me
from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.api.v1.sign_in_pb2 import BeginSignInRequest, FinishSignInRequest, SignInChallenge
from yingbi.api.v1.verification_pb2 import VerifyRequest
from yingbi.consents import Value

from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.zone.folder import ROLES
from tests.attacks import verifying
from tests.attacks.deployed_models import Served
from tests.attacks.gateway_in_process import Zone, waits
from tests.attacks.invented_messages import methods
from tests.attacks.three_enclaves import NODES, visits_declaration

METHODS = {method.full_name.rsplit(".", 1)[1]: method for method in methods()}
NODE = NODES[0]
AGREEMENT = b"""
agreement: falls-2026
dataset: visits
organisation: developer
purpose: "risk of falls, contract 17"
starts: 2026-01-01
expires: 2099-01-01
budget: {epsilon: 1.5, delta: 1e-7}
max_uses: 40
"""
NOTICE = b"""
notice: another
title: "Another operator"
conditions: "machines of its own"
scope: "running the gateway"
responsibility: "the operator"
supervision: "the record"
revocation: "with a reason"
apply_by: 2098-01-01
starts: 2026-01-01
expires: 2099-01-01
"""
# Of one of the second enclave's people, and so.
CLAIM: tuple[int, dict[str, Value]] = (1000, {"male": 0})
QUERIES = [
    Query(dataset="visits", sql="SELECT clinic, COUNT(*), AVG(pain) FROM visits GROUP BY clinic", epsilon=0.01),
    Query(dataset="visits", train=TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="pain ~ age"), epsilon=0.01),
    Query(dataset="visits", synthesize=SynthesizeQuery(columns="age, clinic", source="visits"), epsilon=0.01),
]


@dataclass
class Talk:
    """A zone, the valid requests that were sent to it, by their methods, and whatever was answered."""

    zone: Zone
    requests: dict[str, list[Message]] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)

    def say(self, name: str, request: Message, who: str) -> Message:
        """Send a valid request, and keep it with its answer."""
        method = METHODS[name]
        answer = self.zone.call(method, request, who)
        assert answer.status is grpc.StatusCode.OK, (name, answer)
        self.requests.setdefault(name, []).append(request)
        reply: Message = GetMessageClass(method.output_type).FromString(answer.reply)
        self.said.append(reply)
        return reply

    def greet(self) -> None:
        """The enclaves' evidence, once all are there; and a node that comes."""
        nonce = GetEvidenceRequest(nonce=bytes(32))
        self.zone.until_connected(METHODS["GetEvidence"], nonce)
        self.say("GetEvidence", nonce, "auditor")
        self.requests["NextTask"] = [NextTaskRequest(run="another", wait_seconds=1, hello=self._hello())]

    def register(self, declaration: DatasetDeclaration) -> None:
        """A dataset whose shards the enclaves have."""
        whole = declaration.SerializeToString(deterministic=True)
        shards = self.zone.trio.shards[declaration.dataset]
        self.say("RegisterDataset", RegisterDatasetRequest(declaration=whole, shards=shards), "operator")

    def look_around(self) -> None:
        """Lists, and what else says something of itself."""
        for name, method in METHODS.items():
            if name not in self.requests and not waits(method):
                for who in (*ROLES, NODE):
                    answer = self.zone.call(method, b"", who)
                    if answer.status is grpc.StatusCode.OK:
                        self.requests[name] = [GetMessageClass(method.input_type)()]
                        self.said.append(GetMessageClass(method.output_type).FromString(answer.reply))

    def preview(self, query: Query) -> Preview:
        """What a query would cost."""
        preview = self.say("PreviewQuery", PreviewQueryRequest(query=query), "developer")
        assert isinstance(preview, Preview)
        return preview

    def ask(self, query: Query, request_id: str) -> Job:
        """A job that is previewed, signed and submitted."""
        preview = self.preview(query)
        request = SubmitQueryRequest(query=query)
        request.authorization.CopyFrom(self.authorization(preview.plan, request_id, preview.agreement))
        body = request.authorization.SerializeToString(deterministic=True)
        request.signature = digests.sign(self.key("developer"), digests.AUTHORIZATION, body)
        job = self.say("SubmitQuery", request, "developer")
        assert isinstance(job, Job)
        return job

    def ask_batch(self, dataset: str) -> None:
        """Several questions at once: the request alone, which nobody signed."""
        sql = [f"SELECT {each} FROM visits" for each in ("COUNT(*)", "SUM(age)")]
        asked = BatchQuery(dataset=dataset, sql=sql, epsilon=0.02)
        batch = self.say("PreviewBatch", PreviewBatchRequest(batch=asked), "developer")
        assert isinstance(batch, BatchPreview)
        submitted = SubmitBatchRequest(batch=asked)
        for number, plan in enumerate(batch.plans, 1):
            asked_for = self.authorization(plan, f"batch/{number}", batch.agreement)
            submitted.plans.add().authorization.CopyFrom(asked_for)
        self.requests["SubmitBatch"] = [submitted]

    def deploy(self) -> None:
        """A model, which its enclave takes and predicts with."""
        trio = self.zone.trio
        served = Served(trio.enclaves[0], trio.developer, trio.operator, {"developer": trio.developer})
        task = served.deployment()
        self.say("Deploy", DeployRequest(terms=task.terms, sealed_model=task.sealed_model), "developer")
        approval = ApproveDeploymentRequest(deployment=served.terms().deployment, approval=task.approval)
        self.say("ApproveDeployment", approval, "operator")
        order = served.task([[1.0, 2.0, 3.0]], "developer")
        self.say("Predict", PredictRequest(order=order.order, input=order.input), "developer")
        withdrawn = served.withdrawal(trio.developer).withdrawal
        withdrawal = WithdrawDeploymentRequest(deployment=served.terms().deployment, withdrawal=withdrawn)
        self.requests["WithdrawDeployment"] = [withdrawal]

    def verify(self) -> None:
        """A statement about somebody, to which an issuer consented."""
        caller = verifying.Caller(self.zone.trio)
        caller.add()
        self.register(verifying.people_declaration(caller.issuer.public))
        sent = caller.send(caller.consent(*CLAIM), *CLAIM)
        self.say("Verify", VerifyRequest(order=sent.order, sealed_request=sent.sealed), "developer")

    def invite(self) -> None:
        """Somebody who is invited and joins; a token of one more; a code to sign in with, which is wrong."""
        me = self.say("WhoAmI", Empty(), "developer")
        assert isinstance(me, Me)
        named: dict[str, Any] = {"organisation": me.organisation.organisation, "now": time.time()}
        invited, secret = certificates.invite(self.key("developer"), person="newcomer", duties=["analyst"], **named)
        self.say("InvitePerson", InvitePersonRequest(invitation=invited, real_name="N. N."), "developer")
        theirs = credentials.signing_key("newcomer-token").public_key().public_bytes_raw()
        accepted = AcceptInvitationRequest(
            certificate=certificates.accept(invited, secret, theirs), bearer_hash=_hashed("newcomer-token")
        )
        self.say("AcceptInvitation", accepted, "developer")
        self.say("CreateToken", CreateTokenRequest(bearer_hash=_hashed("another"), label="script"), "developer")
        begun = self.say("BeginSignIn", BeginSignInRequest(person="newcomer"), "developer")
        assert isinstance(begun, SignInChallenge)
        answered = FinishSignInRequest(sign_in=begun.sign_in, code="000000", bearer_hash=_hashed("session"))
        self.requests["FinishSignIn"] = [answered]

    def operate(self) -> None:
        """A notice, and an application under it; the steps that could be taken next are kept, and not sent."""
        self.say("PublishNotice", PublishNoticeRequest(document=NOTICE, file="notice.yaml"), "coordinator")
        evidence = [LawfulSource(reference="licence 17", document_sha256=bytes(32))]
        asked = ApplyToOperateRequest(notice="another", statement="has machines", evidence=evidence)
        applied = self.say("ApplyToOperate", asked, "operator")
        assert isinstance(applied, OperatorRecord)
        signature = digests.sign(self.key("operator"), digests.OPERATING_AGREEMENT, applied.signed.terms)
        step = OperatorStep(notice="another", operator="operator", action="sign")
        step.signature.signature, step.signature.key = signature, applied.agreement.operator_key
        self.requests["MoveOperator"] = [
            step,
            OperatorStep(notice="another", operator="operator", action="assess", reason="seen"),
            OperatorStep(notice="first-operator", operator="operator", action="terminate", reason="over"),
        ]

    def authorization(self, plan: bytes, request_id: str, agreement: str) -> Authorization:
        """What the developer signs for a plan, under an agreement or none."""
        return Authorization(
            plan_hash=plan_hash(plan),
            rho_units=total_rho_units(Plan.FromString(plan)),
            delta=Plan.FromString(plan).delta,
            request_id=request_id,
            expires=Timestamp(seconds=int(time.time()) + 600),
            developer_key=self.key("developer").public_key().public_bytes_raw(),
            agreement=agreement,
        )

    def key(self, who: str) -> Ed25519PrivateKey:
        """What the first account of a kind of organisation signs with."""
        return credentials.signing_key(self.zone.tokens[who])

    def _hello(self) -> Hello:
        enclave = self.zone.trio.enclaves[0]
        hello = Hello(node=enclave.node, evidence=enclave.identity.evidence)
        hello.key_epoch.ParseFromString((self.zone.trio.folder / enclave.node / "key_epoch.pb").read_bytes())
        return hello


def among_operators(zone: Zone) -> Talk:
    """All that is said where an operator decides alone."""
    talk = Talk(zone)
    talk.greet()
    talk.register(visits_declaration())
    for query in QUERIES:
        talk.preview(query)
    job = talk.ask(QUERIES[0], "request-1")
    talk.say("GetJob", GetJobRequest(job=job.job), "developer")
    approval = Approval(job=job.job, plan_hash=plan_hash(job.plan), organisation="provider")
    unsigned = SignedApproval(body=approval.SerializeToString(), signature=bytes(64))
    talk.requests["ApproveJob"] = [ApproveJobRequest(approval=unsigned)]
    talk.ask_batch("visits")
    talk.say("RegisterAgreement", RegisterAgreementRequest(document=AGREEMENT, file="falls.yaml"), "operator")
    talk.deploy()
    talk.verify()
    talk.invite()
    talk.look_around()
    return talk


def _hashed(token: str) -> str:
    return credentials.bearer_hash(credentials.bearer(token))
