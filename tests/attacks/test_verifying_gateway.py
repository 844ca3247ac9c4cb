"""The SDK, the gateway's own code and three enclaves: what is counted, what is told, and all that the gateway had."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi import verification as sdk
from yingbi.api import credentials
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import GetEvidenceResponse
from yingbi.api.v1.dataset_pb2 import Dataset, DatasetDeclaration, RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import Hello, NextTaskRequest, TaskResult
from yingbi.api.v1.verification_pb2 import VerificationUse, VerifyRequest, VerifyResponse
from yingbi.consents import Ask, Value, read_token, sign_consent
from yingbi.profile import Profile
from yingbi.verification import VerdictReceipt, Verification

from enclave_sim import verification
from gateway.governance.callers import Caller as Account
from gateway.governance.callers import Role
from gateway.governance.registration import check_registration
from gateway.governance.stops import DATASET as DATASET_SCOPE
from gateway.jobs import verifying
from gateway.jobs.nodes import Nodes
from gateway.ledger import uses
from gateway.storage import catalogue, people, stops
from gateway.storage.database import Database
from gateway.storage.tables import verifications
from tests.attacks.three_enclaves import Trio
from tests.attacks.verifying import DATASET, PURPOSE, Caller
from tests.enclave_sim.test_enclave_stops import public, stop

TOKEN = "token-of-a-developer"
SUBJECT = 1004
TRUE: dict[str, Value] = {"male": 0, "bmi": 21.0}
Spoils = Callable[[str, TaskResult], TaskResult]


def _as_it_is(node: str, result: TaskResult) -> TaskResult:
    return result


@dataclass
class Desk:
    """The gateway, as the SDK's transport sees it. It keeps every byte that it handles."""

    trio: Trio
    database: Database
    ca_pem: str
    profile: Profile
    account: Account
    kept: list[bytes] = field(default_factory=list)
    # What becomes of nodes' results on their way.
    spoils: Spoils = _as_it_is
    down: frozenset[str] = frozenset()

    def get_evidence(self, node: str, nonce: bytes) -> GetEvidenceResponse:
        shown = [each for each in self.trio.enclaves if node in ("", each.node)]
        evidence = [each.identity.attest(nonce) for each in shown]
        return GetEvidenceResponse(evidence=evidence, key_epoch=self.trio.enclaves[0].signed_epoch)

    def verify(self, request: VerifyRequest) -> VerifyResponse:
        self.kept.append(request.SerializeToString())
        response = asyncio.run(self._passed_on(request))
        self.kept.append(response.SerializeToString())
        return response

    async def _passed_on(self, request: VerifyRequest) -> VerifyResponse:
        epoch = self.trio.enclaves[0].epoch
        nodes = Nodes(lambda _: epoch)
        nodes.expect(self.trio.enclaves[0].signed_epoch, epoch)
        running = [asyncio.create_task(self._node(nodes, place)) for place in range(3)]
        await asyncio.sleep(0)
        try:
            return await verifying.verify(self.database, nodes, self.account, request)
        finally:
            for task in running:
                task.cancel()

    async def _node(self, nodes: Nodes, place: int) -> None:
        enclave = self.trio.enclaves[place]
        if enclave.node in self.down:
            return
        polled = NextTaskRequest(run="run", hello=Hello(node=enclave.node, key_epoch=enclave.signed_epoch))
        while True:
            task = await nodes.next_task(enclave.node, polled, 5)
            if not task.id:
                continue
            polled.received = task.sequence
            self.kept.append(task.SerializeToString())
            result = TaskResult(id=task.id)
            try:
                result.MergeFrom(verification.result_of(enclave, task, time.time()))
            except Problem as problem:
                result.failure.CopyFrom(Failure(code=problem.code, message=problem.message))
            self.kept.append(result.SerializeToString())
            await nodes.complete(enclave.node, self.spoils(enclave.node, result))

    def get_verification_use(self, dataset: str) -> VerificationUse:
        return asyncio.run(self.database.run(uses.used, dataset, self.account, time.time()))


@dataclass
class Scene:
    """A developer at a desk of the zone, and an issuer."""

    desk: Desk
    caller: Caller

    @property
    def dataset(self) -> Dataset:
        declaration = self.caller.trio.declaration(DATASET)
        return Dataset(declaration=declaration, version=self.caller.trio.version(DATASET))

    def register(self) -> None:
        """As an operator does."""
        declaration = self.caller.trio.declaration(DATASET).SerializeToString(deterministic=True)
        shards = self.caller.trio.shards[DATASET]
        request = RegisterDatasetRequest(declaration=declaration, shards=shards)
        registered = check_registration(request, self.caller.trio.enclaves[0].epoch)
        asyncio.run(self.desk.database.run(catalogue.register, registered))

    def consent(self, subject: int = SUBJECT, claims: Mapping[str, Value] = TRUE, node: str = "node-2") -> str:
        ask: Ask = sdk.ask_for(self.desk, self.dataset, node)  # type: ignore[arg-type]
        issuer = self.caller.issuer
        return sign_consent(issuer, ask, subject=subject, claims=claims, purpose=PURPOSE, now=time.time())

    def verify(
        self, token: str, subject: int = SUBJECT, claims: Mapping[str, Value] = TRUE, purpose: str = PURPOSE
    ) -> Verification:
        return sdk.verify(self.desk, self.dataset, subject, claims, purpose, token)  # type: ignore[arg-type]

    def refusal(self, *arguments: Any, **options: Any) -> Problem:
        with pytest.raises(Problem) as refused:
            self.verify(*arguments, **options)
        return refused.value

    def counted(self) -> tuple[int, int, int]:
        """Uses, those of today, and what is owed."""
        used = sdk.uses_of(self.desk, self.dataset)  # type: ignore[arg-type]
        return used.uses, used.today, used.owed


@pytest.fixture
def scene(trio: Trio, tmp_path: Path) -> Iterator[Scene]:
    trio.developer = credentials.signing_key(TOKEN)
    trio.set_policy(auto_approve=False)
    trio.load()
    caller = Caller(trio)
    caller.add(a_day=5)
    key = trio.developer.public_key().public_bytes_raw().hex()
    account = Account("ada", Role.DEVELOPER, "", key, "college")
    ca_pem = trio.ca_pem.decode()
    profile = Profile("localhost:1", TOKEN, ca_pem, allow_simulation=True)
    desk = Desk(trio, Database(tmp_path / "gateway.db"), ca_pem, profile, account)
    made = Scene(desk, caller)
    made.register()
    yield made
    desk.database.close()


def test_a_match_is_counted_priced_and_receipted(scene: Scene, tmp_path: Path) -> None:
    token = scene.consent()
    answered = scene.verify(token)
    assert (answered.match, answered.node, str(answered)) == (True, "node-2", "match")
    assert (answered.uses, answered.owed) == (1, 7)
    wrong = scene.verify(scene.consent(claims={"male": 1}), claims={"male": 1})
    assert (wrong.match, str(wrong)) == (False, "no match")
    assert scene.counted() == (2, 2, 14)
    answered.receipt.save(tmp_path / "receipt")
    read = VerdictReceipt.load(tmp_path / "receipt")
    assert read.verify(scene.desk.ca_pem).match
    assert read.is_about(token)
    assert not wrong.receipt.is_about(token)


@pytest.mark.parametrize("part", ["body", "signature"])
def test_a_receipt_with_one_bit_flipped_does_not_verify(scene: Scene, part: str) -> None:
    receipt = scene.verify(scene.consent()).receipt
    honest = getattr(receipt.signed, part)
    for place in range(0, len(honest), 7):
        flipped = honest[:place] + bytes([honest[place] ^ 1]) + honest[place + 1 :]
        setattr(receipt.signed, part, flipped)
        with pytest.raises(Problem) as refused:
            receipt.verify(scene.desk.ca_pem)
        assert refused.value.kind is Kind.BAD_EVIDENCE


def test_an_answer_that_the_gateway_made_up_is_no_verdict(scene: Scene) -> None:
    """It cannot seal to the caller's key, which it never saw."""

    def spoil(node: str, result: TaskResult) -> TaskResult:
        if result.WhichOneof("kind") == "verified":
            result.verified.sealed_answer = secrets.token_bytes(len(result.verified.sealed_answer))
        return result

    scene.desk.spoils = spoil
    refused = scene.refusal(scene.consent())
    assert (refused.kind, refused.code) == (Kind.BAD_EVIDENCE, "verdict")


def test_a_slip_is_told_here_and_leaves_the_consent_as_good_as_it_was(scene: Scene) -> None:
    token = scene.consent()
    assert scene.refusal(token, subject=1005).code == "other_claims"
    assert scene.refusal(token, claims={"male": 0}).code == "other_claims"
    assert scene.refusal(token, purpose="employment").code == "other_claims"
    near = scene.refusal(token, claims={"mal": 0})
    assert (near.code, near.hint) == ("unknown_field", "did you mean male?")
    bundled = scene.refusal(token, subject=[1004, 1005])
    assert bundled.code == "bundled_consent"
    assert [scene.refusal(text).code for text in ("rubbish", "yingbi-consent-", token[:-9])] == [
        "consent",
        "unknown_issuer",
        "consent",
    ]
    assert scene.desk.kept == []
    assert scene.verify(token).match is True


def test_a_used_consent_is_refused_before_any_enclave_is_asked(scene: Scene) -> None:
    token = scene.consent()
    scene.verify(token)
    before = len(scene.desk.kept)
    assert scene.refusal(token).code == "consent_used"
    assert len(scene.desk.kept) == before + 1
    assert scene.counted() == (1, 1, 7)


def test_a_gateway_that_forgot_what_was_used_gets_no_second_answer(scene: Scene) -> None:
    token = scene.consent()
    scene.verify(token)
    asyncio.run(scene.desk.database.run(lambda connection: connection.execute(verifications.delete())))
    assert scene.refusal(token).code == "consent_used"
    scene.caller.trio.load()
    asyncio.run(scene.desk.database.run(lambda connection: connection.execute(verifications.delete())))
    assert scene.refusal(token).code == "consent_used"
    # Its peers said so, and no answer came: nothing is owed.
    assert scene.counted() == (0, 0, 0)


def test_what_no_enclave_answered_costs_nothing_and_can_be_asked_again(scene: Scene) -> None:
    token = scene.consent()
    scene.desk.down = frozenset({"node-3"})
    refused = scene.refusal(token)
    assert (refused.kind, refused.code) == (Kind.UNAVAILABLE, "node_unavailable")
    scene.desk.down = frozenset()
    scene.desk.spoils = lambda node, result: (
        TaskResult(id=result.id, failure=Failure(code="storage", message="The disk is full."))
        if node == "node-1"
        else result
    )
    assert scene.refusal(token).code == "storage"
    assert scene.counted() == (0, 0, 0)
    scene.desk.spoils = _as_it_is
    assert scene.verify(token).match is True
    assert scene.counted() == (1, 1, 7)


@pytest.mark.requirement("MON-01")
def test_an_answer_that_was_under_way_when_the_stop_came_is_withheld_and_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Ed25519PrivateKey.generate()
    account = Account("hanna", Role.PROVIDER, "", public(provider).hex(), "hospital")
    cut_off, answered = stop(DATASET_SCOPE, DATASET, provider), verifying._answer

    async def then_it_is_stopped(*given: Any) -> bytes:
        answer = await answered(*given)
        await scene.desk.database.run(stops.add, cut_off, account, [], [], time.time())
        return answer

    monkeypatch.setattr(verifying, "_answer", then_it_is_stopped)
    assert scene.refusal(scene.consent()).code == "dataset_cut_off"
    assert scene.counted() == (1, 1, 7)


@pytest.mark.parametrize("whom", ["ada", "college"])
@pytest.mark.parametrize("answers", [False, True])
def test_who_is_removed_meanwhile_gets_no_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, whom: str, answers: bool
) -> None:
    """Nodes take up to 45 seconds; what none of them was asked for yet is not counted either."""
    ann, cora = (
        Account("ann", Role.DEVELOPER, "1" * 64, "01" * 32, "college"),
        Account("cora", Role.COORDINATOR, "", "", "city"),
    )
    first = [replace(scene.desk.account, bearer_hash="2" * 64), ann]
    asyncio.run(scene.desk.database.run(people.seed, first, 0.0))
    leave, by = (people.remove, ann) if whom == "ada" else (people.remove_organisation, cora)
    step = "_answer" if answers else "_check_node"
    taken = getattr(verifying, step)

    async def then_they_leave(*given: Any) -> bytes:
        answer: bytes = await taken(*given)
        await scene.desk.database.run(leave, by, whom, 1.0)
        return answer

    def leaving(*given: Any) -> None:
        taken(*given)
        scene.desk.database._thread.submit(scene.desk.database._transact, leave, (by, whom, 1.0)).result()

    consent = scene.consent()
    monkeypatch.setattr(verifying, step, then_they_leave if answers else leaving)
    assert scene.refusal(consent).code == ("person_left" if whom == "ada" else "organisation_left")
    assert scene.counted() == ((1, 1, 7) if answers else (0, 0, 0))


def test_a_developer_has_so_many_answers_a_day_over_all_providers(scene: Scene) -> None:
    for node in ("node-1", "node-2", "node-3", "node-1", "node-2"):
        scene.verify(scene.consent(node=node))
    token = scene.consent(node="node-3")
    refused = scene.refusal(token)
    assert (refused.kind, refused.code) == (Kind.BUDGET, "developer_limit")
    assert scene.counted() == (5, 5, 35)


def test_an_order_of_another_caller_is_not_passed_on(scene: Scene) -> None:
    scene.desk.account = Account("eve", Role.DEVELOPER, "", "00" * 32, "college")
    refused = scene.refusal(scene.consent())
    assert (refused.kind, refused.code) == (Kind.NOT_ALLOWED, "bad_signature")


def test_a_changed_dataset_is_looked_at_anew(scene: Scene) -> None:
    token, old = scene.consent(), scene.dataset
    scene.caller.add(a_day=5)
    scene.register()
    with pytest.raises(Problem) as refused:
        sdk.verify(scene.desk, old, SUBJECT, TRUE, PURPOSE, token)  # type: ignore[arg-type]
    assert (refused.value.kind, refused.value.code) == (Kind.CONFLICT, "plan_changed")
    assert scene.verify(token).match is True


def test_what_is_not_offered_is_said_to_be_so(scene: Scene) -> None:
    plain = Dataset(declaration=DatasetDeclaration(dataset=DATASET))
    with pytest.raises(Problem) as refused:
        sdk.verify(scene.desk, plain, SUBJECT, TRUE, PURPOSE, scene.consent())  # type: ignore[arg-type]
    assert refused.value.code == "no_verification"


def test_a_gateway_that_keeps_every_byte_cannot_tell_whom_or_what_it_was_about(scene: Scene, tmp_path: Path) -> None:
    """Everything that passed it and its database; known and unknown subject, match and no match, one and two claims."""
    messages: list[list[int]] = []
    for subject, claims in ((SUBJECT, TRUE), (77007700, TRUE), (SUBJECT, {"city": "西安"})):
        scene.desk.kept.clear()
        token = scene.consent(subject, claims)
        assert scene.verify(token, subject, claims).match is (subject == SUBJECT)
        stored = [path.read_bytes() for path in tmp_path.glob("gateway.db*")]
        nonce = read_token(token).nonce
        for needle in (str(subject).encode(), subject.to_bytes(8, "big"), nonce, "西安".encode()):
            assert not any(needle in each for each in (*scene.desk.kept, *stored))
        # What could be asked for is public; what was asked for is not.
        assert not any(PURPOSE.encode() in each for each in scene.desk.kept)
        # Of tasks' ids and varints, a few bytes.
        messages.append([len(each) // 16 for each in scene.desk.kept if len(each) > 1000])
    assert messages[0] == messages[1] == messages[2]
    assert len(messages[0]) == 4
