"""Whose yes a job takes, and what whoever decides is shown: on a real database, nothing computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError
from yingbi.api import certificates, digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyHolder
from yingbi.api.v1.dataset_pb2 import SERVICE_FORM_DATA, DatasetDeclaration, RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Approval, Decision, Job, ListDecisionsResponse, SignedApproval
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import Receipt

from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.governance.callers import Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import decisions, records, states
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import approvals
from gateway.storage.tables import approvals as approvals_table
from tests.gateway.jobs.test_admission import DATASET, Account, Scene

ADA = Account("ada", "college", Role.DEVELOPER)
BEN = Account("ben", "institute", Role.DEVELOPER)
PROVIDER = Account("pia", "hospital", Role.PROVIDER)
COLLEAGUE = Account("paul", "hospital", Role.PROVIDER)
SUPERVISOR = Account("sue", "bureau", Role.SUPERVISOR)
OPERATOR = Account("olga", "operations", Role.OPERATOR)


def graded(grade: int) -> RegisteredDataset:
    declaration = DatasetDeclaration()
    declaration.CopyFrom(DATASET.declaration)
    declaration.grade = grade
    return replace(DATASET, declaration=declaration)


class Deciding(Scene):
    """A gateway with two nodes and data of grade 4, which two organisations decide about."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        assert self.nodes.epoch is not None
        self.nodes.epoch.holders.append(KeyHolder(node="node-2", index=2))
        self.register(graded(4))

    def sign(self, who: Account, job: Job, **terms: object) -> SignedApproval:
        plan = Plan.FromString(job.plan)
        price = {"rho_units": total_rho_units(plan), "delta": plan.delta}
        named = {"job": job.job, "plan_hash": plan_hash(job.plan), "operator_key": who.caller.key, **price, **terms}
        body = Approval(**named).SerializeToString(deterministic=True)  # type: ignore[arg-type]
        return SignedApproval(body=body, signature=digests.sign(who.key, digests.APPROVAL, body))

    def say_yes(self, who: Account, job: Job, **terms: object) -> Job:
        return asyncio.run(self.approvals.approve(who.caller, self.sign(who, job, **terms)))

    def refuse(self, who: Account, job: Job, clause: str = "", *, returned: bool = False) -> Job:
        return asyncio.run(self.approvals.refuse(who.caller, job.job, "too much", clause, returned=returned))

    def decision(self, who: Account, job: Job) -> Decision:
        return asyncio.run(self.database.run(decisions.get, who.caller, job.job, 2))

    def inbox(self, who: Account, size: int = 50, after: int = 0) -> ListDecisionsResponse:
        return asyncio.run(self.database.run(decisions.waiting, who.caller, size, after))

    def record(self, job: Job) -> JobRecord:
        return asyncio.run(self.database.run(records.get, job.job))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Deciding]:
    (tmp_path / "gateway").mkdir()
    scene = Deciding(tmp_path / "gateway")
    yield scene
    scene.database.close()


def refusal(act: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        act()
    return caught.value


@pytest.mark.requirement("GRD-04")
def test_grade_4_starts_with_the_second_organisation_and_is_charged_then(scene: Deciding) -> None:
    job = scene.submit(ADA, "n", 0.5)
    assert [each.kind for each in job.needed] == ["provider", "supervisor"]
    first = scene.say_yes(PROVIDER, job)
    assert (first.state, scene.spent(), scene.runner.jobs) == (states.WAITING, {}, [])
    assert [(each.kind, each.person) for each in first.needed] == [("provider", "pia"), ("supervisor", "")]
    assert first.sequence > job.sequence, "who watches it is told"
    second = scene.say_yes(SUPERVISOR, job)
    assert (second.state, scene.runner.jobs) == (states.QUEUED, [job.job])
    assert scene.spent()
    given = asyncio.run(scene.database.run(approvals.signed, job.job))
    assert [Approval.FromString(each.body).operator_key for each in given] == [
        PROVIDER.caller.key,
        SUPERVISOR.caller.key,
    ]


def test_the_order_of_the_two_does_not_matter(scene: Deciding) -> None:
    job = scene.submit(ADA, "n", 0.5)
    assert scene.say_yes(SUPERVISOR, job).state == states.WAITING
    assert scene.say_yes(PROVIDER, job).state == states.QUEUED
    assert scene.record(job).approval is not None


@pytest.mark.requirement("ROL-02")
@pytest.mark.parametrize("again", [PROVIDER, COLLEAGUE])
def test_one_organisation_does_not_say_yes_twice(scene: Deciding, again: Account) -> None:
    job = scene.submit(ADA, "n", 0.5)
    scene.say_yes(PROVIDER, job)
    problem = refusal(lambda: scene.say_yes(again, job))
    assert (problem.kind, problem.code) == (Kind.NOT_ALLOWED, "already_decided")
    assert refusal(lambda: scene.refuse(again, job)).code == "already_decided"
    assert scene.record(job).state == states.WAITING


@pytest.mark.requirement("ROL-02")
@pytest.mark.parametrize("role", [Role.PROVIDER, Role.SUPERVISOR])
def test_nobody_decides_about_a_request_of_their_own_organisation(scene: Deciding, role: Role) -> None:
    own = Account("eva", "college", role)
    job = scene.submit(ADA, "n", 0.5)
    assert refusal(lambda: scene.say_yes(own, job)).code == "own_request"
    assert refusal(lambda: scene.refuse(own, job)).code == "own_request"
    assert "college asked for this itself" in scene.decision(own, job).may_not


def test_the_database_itself_keeps_these_rules(scene: Deciding) -> None:
    """Whatever the code above it does: two rows of one kind, and one of whoever asked, cannot be written."""
    job = scene.submit(ADA, "n", 0.5)
    row = {"job": job.job, "person": "x", "asked_by": "college", "signed": b"", "approved": 0.0}

    def write(*rows: dict[str, object]) -> object:
        return asyncio.run(scene.database.run(lambda connection: connection.execute(insert(approvals_table), rows)))

    with pytest.raises(IntegrityError):
        write(row | {"organisation": "college", "kind": "provider"})
    with pytest.raises(IntegrityError):
        write(row | {"organisation": "a", "kind": "provider"}, row | {"organisation": "b", "kind": "provider"})
    write(row | {"organisation": "a", "kind": "provider"}, row | {"organisation": "b", "kind": "supervisor"})


def test_who_is_not_needed_does_not_decide(scene: Deciding) -> None:
    scene.register(graded(3))
    job = scene.submit(ADA, "n", 0.5)
    assert refusal(lambda: scene.say_yes(SUPERVISOR, job)).code == "not_needed"
    assert refusal(lambda: scene.refuse(SUPERVISOR, job)).code == "not_needed"
    assert scene.say_yes(PROVIDER, job).state == states.QUEUED


@pytest.mark.requirement("APP-04")
@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"plan_hash": bytes(32)}, "other_plan"),
        ({"operator_key": SUPERVISOR.caller.key}, "bad_signature"),
        ({"rho_units": 1}, "other_price"),
        # Of these too every enclave would say so, after the job was charged.
        ({"rho_units": 0}, "other_price"),
        ({"delta": 0.0}, "other_price"),
        ({"delta": float("nan")}, "other_price"),
        ({"expires": Timestamp(seconds=1_000)}, "approval_expired"),
        ({"organisation": "bureau"}, "other_organisation"),
    ],
)
def test_an_approval_of_something_else_counts_for_nothing(scene: Deciding, terms: dict[str, object], code: str) -> None:
    job = scene.submit(ADA, "n", 0.5)
    assert refusal(lambda: scene.say_yes(PROVIDER, job, **terms)).code == code
    assert asyncio.run(scene.database.run(approvals.given, job.job)) == []


def test_a_yes_counts_no_longer_than_the_certificate_of_who_said_it(scene: Deciding) -> None:
    """Every enclave would refuse it, after the job was charged."""
    hospital, now = Ed25519PrivateKey.generate(), time.time()
    signed, secret = certificates.invite(
        hospital, organisation="hospital", person="pia", duties=["approver"], now=now, certificate_expires=now + 60
    )
    job = scene.submit(ADA, "n", 0.5)
    yes = scene.sign(PROVIDER, job)
    yes.certificate.CopyFrom(certificates.accept(signed, secret, PROVIDER.caller.key))
    asyncio.run(scene.approvals.approve(PROVIDER.caller, yes))
    scene.approvals._clock = lambda: now + 60
    late = scene.say_yes(SUPERVISOR, job)
    assert (late.state, late.failure.code, scene.spent()) == (states.REFUSED, "certificate_expired", {})
    assert "The certificate of pia of hospital" in late.failure.message


def test_an_approval_is_not_replayed_for_another_job_with_the_same_plan(scene: Deciding) -> None:
    first = scene.submit(ADA, "n", 0.5)
    second = scene.submit(BEN, "n", 0.5)
    assert first.plan == second.plan
    signed = scene.sign(PROVIDER, first)
    asyncio.run(scene.approvals.approve(PROVIDER.caller, signed))
    assert asyncio.run(scene.database.run(approvals.given, second.job)) == []
    assert refusal(lambda: asyncio.run(scene.approvals.approve(PROVIDER.caller, signed))).code == "already_decided"


def test_what_was_approved_for_others_is_replayed_once_it_is_approved_for_who_asks(scene: Deciding) -> None:
    """And not where that was refused; who asked for it has it again at once."""
    scene.refuse(PROVIDER, scene.submit(BEN, "n", 0.5))
    job = scene.submit(ADA, "n", 0.5)
    for by in (PROVIDER, SUPERVISOR):
        scene.say_yes(by, job)
    asyncio.run(scene.database.run(_release, job.job))
    spent = scene.spent()
    # The same plan in other words, as a request of its own.
    asked = scene.submit(BEN, "n ", 0.5)
    assert (asked.state, asked.HasField("receipt")) == (states.WAITING, False)
    assert scene.submit(ADA, "n ", 0.5).replayed
    scene.say_yes(PROVIDER, asked)
    answered = scene.say_yes(SUPERVISOR, asked)
    assert (answered.state, answered.replayed, answered.receipt.body) == (states.SUCCEEDED, True, b"released")
    assert scene.spent() == spent


@pytest.mark.requirement("GRD-08")
def test_what_a_newer_version_closed_is_not_replayed_for_who_waited(scene: Deciding) -> None:
    """Nor is it queued: it would not begin."""
    scene.register(_version(graded(4).declaration, 1))
    released = scene.submit(ADA, "n", 0.2)
    waiting = [scene.submit(BEN, name, 0.2) for name in ("n", "m")]
    for job in (released, *waiting):
        scene.say_yes(PROVIDER, job)
    scene.say_yes(SUPERVISOR, released)
    asyncio.run(scene.database.run(_release, released.job))
    spent, started = scene.spent(), list(scene.runner.jobs)
    closed = graded(4).declaration
    closed.forms.append(SERVICE_FORM_DATA)
    scene.register(_version(closed, 2))
    for job in waiting:
        answered = scene.say_yes(SUPERVISOR, job)
        assert (answered.state, answered.failure.code) == (states.REFUSED, "plan_changed")
        assert not answered.HasField("receipt")
    assert (scene.spent(), scene.runner.jobs) == (spent, started)


def _version(declaration: DatasetDeclaration, number: int) -> RegisteredDataset:
    registration = RegisterDatasetRequest(declaration=declaration.SerializeToString(deterministic=True))
    return RegisteredDataset(declaration, bytes([number]) * 32, registration.SerializeToString(deterministic=True))


def _release(connection: Connection, job: str) -> None:
    ledger.spend(connection, job)
    records.move(connection, job, states.RUNNING)
    records.store_release(connection, records.get(connection, job), Receipt(body=b"released"))
    records.move(connection, job, states.SUCCEEDED)


def test_what_is_no_approval_is_malformed(scene: Deciding) -> None:
    problem = refusal(lambda: asyncio.run(scene.approvals.approve(PROVIDER.caller, SignedApproval(body=b"\xff"))))
    assert problem.kind is Kind.MALFORMED


def test_a_refusal_carries_its_clause_and_a_return_says_that_one_may_ask_again(scene: Deciding) -> None:
    refused = scene.refuse(PROVIDER, scene.submit(ADA, "n", 0.5), "purpose")
    assert refused.failure.message == "pia refused the job by purpose: too much"
    returned = scene.refuse(PROVIDER, scene.submit(ADA, "n2", 0.5), returned=True)
    assert (returned.state, returned.failure.code) == (states.REFUSED, "returned")
    assert "ask again" in returned.failure.hint
    assert scene.spent() == {}
    with pytest.raises(Problem, match="at most"):
        scene.refuse(PROVIDER, scene.submit(ADA, "n3", 0.5), "x" * 3_000)


@pytest.mark.requirement("MON-03")
def test_an_inbox_has_what_waits_for_its_reader_and_says_why_not_of_the_rest(scene: Deciding) -> None:
    first, second = scene.submit(ADA, "n", 0.1), scene.submit(BEN, "n2", 0.1)
    scene.say_yes(PROVIDER, first)
    mine = scene.inbox(PROVIDER)
    assert [each.job.job for each in mine.mine] == [second.job]
    assert [(each.job.job, "hospital has approved" in each.may_not) for each in mine.others] == [(first.job, True)]
    assert [each.job.job for each in scene.inbox(SUPERVISOR).mine] == [first.job, second.job]
    assert not scene.inbox(OPERATOR).mine
    page = scene.inbox(SUPERVISOR, size=1)
    assert [each.job.job for each in scene.inbox(SUPERVISOR, 1, int(page.next_page_token)).mine] == [second.job]


@pytest.mark.requirement("APP-04", "MON-03")
def test_a_decision_has_the_numbers_that_are_approved(scene: Deciding) -> None:
    job = scene.submit(ADA, "n", 0.5)
    shown = scene.decision(PROVIDER, job)
    assert (shown.epsilon, shown.grade, shown.organisation, shown.kind) == (0.5, 4, "college", "query")
    assert shown.job.plan == job.plan
    assert list(shown.columns) == ["visits.person"]
    assert shown.may_not == ""
    scene.say_yes(PROVIDER, job, rho_units=shown.rho_units, delta=shown.delta)
    scene.say_yes(SUPERVISOR, job, rho_units=shown.rho_units, delta=shown.delta)
    after = scene.decision(PROVIDER, job)
    assert [(each.organisation, each.spent_rho_units) for each in after.organisations] == [("college", shown.rho_units)]


@pytest.mark.requirement("APP-04")
def test_of_a_differencing_request_by_anyone_the_reader_is_warned(scene: Deciding) -> None:
    earlier = scene.submit(BEN, "n", 0.1)
    job = asyncio.run(_ask(scene, "SELECT COUNT(*) AS m FROM visits WHERE pain > 3"))
    (similar,) = [flag for flag in scene.decision(PROVIDER, job).flags if flag.code == "similar"]
    assert (similar.level, list(similar.jobs)) == ("warning", [earlier.job])
    assert "institute" in similar.text


async def _ask(scene: Deciding, sql: str) -> Job:
    from yingbi.api.v1.job_pb2 import Query

    from tests.gateway.jobs.test_admission import signed_request

    query = Query(dataset="visits", sql=sql, epsilon=0.1)
    plan = (await scene.admission.preview(ADA.caller, query)).plan
    return await scene.admission.submit(ADA.caller, signed_request(ADA, query, plan, sql))


def test_grade_4_is_not_open_at_one_node(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    scene = Scene(tmp_path / "gateway")
    scene.register(graded(4))
    assert refusal(lambda: scene.submit(ADA, "n", 0.5)).code == "grade_denied"
    scene.database.close()


@pytest.mark.parametrize("act", ["approve", "refuse"])
def test_who_decides_and_goes_away_leaves_nothing_half_done(
    scene: Deciding, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """What is charged is started, and who watches the job is told how it ended."""
    scene.register(graded(3))
    job, changed = scene.submit(ADA, "n", 0.5), asyncio.Event()
    scene.approvals._feed.changed = lambda job: changed.set()  # type: ignore[method-assign]

    asking: list[asyncio.Task[Job]] = []
    run = scene.database.run

    async def run_and_leave(function: Callable[..., object], *arguments: object) -> object:
        if function.__name__ == f"_{act}":
            # The transaction is begun, and seen to its end, whoever waits for it.
            asking[0].cancel()
        return await run(function, *arguments)

    async def decide_and_leave() -> None:
        approvals, signed = scene.approvals, scene.sign(PROVIDER, job)
        deciding = {
            "approve": lambda: approvals.approve(PROVIDER.caller, signed),
            "refuse": lambda: approvals.refuse(PROVIDER.caller, job.job, "too much"),
        }
        asking.append(asyncio.create_task(deciding[act]()))
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.wait_for(changed.wait(), 10)

    monkeypatch.setattr(scene.database, "run", run_and_leave)
    asyncio.run(decide_and_leave())
    assert asking[0].cancelled()
    assert scene.runner.jobs == ([job.job] if act == "approve" else [])
