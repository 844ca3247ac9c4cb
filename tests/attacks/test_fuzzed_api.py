"""Whatever is sent to the gateway, by whomever: what is wrong with it is told, and is no fault of the gateway.

Every method of every service that is described in proto/ is called over a real socket, with requests that are made from
the descriptors, with valid ones that were altered, and with bytes that are no message; as each kind of organisation, as
a node, and as nobody. A new service needs no line here. No call ends as INTERNAL or UNKNOWN, none hangs, a malformed
one leaves no row in any table, and the gateway answers afterwards. With --long every target goes on for LONG_SECONDS.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from yingbi.api import certificates, credentials, digests
from yingbi.api.v1.agreement_pb2 import GetAgreementRequest, RegisterAgreementRequest
from yingbi.api.v1.attestation_pb2 import GetEvidenceRequest
from yingbi.api.v1.dataset_pb2 import GetDatasetRequest, RegisterDatasetRequest
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
from yingbi.api.v1.people_pb2 import AcceptInvitationRequest, CreateTokenRequest, InvitePersonRequest, Me
from yingbi.api.v1.plan_pb2 import Fit
from yingbi.api.v1.sign_in_pb2 import BeginSignInRequest, FinishSignInRequest, SignInChallenge
from yingbi.api.v1.verification_pb2 import VerifyRequest
from yingbi.consents import Value

from enclave_sim.plan.canonical import plan_hash
from gateway.zone.authority import Authority
from gateway.zone.folder import ROLES
from tests.attacks import verifying
from tests.attacks.deployed_models import Served
from tests.attacks.gateway_in_process import Answer, Metadata, Zone, path_of, running_zone, waits
from tests.attacks.invented_messages import Known, extremes, invented, methods, signed
from tests.attacks.mutations import LONG, LONG_SECONDS, altered, altered_message, fuzz
from tests.attacks.three_enclaves import NODES, visits_declaration

pytestmark = [pytest.mark.timeout(4 * LONG_SECONDS), pytest.mark.xdist_group("fuzzed_api")]

METHODS = {method.full_name.rsplit(".", 1)[1]: method for method in methods()}
NODE = NODES[0]
WHO: list[str | None] = [*ROLES, NODE, None]
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED}
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
# Of one of the second enclave's people, and so.
CLAIM: tuple[int, dict[str, Value]] = (1000, {"male": 0})
QUERIES = [
    Query(dataset="visits", sql="SELECT clinic, COUNT(*), AVG(pain) FROM visits GROUP BY clinic", epsilon=0.01),
    Query(dataset="visits", train=TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="pain ~ age"), epsilon=0.01),
    Query(dataset="visits", synthesize=SynthesizeQuery(columns="age, clinic", source="visits"), epsilon=0.01),
]


class Fuzzed:
    """The zone, and what honest callers said in it: a request of many kinds, and whatever was answered."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.requests: dict[str, list[Message]] = {}
        self.said: list[Message] = []
        self.let_in: dict[str, list[str | None]] = {}
        self.of_anybody: list[MethodDescriptor] = []
        self._talk()
        self._knock()
        self.known = Known.of([*self.said, *(one for sent in self.requests.values() for one in sent)])

    @property
    def served(self) -> list[MethodDescriptor]:
        """Every method that either port has; the others are not wired yet."""
        return [method for method in METHODS.values() if method.full_name in self.let_in]

    @property
    def of_nodes(self) -> list[MethodDescriptor]:
        """Those that nodes call, and nobody else."""
        return [method for method in self.served if self.let_in[method.full_name] == [NODE]]

    def _knock(self) -> None:
        """Who is let in where, and which methods there are at all: an empty request tells."""
        shut = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
        for method in METHODS.values():
            statuses = {who: self.zone.call(method, b"", who).status for who in WHO}
            there = {who: status for who, status in statuses.items() if status is not grpc.StatusCode.UNIMPLEMENTED}
            if there:
                nodes_only = list(there) == [NODE]
                self.let_in[method.full_name] = [
                    who for who, status in there.items() if nodes_only or status not in shut
                ]
            if there.get(None, grpc.StatusCode.UNAUTHENTICATED) not in shut:
                self.of_anybody.append(method)

    def say(self, name: str, request: Message, who: str) -> Message:
        """Send a valid request, and keep it with its answer."""
        method = METHODS[name]
        answer = self.zone.call(method, request, who)
        assert answer.status is grpc.StatusCode.OK, (name, answer)
        self.requests.setdefault(name, []).append(request)
        reply: Message = GetMessageClass(method.output_type).FromString(answer.reply)
        self.said.append(reply)
        return reply

    def _talk(self) -> None:
        trio = self.zone.trio
        nonce = GetEvidenceRequest(nonce=bytes(32))
        self.zone.until_connected(METHODS["GetEvidence"], nonce)
        self.say("GetEvidence", nonce, "auditor")
        declaration = visits_declaration().SerializeToString(deterministic=True)
        registered = RegisterDatasetRequest(declaration=declaration, shards=trio.shards["visits"])
        self.say("RegisterDataset", registered, "operator")
        for query in QUERIES:
            preview = self.say("PreviewQuery", PreviewQueryRequest(query=query), "developer")
            assert isinstance(preview, Preview)
        self.requests["NextTask"] = [NextTaskRequest(run="another", wait_seconds=1, hello=self._hello())]
        self._ask()
        self._deploy()
        self._verify()
        self._people()
        for name, method in METHODS.items():
            # Lists, and what else says something of itself.
            if name not in self.requests and not waits(method):
                for who in (*ROLES, NODE):
                    answer = self.zone.call(method, b"", who)
                    if answer.status is grpc.StatusCode.OK:
                        self.requests[name] = [GetMessageClass(method.input_type)()]
                        self.said.append(GetMessageClass(method.output_type).FromString(answer.reply))

    def _ask(self) -> None:
        """What begins jobs; in a zone where each needs an agreement, only their requests are made."""
        key = credentials.signing_key(self.zone.tokens["developer"])
        query = QUERIES[0]
        preview = self.say("PreviewQuery", PreviewQueryRequest(query=query), "developer")
        assert isinstance(preview, Preview)
        request = SubmitQueryRequest(query=query)
        request.authorization.CopyFrom(self._authorization(preview.plan, "request-1"))
        request.signature = digests.sign(
            key, digests.AUTHORIZATION, request.authorization.SerializeToString(deterministic=True)
        )
        job = self.say("SubmitQuery", request, "developer")
        assert isinstance(job, Job)
        self.say("GetJob", GetJobRequest(job=job.job), "developer")
        approval = Approval(job=job.job, plan_hash=plan_hash(preview.plan), organisation="provider")
        self.requests["ApproveJob"] = [
            ApproveJobRequest(approval=SignedApproval(body=approval.SerializeToString(), signature=bytes(64)))
        ]
        asked = BatchQuery(dataset="visits", sql=[query.sql, "SELECT SUM(age) FROM visits"], epsilon=0.02)
        batch = self.say("PreviewBatch", PreviewBatchRequest(batch=asked), "developer")
        assert isinstance(batch, BatchPreview)
        submitted = SubmitBatchRequest(batch=asked)
        for number, plan in enumerate(batch.plans, 1):
            submitted.plans.add().authorization.CopyFrom(self._authorization(plan, f"request-2/{number}"))
        self.requests["SubmitBatch"] = [submitted]
        self.say("RegisterAgreement", RegisterAgreementRequest(document=AGREEMENT, file="falls.yaml"), "operator")

    def _deploy(self) -> None:
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

    def _verify(self) -> None:
        """A statement about somebody, to which an issuer consented."""
        caller = verifying.Caller(self.zone.trio)
        caller.add()
        declaration = verifying.people_declaration(caller.issuer.public).SerializeToString(deterministic=True)
        shards = self.zone.trio.shards[verifying.DATASET]
        self.say("RegisterDataset", RegisterDatasetRequest(declaration=declaration, shards=shards), "operator")
        sent = caller.send(caller.consent(*CLAIM), *CLAIM)
        self.say("Verify", VerifyRequest(order=sent.order, sealed_request=sent.sealed), "developer")

    def _people(self) -> None:
        """Somebody who is invited and joins; a token of one more; a code to sign in with, which is wrong."""
        token = self.zone.tokens["developer"]
        me = self.say("WhoAmI", Empty(), "developer")
        assert isinstance(me, Me)
        named: dict[str, Any] = {"organisation": me.organisation.organisation, "now": time.time()}
        invited, secret = certificates.invite(
            credentials.signing_key(token), person="newcomer", duties=["analyst"], **named
        )
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

    def _authorization(self, plan: bytes, request_id: str) -> Authorization:
        trio = self.zone.trio
        honest = trio.authorization(trio.plan(epsilon=0.01), request_id)
        honest.plan_hash = plan_hash(plan)
        # Where operators decide alone, nothing is asked under an agreement.
        honest.ClearField("agreement")
        honest.ClearField("purpose")
        return honest

    def _hello(self) -> Hello:
        enclave = self.zone.trio.enclaves[0]
        hello = Hello(node=enclave.node, evidence=enclave.identity.evidence)
        hello.key_epoch.ParseFromString((self.zone.trio.folder / enclave.node / "key_epoch.pb").read_bytes())
        return hello

    def send(self, method: MethodDescriptor, request: Message | bytes, who: str | None) -> Answer:
        """Send it, and see that what comes of it is no fault."""
        before = self.zone.counts()
        answer = self.zone.call(method, request, who)
        _check_no_fault(method, answer)
        if answer.status is grpc.StatusCode.INVALID_ARGUMENT:
            assert self.zone.counts() == before, (method.full_name, answer)
            assert answer.reason, answer
        return answer

    def works(self) -> None:
        """A plain question is planned, and all enclaves answer."""
        self.zone.until_connected(METHODS["GetEvidence"], GetEvidenceRequest(nonce=secrets.token_bytes(16)))
        answer = self.zone.call(METHODS["PreviewQuery"], PreviewQueryRequest(query=QUERIES[0]), "developer")
        assert answer.status is grpc.StatusCode.OK, answer


def _hashed(token: str) -> str:
    return credentials.bearer_hash(credentials.bearer(token))


def _check_no_fault(method: MethodDescriptor, answer: Answer) -> None:
    assert answer.status not in FAULTS, (method.full_name, answer)
    if answer.status is grpc.StatusCode.DEADLINE_EXCEEDED:
        assert waits(method), f"{method.full_name} hangs"


@pytest.fixture(scope="module")
def fuzzed(safe_primes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with running_zone(tmp_path_factory.mktemp("zone"), safe_primes, auto_approve=True) as zone:
        yield Fuzzed(zone)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Of a failure the example is to be read, and not the log of all that went before."""
    caplog.set_level(logging.CRITICAL)


def request_for(data: st.DataObject, fuzzed: Fuzzed, method: MethodDescriptor, who: str | None) -> Message:
    """One that is invented, or a valid one that was altered; signed by its caller where a signature belongs."""
    earlier = fuzzed.requests.get(method.name)
    if earlier and data.draw(st.booleans()):
        everything = [one for sent in fuzzed.requests.values() for one in sent]
        request = altered_message(data, data.draw(st.sampled_from(earlier)), everything)
    else:
        request = invented(data, method.input_type, fuzzed.known)
    if who in fuzzed.zone.tokens and data.draw(st.integers(0, 3)):
        signed(data, request, credentials.signing_key(fuzzed.zone.tokens[who]))
    return request


def caller_of(data: st.DataObject, fuzzed: Fuzzed, method: MethodDescriptor) -> str | None:
    """Mostly somebody who is let in."""
    likely = fuzzed.let_in[method.full_name]
    anybody = data.draw(st.integers(0, 4)) == 0
    among = WHO if anybody or not likely else likely
    return data.draw(st.sampled_from(among))


def test_requests_made_from_descriptors_and_altered_ones(fuzzed: Fuzzed) -> None:
    """Whatever the fields hold, and whoever signs what is signed."""

    def target(data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(fuzzed.served))
        who = caller_of(data, fuzzed, method)
        fuzzed.send(method, request_for(data, fuzzed, method, who), who)

    fuzz(target, 250)
    fuzzed.works()


def test_each_field_of_a_request_with_each_odd_value(fuzzed: Fuzzed) -> None:
    """One after another, the others as they are in a valid request; in the short form each field gets a quarter."""
    numbers = itertools.count()
    for method in fuzzed.served:
        if waits(method):
            continue
        (who, *_) = fuzzed.let_in[method.full_name] or WHO
        valid = fuzzed.requests.get(method.name, [GetMessageClass(method.input_type)()])[0]
        for one in method.input_type.fields:
            if one.message_type is not None:
                continue
            values = extremes(one)
            for value in values if LONG else values[next(numbers) % 4 :: 4]:
                request = type(valid)()
                request.CopyFrom(valid)
                request.ClearField(one.name)
                if one.is_repeated:
                    getattr(request, one.name).append(value)
                else:
                    setattr(request, one.name, value)
                fuzzed.send(method, request, who)
    fuzzed.works()


def test_bytes_that_are_no_message(fuzzed: Fuzzed) -> None:
    """Random ones, and those of requests that were cut, repeated and broken."""

    def target(data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(fuzzed.served))
        earlier = fuzzed.requests.get(method.name) or [invented(data, method.input_type, fuzzed.known)]
        whole = data.draw(st.sampled_from(earlier)).SerializeToString()
        sent = altered(data, whole) if data.draw(st.integers(0, 3)) else data.draw(st.binary(max_size=60))
        fuzzed.send(method, sent, caller_of(data, fuzzed, method))

    fuzz(target, 100)
    fuzzed.works()


def test_what_is_no_message_is_called_so_by_every_method(fuzzed: Fuzzed) -> None:
    """A field that ends before it begins; so long names that no message could tell them."""
    for method in fuzzed.served:
        who = NODE if method in fuzzed.of_nodes else "developer"
        answer = fuzzed.send(method, b"\x0a\xff", who)
        assert (answer.status, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "bad_message"), method.full_name


def test_an_unknown_name_of_any_length_is_refused_by_its_reason(fuzzed: Fuzzed) -> None:
    """What a refusal repeats of a request is cut to what a client takes."""
    for name in ("x" * 20_000, "名" * 20_000, "\0" * 20_000):
        for method, request in (
            ("GetDataset", GetDatasetRequest(dataset=name)),
            ("GetJob", GetJobRequest(job=name)),
            ("GetAgreement", GetAgreementRequest(agreement=name)),
            ("GetEvidence", GetEvidenceRequest(node=name, nonce=bytes(32))),
        ):
            answer = fuzzed.send(METHODS[method], request, "developer")
            assert answer.status is grpc.StatusCode.NOT_FOUND, (method, answer)
            assert answer.reason.startswith("unknown_"), answer


STRANGER = f"Bearer {credentials.bearer('a token of another zone')}"
HEADERS: dict[str, Callable[[str], Metadata]] = {
    "missing": lambda ours: (),
    "of another zone": lambda ours: (("authorization", STRANGER),),
    "wrong scheme": lambda ours: (("authorization", ours.replace("Bearer", "Basic")),),
    "no scheme": lambda ours: (("authorization", ours.removeprefix("Bearer ")),),
    "empty": lambda ours: (("authorization", ""),),
    "only the scheme": lambda ours: (("authorization", "Bearer "),),
    "more behind it": lambda ours: (("authorization", ours + ", x"),),
    "twice the same": lambda ours: (("authorization", ours), ("authorization", ours)),
    "a stranger's first": lambda ours: (("authorization", STRANGER), ("authorization", ours)),
    "a stranger's last": lambda ours: (("authorization", ours), ("authorization", STRANGER)),
    "another header": lambda ours: (("authorization-bin", ours.encode()), ("x-authorization", ours)),
    "its hash": lambda ours: (("authorization", f"Bearer {credentials.bearer_hash(ours[7:])}"),),
    "the token itself": lambda ours: (("authorization", "Bearer {token}"),),
    "long": lambda ours: (("authorization", "Bearer " + "x" * 4000),),
}


@pytest.mark.parametrize("attack", HEADERS)
def test_who_does_not_say_who_they_are_is_let_in_nowhere(fuzzed: Fuzzed, attack: str) -> None:
    """Whatever the request: exactly one header, with a credential of this zone."""
    token = fuzzed.zone.tokens["developer"]
    (ours,) = [str(value) for _, value in fuzzed.zone.metadata("developer")]
    sent = [
        (name, value.format(token=token) if isinstance(value, str) else value) for name, value in HEADERS[attack](ours)
    ]
    before = fuzzed.zone.counts()
    for method in fuzzed.served:
        if method in fuzzed.of_nodes or method in fuzzed.of_anybody:
            continue
        for request in fuzzed.requests.get(method.name, [b""])[:1]:
            answer = fuzzed.zone.call(method, request, metadata=sent)
            assert answer.status is grpc.StatusCode.UNAUTHENTICATED, (method.full_name, answer)
    assert fuzzed.zone.counts() == before


def test_nodes_port_takes_only_certificates_of_the_zone(fuzzed: Fuzzed) -> None:
    """Neither nobody, nor a developer with a credential, nor who has a certificate of another zone."""
    zone = fuzzed.zone
    stranger = Authority.new("yingbi zone CA").tls_pair(NODE, server=False)
    for pair in ((None, None), stranger):
        trusted = grpc.ssl_channel_credentials(zone.trio.ca_pem, *pair)
        with grpc.secure_channel(zone.addresses["nodes"], trusted) as channel:
            for method in fuzzed.of_nodes:
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(path_of(method), None, None)(
                        b"", metadata=tuple(zone.metadata("developer")), timeout=5
                    )
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    for method in fuzzed.of_nodes:
        answer = zone.call(method, b"", "operator")
        assert answer.status is grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_is_served_has_all_its_methods(fuzzed: Fuzzed) -> None:
    """Else what is not there would be passed over above."""
    services = {method.containing_service.full_name for method in fuzzed.served}
    described = [method for method in METHODS.values() if method.containing_service.full_name in services]
    assert [method.full_name for method in described] == [method.full_name for method in fuzzed.served]
    assert {"JobService", "DatasetService", "NodeService"} <= {name.rsplit(".", 1)[1] for name in services}
