"""Whatever is sent to the gateway, by whomever: what is wrong with it is told, and is no fault of the gateway.

Every method of every service that is described in proto/ is called over a real socket, with requests that are made from
the descriptors, with valid ones that were altered, and with bytes that are no message; as each kind of organisation, as
a node, and as nobody; in a zone where operators decide alone, and in one where organisations do, with agreements in
force and jobs that wait for them. A new service needs no line here. No call ends as INTERNAL or UNKNOWN, none hangs, a
malformed one leaves no row in any table, and the gateway answers afterwards. With --long every target goes on for
LONG_SECONDS in each of the two zones.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from yingbi.api import credentials
from yingbi.api.v1.agreement_pb2 import GetAgreementRequest
from yingbi.api.v1.attestation_pb2 import GetEvidenceRequest
from yingbi.api.v1.dataset_pb2 import GetDatasetRequest
from yingbi.api.v1.job_pb2 import GetJobRequest

from gateway.zone.authority import Authority
from gateway.zone.folder import ROLES
from tests.attacks.gateway_in_process import ANSWER_SECONDS, Answer, Metadata, path_of, running_zone, waits
from tests.attacks.governed_talk import among_organisations
from tests.attacks.honest_talk import METHODS, NODE, Talk, among_operators
from tests.attacks.invented_messages import Known, extremes, invented, signed
from tests.attacks.mutations import LONG, LONG_SECONDS, altered, altered_message, fuzz

pytestmark = [pytest.mark.timeout(4 * LONG_SECONDS), pytest.mark.xdist_group("fuzzed_api")]

WHO: list[str | None] = [*ROLES, NODE, None]
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED}


class Fuzzed:
    """The zone, and what honest callers said in it: a request of many kinds, and whatever was answered."""

    def __init__(self, talk: Talk, closed: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        """`closed`: how a question ends where some invented request stopped what it is about."""
        self.closed = closed
        self.zone, self.requests = talk.zone, talk.requests
        self.let_in: dict[str, list[str | None]] = {}
        self.of_anybody: list[MethodDescriptor] = []
        self._knock()
        self.known = Known.of([*talk.said, *(one for sent in self.requests.values() for one in sent)])

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
        """All enclaves answer, and a plain question is planned, or refused for what was done to its dataset before."""
        self.zone.until_connected(METHODS["GetEvidence"], GetEvidenceRequest(nonce=secrets.token_bytes(16)))
        answer = self.zone.call(METHODS["PreviewQuery"], self.requests["PreviewQuery"][0], "developer")
        assert answer.status in (grpc.StatusCode.OK, self.closed), answer


def _check_no_fault(method: MethodDescriptor, answer: Answer) -> None:
    assert answer.status not in FAULTS, (method.full_name, answer)
    if answer.status is grpc.StatusCode.DEADLINE_EXCEEDED:
        assert waits(method), f"{method.full_name} hangs"


@pytest.fixture(scope="module")
def by_operators(safe_primes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with running_zone(tmp_path_factory.mktemp("zone"), safe_primes, auto_approve=True) as zone:
        yield Fuzzed(among_operators(zone))


@pytest.fixture(scope="module")
def by_organisations(safe_primes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with running_zone(tmp_path_factory.mktemp("governed"), safe_primes, auto_approve=False) as zone:
        yield Fuzzed(among_organisations(zone), closed=grpc.StatusCode.FAILED_PRECONDITION)


@pytest.fixture(params=["by_operators", "by_organisations"])
def fuzzed(request: pytest.FixtureRequest) -> Fuzzed:
    """One after the other: whatever is tried, it is tried in both zones."""
    found: Fuzzed = request.getfixturevalue(request.param)
    return found


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


def test_whoever_decides_may_give_odd_reasons(by_organisations: Fuzzed) -> None:
    """Of every step and decision that could be taken now, by everybody; the longest first, which no step takes."""
    for reason in ("a" * 20_000, "", "\0", "<script>\u202e"):
        for name in ("MoveAgreement", "RefuseJob", "CancelJob"):
            for valid, who in itertools.product(by_organisations.requests[name], ROLES):
                request = GetMessageClass(METHODS[name].input_type)()
                request.CopyFrom(valid)
                request.reason = reason  # type: ignore[attr-defined]
                by_organisations.send(METHODS[name], request, who)
    by_organisations.works()


def test_requests_made_from_descriptors_and_altered_ones(fuzzed: Fuzzed) -> None:
    """Whatever the fields hold, and whoever signs what is signed."""

    def target(data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(fuzzed.served))
        who = caller_of(data, fuzzed, method)
        fuzzed.send(method, request_for(data, fuzzed, method, who), who)

    fuzz(target, 125)
    fuzzed.works()


def test_each_field_of_a_request_with_each_odd_value(fuzzed: Fuzzed) -> None:
    """One after another, the others as they are in a valid request; in the short form each field gets an eighth."""
    numbers = itertools.count()
    for method in fuzzed.served:
        if waits(method):
            continue
        earlier = fuzzed.requests.get(method.name, [GetMessageClass(method.input_type)()])
        turns = itertools.cycle(itertools.product(earlier, fuzzed.let_in[method.full_name] or WHO))
        for one in method.input_type.fields:
            if one.message_type is not None:
                continue
            values = extremes(one)
            for value in values if LONG else values[next(numbers) % 8 :: 8]:
                valid, who = next(turns)
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

    fuzz(target, 50)
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
def test_who_does_not_say_who_they_are_is_let_in_nowhere(by_operators: Fuzzed, attack: str) -> None:
    """Whatever the request: exactly one header, with a credential of this zone."""
    token = by_operators.zone.tokens["developer"]
    (ours,) = [str(value) for _, value in by_operators.zone.metadata("developer")]
    sent = [
        (name, value.format(token=token) if isinstance(value, str) else value) for name, value in HEADERS[attack](ours)
    ]
    before = by_operators.zone.counts()
    for method in by_operators.served:
        if method in by_operators.of_nodes or method in by_operators.of_anybody:
            continue
        for request in by_operators.requests.get(method.name, [b""])[:1]:
            answer = by_operators.zone.call(method, request, metadata=sent)
            assert answer.status is grpc.StatusCode.UNAUTHENTICATED, (method.full_name, answer)
    assert by_operators.zone.counts() == before


def test_nodes_port_takes_only_certificates_of_the_zone(by_operators: Fuzzed) -> None:
    """Neither nobody, nor a developer with a credential, nor who has a certificate of another zone."""
    zone = by_operators.zone
    stranger = Authority.new("yingbi zone CA").tls_pair(NODE, server=False)
    for pair in ((None, None), stranger):
        trusted = grpc.ssl_channel_credentials(zone.trio.ca_pem, *pair)
        with grpc.secure_channel(zone.addresses["nodes"], trusted) as channel:
            for method in by_operators.of_nodes:
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(path_of(method), None, None)(
                        b"", metadata=tuple(zone.metadata("developer")), timeout=ANSWER_SECONDS
                    )
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    for method in by_operators.of_nodes:
        answer = zone.call(method, b"", "operator")
        assert answer.status is grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_is_served_has_all_its_methods(by_operators: Fuzzed) -> None:
    """Else what is not there would be passed over above."""
    services = {method.containing_service.full_name for method in by_operators.served}
    described = [method for method in METHODS.values() if method.containing_service.full_name in services]
    assert [method.full_name for method in described] == [method.full_name for method in by_operators.served]
    assert {"JobService", "DatasetService", "NodeService"} <= {name.rsplit(".", 1)[1] for name in services}
