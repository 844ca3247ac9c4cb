"""What is decided about a request, on a real database: charged once and in time, or refused with nothing spent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from yingbi.api import digests, zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, RegisterDatasetRequest, TableDeclaration
from yingbi.api.v1.job_pb2 import Approval, Authorization, Job, Preview, Query, SignedApproval, SubmitQueryRequest
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Plan

from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import states
from gateway.jobs.admission import Admission
from gateway.jobs.approval import Approvals
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes, unavailable
from gateway.jobs.plans import Planned, RecentPlans
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.storage import catalogue
from gateway.storage.database import Database
from gateway.storage.tables import accounts, charges, jobs

DELTA = 1e-7
DATASET = RegisteredDataset(
    DatasetDeclaration(
        dataset="visits",
        zone="clinic",
        title={"en": "Visits"},
        grade=1,
        source="made up",
        privacy_unit="person",
        unit_namespace="visits",
        max_units=3000,
        units_disjoint=True,
        budget_epsilon=3.0,
        budget_delta=DELTA,
        budget_each_organisation_epsilon=1.0,
        tables=[
            TableDeclaration(
                name="visits",
                max_rows_per_unit=4,
                columns=[
                    ColumnDeclaration(name="person", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT),
                    ColumnDeclaration(
                        name="pain",
                        type=COLUMN_TYPE_FLOAT64,
                        role=ColumnDeclaration.ROLE_ATTRIBUTE,
                        lower=0,
                        upper=10,
                    ),
                ],
            )
        ],
    ),
    bytes(32),
    RegisterDatasetRequest().SerializeToString(),
)


class OneNode(Nodes):
    """A node that is connected, or away; `meanwhile` happens between preview and admission."""

    def __init__(self) -> None:
        super().__init__(lambda hello: KeyEpoch())
        self.epoch = KeyEpoch(holders=[KeyHolder(node="node-1", index=1)])
        self.meanwhile: Callable[[], object] = lambda: None
        self.away = False

    def check_connected(self) -> KeyEpoch:
        self.meanwhile()
        if self.away:
            raise unavailable(["node-1"])
        assert self.epoch is not None
        return self.epoch


class Started(Runner):
    """Remembers which jobs it was given, and does something with each."""

    def __init__(self, database: Database, nodes: Nodes, feed: Feed) -> None:
        super().__init__(database, nodes, feed, None)  # type: ignore[arg-type]
        self.jobs: list[str] = []
        self.then: Callable[[], object] = lambda: None

    def start(self, record: JobRecord, patience: float = 0.0) -> None:
        self.jobs.append(record.job)
        self.then()


class Account:
    """A caller with a key."""

    def __init__(self, name: str, organisation: str, role: Role = Role.DEVELOPER) -> None:
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes_raw()
        self.caller = Caller(name, role, "", public.hex(), organisation)


def signed_request(account: Account, query: Query, plan: bytes, name: str) -> SubmitQueryRequest:
    """The query, authorized with the account's key."""
    authorization = Authorization(
        plan_hash=plan_hash(plan), request_id=f"{account.caller.name}-{name}", developer_key=account.caller.key
    )
    body = authorization.SerializeToString(deterministic=True)
    signature = digests.sign(account.key, digests.AUTHORIZATION, body)
    return SubmitQueryRequest(query=query, authorization=authorization, signature=signature)


class Scene:
    """A gateway's admission."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "gateway.db")
        self.nodes, feed = OneNode(), Feed()
        self.runner = Started(self.database, self.nodes, feed)
        self.admission = Admission(self.database, self.nodes, self.runner, auto_approve=False)
        self.approvals = Approvals(self.database, self.nodes, self.runner, feed)
        self.register(DATASET)

    def register(self, dataset: RegisteredDataset) -> None:
        asyncio.run(self.database.run(catalogue.register, dataset))

    def preview(self, account: Account, sql: str, epsilon: float) -> Preview:
        return asyncio.run(self.admission.preview(account.caller, Query(dataset="visits", sql=sql, epsilon=epsilon)))

    def submit(self, account: Account, name: str, epsilon: float) -> Job:
        """Ask a question that no other name asks."""
        return self.submit_at_once(account, name, epsilon, times=1)[0]

    def submit_at_once(self, account: Account, name: str, epsilon: float, times: int) -> list[Job]:
        """Send one request several times, none waiting for the others."""
        query = Query(dataset="visits", sql=f"SELECT COUNT(*) AS {name} FROM visits", epsilon=epsilon)

        async def ask() -> list[Job]:
            plan = (await self.admission.preview(account.caller, query)).plan
            request = signed_request(account, query, plan, name)
            return await asyncio.gather(*[self.admission.submit(account.caller, request) for _ in range(times)])

        return asyncio.run(ask())

    def approve(self, operator: Account, job: Job) -> Job:
        plan = Plan.FromString(job.plan)
        approval = Approval(
            job=job.job,
            plan_hash=plan_hash(job.plan),
            operator_key=operator.caller.key,
            rho_units=total_rho_units(plan),
            delta=plan.delta,
        )
        body = approval.SerializeToString(deterministic=True)
        signed = SignedApproval(body=body, signature=digests.sign(operator.key, digests.APPROVAL, body))
        return asyncio.run(self.approvals.approve(operator.caller, signed))

    def spent(self) -> dict[str, int]:
        """Units of rho by account, where something was spent."""
        return spent_in(self.database)


def spent_in(database: Database) -> dict[str, int]:
    rows = asyncio.run(database.run(lambda connection: connection.execute(select(accounts)).all()))
    return {f"{row.kind} {row.name}": row.spent_rho_units for row in rows if row.spent_rho_units}


def rho(epsilon: float) -> int:
    return zcdp.bought(epsilon, DELTA)[0]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "gateway").mkdir()
    scene = Scene(tmp_path / "gateway")
    yield scene
    scene.database.close()


@pytest.fixture
def ada() -> Account:
    return Account("ada", "college")


def test_a_question_is_charged_to_dataset_namespace_and_organisation_alike(scene: Scene, ada: Account) -> None:
    job = scene.submit(ada, "n", 0.5)
    spent = job.budget.spent_rho_units
    assert 0 < spent <= rho(0.5)
    assert scene.spent() == dict.fromkeys(("dataset visits", "namespace visits", "organisation visits/college"), spent)
    assert job.budget.organisation.organisation == "college"
    assert (job.budget.organisation.limit_rho_units, job.budget.organisation.spent_rho_units) == (rho(1.0), spent)
    assert scene.runner.jobs == [job.job]


def test_developers_of_one_organisation_share_what_it_may_spend(scene: Scene, ada: Account) -> None:
    bob, eve = Account("bob", "college"), Account("eve", "bureau")
    scene.submit(ada, "n", 0.9)
    before = scene.spent()
    with pytest.raises(Problem) as refusal:
        scene.submit(bob, "n2", 0.9)
    assert (refusal.value.code, refusal.value.details["limit"]) == ("budget_exceeded", "organisation")
    assert scene.spent() == before
    assert scene.submit(eve, "n3", 0.9).state == states.QUEUED
    assert float(refusal.value.details["remaining_epsilon"]) > 0
    assert scene.submit(bob, "n4", 0.99 * float(refusal.value.details["remaining_epsilon"])).state == states.QUEUED


def test_a_request_sent_twice_at_once_is_one_job_and_one_charge(scene: Scene, ada: Account) -> None:
    one, other = scene.submit_at_once(ada, "n", 0.5, times=2)
    assert one.job == other.job
    assert scene.runner.jobs == [one.job]
    assert set(scene.spent().values()) == {one.budget.spent_rho_units}


def test_a_refused_job_is_recorded_with_its_reason_and_never_started(scene: Scene, ada: Account) -> None:
    scene.submit(ada, "n", 0.9)
    with pytest.raises(Problem):
        scene.submit(ada, "n2", 0.9)
    rows = asyncio.run(scene.database.run(lambda connection: connection.execute(select(jobs)).all()))
    assert [(row.state, b"organisation college" in (row.failure or b"")) for row in rows] == [
        (states.QUEUED, False),
        (states.REFUSED, True),
    ]
    assert len(scene.runner.jobs) == 1
    charged = asyncio.run(scene.database.run(lambda connection: connection.execute(select(charges.c.job)).all()))
    assert {row.job for row in charged} == set(scene.runner.jobs)


def test_a_price_above_what_an_organisation_may_ever_spend_is_refused_in_the_preview(
    scene: Scene, ada: Account
) -> None:
    """The dataset's budget would hold it."""
    with pytest.raises(Problem) as refusal:
        scene.preview(ada, "SELECT COUNT(*) FROM visits", 2.0)
    assert refusal.value.details["limit"] == "organisation"
    assert "one organisation may spend on the dataset" in refusal.value.message


def test_a_preview_shows_a_developer_the_share_and_an_operator_the_whole(scene: Scene, ada: Account) -> None:
    operator = Account("op", "hospital", Role.PROVIDER)
    shown = scene.preview(ada, "SELECT COUNT(*) FROM visits", 0.5).budget
    assert shown.organisation.limit_rho_units == rho(1.0)
    assert not scene.preview(operator, "SELECT COUNT(*) FROM visits", 0.5).budget.HasField("organisation")


def test_an_approved_job_is_charged_to_the_organisation_of_who_asked(scene: Scene, ada: Account) -> None:
    operator = Account("op", "hospital", Role.PROVIDER)
    graded = DatasetDeclaration()
    graded.CopyFrom(DATASET.declaration)
    graded.grade = 3
    scene.register(replace(DATASET, declaration=graded))
    waiting = scene.submit(ada, "n", 0.5)
    assert (waiting.state, scene.spent()) == (states.WAITING, {})
    job = scene.approve(operator, waiting)
    assert job.state == states.QUEUED
    assert scene.spent()["organisation visits/college"] == job.budget.spent_rho_units > 0
    # Two that wait may both fit, and only one when the time comes.
    both = [scene.submit(ada, name, 0.6) for name in ("n2", "n3")]
    assert [scene.approve(operator, one).state for one in both] == [states.QUEUED, states.REFUSED]


def test_when_a_job_is_started_its_charge_is_in_the_database_s_files(
    scene: Scene, ada: Account, tmp_path: Path
) -> None:
    """Whoever kills the gateway then finds the job queued and the charge reserved."""
    copy = tmp_path / "copy"
    scene.runner.then = lambda: shutil.copytree(scene.folder, copy)
    job = scene.submit(ada, "n", 0.5)
    found = Database(copy / "gateway.db")
    assert spent_in(found) == scene.spent() != {}
    rows = asyncio.run(found.run(lambda connection: connection.execute(select(jobs)).all()))
    assert [(row.job, row.state) for row in rows] == [(job.job, states.QUEUED)]
    found.close()


@pytest.mark.requirement("CAT-01")
@pytest.mark.parametrize("step", ["preview", "planning"])
def test_a_dataset_that_changes_between_plan_and_charge_charges_nothing(
    scene: Scene, ada: Account, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else a share that was just lowered could be opened with its old limit."""
    lower = DatasetDeclaration()
    lower.CopyFrom(DATASET.declaration)
    lower.budget_each_organisation_epsilon = 0.9
    newer = RegisteredDataset(lower, b"1" * 32, DATASET.registration)

    def register() -> None:
        scene.database._thread.submit(scene.database._transact, catalogue.register, (newer,)).result()

    if step == "preview":
        scene.nodes.meanwhile = register
    else:
        _forget_previews(monkeypatch, then=register)
    with pytest.raises(Problem) as refusal:
        scene.submit(ada, "n", 0.5)
    assert refusal.value.code == "plan_changed"
    assert scene.spent() == {}
    assert scene.runner.jobs == []


def _forget_previews(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] = lambda: None) -> None:
    """As if others had previewed much meanwhile: `then` happens each time that a question is planned."""
    plan = RecentPlans.question

    def question(self: RecentPlans, *arguments: Any) -> Planned:
        planned = plan(self, *arguments)
        then()
        return planned

    monkeypatch.setattr(RecentPlans, "kept", lambda *_: None)
    monkeypatch.setattr(RecentPlans, "question", question)


@pytest.mark.parametrize(("remembered", "transactions"), [(True, [True]), (False, [False, True])])
def test_a_request_is_one_transaction_after_its_preview_and_otherwise_one_more_to_read(
    scene: Scene, ada: Account, monkeypatch: pytest.MonkeyPatch, remembered: bool, transactions: list[bool]
) -> None:
    """Each costs time, and each one that writes waits for the disk."""
    changed: list[bool] = []
    transact = scene.database._transact

    def counting(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
        def counted(connection: object, *rest: object) -> object:
            before = _changes(connection)
            result = function(connection, *rest)
            changed.append(_changes(connection) > before)
            return result

        return transact(counted, arguments)

    def _changes(connection: object) -> int:
        raw = connection.connection.driver_connection  # type: ignore[attr-defined]
        return int(raw.total_changes)

    scene.submit(ada, "warm", 0.1)
    if not remembered:
        _forget_previews(monkeypatch)
    monkeypatch.setattr(scene.database, "_transact", counting)
    scene.submit(ada, "n", 0.1)
    previewed, *submitted = changed
    assert not previewed
    assert submitted == transactions


def test_a_price_above_the_whole_budget_is_not_recorded_even_where_its_plan_is_kept(scene: Scene, ada: Account) -> None:
    """Its preview was refused, and planned all the same: whoever knows the hash of the plan may still sign it."""
    query = Query(dataset="visits", sql="SELECT COUNT(*) AS n FROM visits", epsilon=2.0)
    with pytest.raises(Problem):
        scene.preview(ada, query.sql, query.epsilon)
    planned = scene.admission._plans.kept(ada.caller, query, parties=1)
    assert planned is not None
    with pytest.raises(Problem) as refusal:
        asyncio.run(scene.admission.submit(ada.caller, signed_request(ada, query, planned.plan_bytes, "n")))
    assert refusal.value.details["limit"] == "organisation"
    assert not asyncio.run(scene.database.run(lambda connection: connection.execute(select(jobs)).all()))


def test_a_kept_plan_is_not_charged_for_without_the_caller_s_signature(scene: Scene, ada: Account) -> None:
    """A kept plan spares the planning and no check."""
    forger = Account("ada", "college")
    query = Query(dataset="visits", sql="SELECT COUNT(*) AS n FROM visits", epsilon=0.5)
    plan = scene.preview(ada, query.sql, query.epsilon).plan
    forged = signed_request(forger, query, plan, "n")
    with pytest.raises(Problem) as refusal:
        asyncio.run(scene.admission.submit(ada.caller, forged))
    assert refusal.value.code == "bad_signature"
    assert scene.spent() == {}


def test_while_a_node_is_away_nothing_is_charged_and_an_earlier_job_is_still_told(scene: Scene, ada: Account) -> None:
    """Also a plan that is kept is not charged for then."""
    earlier = scene.submit(ada, "n", 0.2)
    before = scene.spent()
    scene.nodes.away = True
    assert scene.submit(ada, "n", 0.2).job == earlier.job
    with pytest.raises(Problem) as refusal:
        scene.submit(ada, "n2", 0.2)
    assert refusal.value.code == "node_unavailable"
    assert scene.spent() == before


def test_a_caller_who_goes_away_leaves_no_job_that_is_charged_and_not_started(scene: Scene, ada: Account) -> None:
    query = Query(dataset="visits", sql="SELECT COUNT(*) AS n FROM visits", epsilon=0.5)
    request = signed_request(ada, query, scene.preview(ada, query.sql, query.epsilon).plan, "n")
    started = asyncio.Event()
    scene.runner.then = started.set

    async def ask_and_leave() -> None:
        asking = asyncio.create_task(scene.admission.submit(ada.caller, request))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait_for(started.wait(), 60)
        assert asking.cancelled()

    asyncio.run(ask_and_leave())
    assert len(scene.runner.jobs) == 1
    assert scene.spent() != {}
