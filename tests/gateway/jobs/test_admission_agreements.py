"""Requests under agreements, on a real database and at a given time: one charge, or a refusal that costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import (
    Authorization,
    AuthorizedPlan,
    BatchQuery,
    Job,
    Preview,
    Query,
    SubmitBatchRequest,
    SubmitQueryRequest,
)
from yingbi.api.v1.receipt_pb2 import Receipt

from enclave_sim.plan.canonical import plan_hash
from gateway.aggregation.vectors import Vectors
from gateway.governance.callers import Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import records, states
from gateway.jobs.admission import Admission
from gateway.jobs.approval import Approvals
from gateway.jobs.feed import Feed
from gateway.jobs.plans import RecentPlans
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.ledger import ledger
from gateway.storage import agreements
from tests.gateway.jobs.test_admission import DATASET, DELTA, Account, Scene, rho

STARTS, EXPIRES = 1_000, 2_000


def terms(name: str = "falls", epsilon: float = 0.5, uses: int | None = None, expires: int = EXPIRES) -> Agreement:
    return Agreement(
        agreement=name,
        dataset="visits",
        organisation="college",
        purpose="risk of falls",
        starts=Timestamp(seconds=STARTS),
        expires=Timestamp(seconds=expires),
        budget_epsilon=epsilon,
        budget_delta=DELTA,
        max_uses=uses,
    )


def declared(*, required: bool = True, grade: int = 1) -> RegisteredDataset:
    declaration = DatasetDeclaration()
    declaration.CopyFrom(DATASET.declaration)
    declaration.agreements_required, declaration.grade = required, grade
    return replace(DATASET, declaration=declaration)


class Agreed(Scene):
    """A gateway whose dataset is asked under agreements, with a clock that is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now = 1_500.0
        self.admission = Admission(self.database, self.nodes, self.runner, auto_approve=False, clock=lambda: self.now)
        self.approvals = Approvals(self.database, self.nodes, self.runner, Feed(), clock=lambda: self.now)
        self.register(declared())

    def agree(self, *agreed: Agreement) -> None:
        for agreement in agreed:
            asyncio.run(self.database.run(agreements.register, agreement, self.now))

    def uses(self, agreement: Agreement) -> int:
        return asyncio.run(self.database.run(ledger.agreement_budget, agreement)).uses

    def query(self, name: str, epsilon: float, agreement: str) -> Query:
        sql = f"SELECT COUNT(*) AS {name} FROM visits"
        return Query(dataset="visits", sql=sql, epsilon=epsilon, agreement=agreement)

    def look(self, account: Account, name: str = "n", epsilon: float = 0.2, agreement: str = "") -> Preview:
        return asyncio.run(self.admission.preview(account.caller, self.query(name, epsilon, agreement)))

    def ask(
        self, account: Account, name: str = "n", epsilon: float = 0.2, agreement: str = "", signed: str | None = None
    ) -> Job:
        """Ask what no other name asks; `signed` is for another agreement than that of the preview."""
        return asyncio.run(self.asking(account, name, epsilon, agreement, signed))

    async def asking(
        self, account: Account, name: str, epsilon: float = 0.2, agreement: str = "", signed: str | None = None
    ) -> Job:
        query = self.query(name, epsilon, agreement)
        preview = await self.admission.preview(account.caller, query)
        under = preview.agreement if signed is None else signed
        authorization, signature = _signed(account, preview.plan, name, under)
        request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
        return await self.admission.submit(account.caller, request)

    def refused(self, account: Account, name: str = "n", epsilon: float = 0.2, agreement: str = "") -> Problem:
        """Why a question is refused; nothing is spent or started."""
        before, started = self.spent(), list(self.runner.jobs)
        with pytest.raises(Problem) as caught:
            self.ask(account, name, epsilon, agreement)
        assert (self.spent(), self.runner.jobs) == (before, started)
        return caught.value

    def record(self, job: Job) -> JobRecord:
        return asyncio.run(self.database.run(records.get, job.job))


def _signed(account: Account, plan: bytes, name: str, agreement: str) -> tuple[Authorization, bytes]:
    authorization = Authorization(
        plan_hash=plan_hash(plan), request_id=name, developer_key=account.caller.key, agreement=agreement
    )
    body = authorization.SerializeToString(deterministic=True)
    return authorization, digests.sign(account.key, digests.AUTHORIZATION, body)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Agreed]:
    scene = Agreed(tmp_path)
    yield scene
    scene.database.close()


@pytest.fixture
def ada() -> Account:
    return Account("ada", "college")


OPERATOR = Account("op", "hospital", Role.PROVIDER)


def test_a_job_is_charged_to_its_agreement_too_and_says_so(scene: Agreed, ada: Account) -> None:
    scene.agree(terms(uses=3))
    job = scene.ask(ada)
    spent = job.budget.spent_rho_units
    assert scene.spent() == dict.fromkeys(
        ("dataset visits", "namespace visits", "organisation visits/college", "agreement falls"), spent
    )
    assert job.agreement == job.budget.agreement.agreement == "falls"
    assert (job.budget.agreement.spent_rho_units, job.budget.agreement.uses) == (spent, 1)
    record = scene.record(job)
    assert record.agreement == Authorization.FromString(record.authorization.body).agreement == "falls"


def test_a_preview_names_the_only_agreement_and_shows_its_budget(scene: Agreed, ada: Account) -> None:
    scene.agree(terms(uses=3))
    preview = scene.look(ada)
    assert (preview.agreement, preview.budget.agreement.limit_rho_units) == ("falls", rho(0.5))
    assert preview.budget.agreement.max_uses == 3
    assert scene.look(OPERATOR).agreement == ""


@pytest.mark.requirement("AGR-02")
def test_without_an_agreement_the_dataset_cannot_be_asked(scene: Agreed, ada: Account) -> None:
    assert scene.refused(ada).code == "agreement_needed"
    scene.agree(terms())
    assert scene.refused(Account("eve", "bureau")).code == "agreement_needed"
    assert scene.refused(Account("eve", "bureau"), agreement="falls").code == "agreement_other_organisation"
    assert scene.refused(ada, agreement="fall").code == "unknown_agreement"


def test_of_several_the_named_one_is_charged(scene: Agreed, ada: Account) -> None:
    scene.agree(terms("falls"), terms("burns"))
    assert scene.refused(ada).code == "agreement_needed"
    assert scene.ask(ada, agreement="burns").agreement == "burns"
    assert "agreement falls" not in scene.spent()


def test_where_none_is_required_a_named_one_is_charged_and_no_other(scene: Agreed, ada: Account) -> None:
    scene.register(declared(required=False))
    scene.agree(terms())
    assert scene.ask(ada, "n").agreement == ""
    assert "agreement falls" not in scene.spent()
    assert scene.ask(ada, "m", agreement="falls").agreement == "falls"
    assert scene.spent()["agreement falls"] < scene.spent()["dataset visits"]


@pytest.mark.parametrize("signed", ["", "burns"])
def test_a_request_runs_under_what_its_developer_signed(scene: Agreed, ada: Account, signed: str) -> None:
    scene.agree(terms("falls"), terms("burns"))
    with pytest.raises(Problem) as caught:
        scene.ask(ada, agreement="falls", signed=signed)
    assert caught.value.code == "agreement_differs"
    assert scene.spent() == {}


def test_nor_can_one_be_left_unsigned_where_it_is_required(scene: Agreed, ada: Account) -> None:
    scene.agree(terms())
    with pytest.raises(Problem) as caught:
        scene.ask(ada, signed="")
    assert caught.value.code == "agreement_differs"
    assert scene.spent() == {}


def test_one_that_was_added_since_the_preview_is_no_hindrance(scene: Agreed, ada: Account) -> None:
    """What is signed names the agreement."""
    scene.agree(terms("falls"))
    query = scene.query("n", 0.2, "")
    authorization, signature = _signed(ada, scene.look(ada).plan, "n", "falls")
    scene.agree(terms("burns"))
    request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
    assert asyncio.run(scene.admission.submit(ada.caller, request)).agreement == "falls"


@pytest.mark.parametrize(("signed", "code"), [("falls", "agreement_expired"), ("", "agreement_differs")])
def test_a_kept_plan_is_charged_to_what_is_in_force_when_it_is_asked_for(
    scene: Agreed, ada: Account, monkeypatch: pytest.MonkeyPatch, signed: str, code: str
) -> None:
    """It was previewed under one that ended since; the only one in force is another, which nobody signed."""
    scene.agree(terms("falls", expires=1_600))
    query, preview = scene.query("n", 0.2, ""), scene.look(ada)
    assert preview.agreement == "falls"
    monkeypatch.setattr(RecentPlans, "question", None)
    scene.agree(terms("burns"))
    scene.now = 1_600
    authorization, signature = _signed(ada, preview.plan, "n", signed)
    request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
    with pytest.raises(Problem) as caught:
        asyncio.run(scene.admission.submit(ada.caller, request))
    assert (caught.value.code, scene.spent()) == (code, {})


def test_choosing_an_agreement_and_charging_it_is_one_transaction(
    scene: Agreed, ada: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it cannot be used up by others between the two."""
    scene.agree(terms(uses=1))
    transactions: list[str] = []
    transact = scene.database._transact

    def counting(function: Any, *arguments: Any) -> Any:
        transactions.append(function.__name__)
        return transact(function, *arguments)

    monkeypatch.setattr(scene.database, "_transact", counting)
    scene.ask(ada)
    _preview, *submitted = transactions
    assert len(submitted) == 1
    assert scene.uses(terms(uses=1)) == 1


def test_its_budget_is_a_limit_beside_the_others(scene: Agreed, ada: Account) -> None:
    """Dataset and organisation would hold both."""
    scene.agree(terms(epsilon=0.5))
    whole = scene.refused(ada, epsilon=0.6)
    assert (whole.code, whole.details["limit"]) == ("budget_exceeded", "agreement")
    scene.ask(ada, "n", 0.4)
    rest = scene.refused(ada, "m", 0.4)
    assert (rest.code, rest.details["limit"]) == ("budget_exceeded", "agreement")
    assert scene.ask(ada, "k", 0.99 * float(rest.details["remaining_epsilon"])).state == states.QUEUED


@pytest.mark.requirement("AGR-03")
@pytest.mark.parametrize(("now", "code"), [(999.9, "agreement_not_begun"), (2_000.0, "agreement_expired")])
def test_outside_its_term_nothing_is_previewed_or_asked(scene: Agreed, ada: Account, now: float, code: str) -> None:
    scene.agree(terms())
    scene.now = now
    for named in ("", "falls"):
        assert scene.refused(ada, agreement=named).code == code


def test_a_stored_answer_is_for_who_has_an_agreement_in_force_and_uses_nothing(scene: Agreed, ada: Account) -> None:
    bob = Account("bob", "college")
    scene.agree(terms(uses=1))
    first = scene.ask(ada)
    asyncio.run(scene.database.run(_release, first.job))
    again = scene.ask(bob)
    assert (again.state, again.replayed, scene.uses(terms(uses=1))) == (states.SUCCEEDED, True, 1)
    scene.now = EXPIRES
    assert scene.refused(Account("eve", "college")).code == "agreement_expired"


def _release(connection: Connection, job: str) -> None:
    records.store_release(connection, records.get(connection, job), Receipt(body=b"released"))


@pytest.mark.requirement("SEC-07")
def test_of_simultaneous_requests_on_the_last_use_exactly_one_is_queued(scene: Agreed, ada: Account) -> None:
    scene.agree(terms(uses=1))

    async def all_at_once() -> list[Job | BaseException]:
        asked = [scene.asking(ada, f"n{number}", 0.01) for number in range(40)]
        return await asyncio.gather(*asked, return_exceptions=True)

    ended = asyncio.run(all_at_once())
    queued = [one for one in ended if isinstance(one, Job)]
    refused = [one.code for one in ended if isinstance(one, Problem)]
    assert (len(queued), refused) == (1, ["agreement_used_up"] * 39)
    assert scene.runner.jobs == [queued[0].job]
    assert scene.spent()["agreement falls"] == queued[0].budget.spent_rho_units


def test_a_question_of_two_stages_takes_two_uses(scene: Agreed, ada: Account) -> None:
    """Each is a job. With one use left, the first would be paid for nothing."""
    scene.agree(terms(uses=1))
    query = Query(dataset="visits", sql="SELECT COUNT(*) FROM visits", epsilon=0.2, auto_bounds=True)
    preview = asyncio.run(scene.admission.preview(ada.caller, query))
    assert preview.outlook
    authorization, signature = _signed(ada, preview.plan, "n", "falls")
    request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
    with pytest.raises(Problem) as caught:
        asyncio.run(scene.admission.submit(ada.caller, request))
    assert caught.value.code == "agreement_used_up"
    assert scene.spent() == {}


class TestBatches:
    ASKED = BatchQuery(
        dataset="visits",
        sql=["SELECT COUNT(*) FROM visits", "SELECT COUNT(*) FROM visits WHERE pain > 3"],
        epsilon=0.2,
    )

    def submit(self, scene: Agreed, account: Account, signed: tuple[str, str]) -> list[Job]:
        preview = asyncio.run(scene.admission.preview_batch(account.caller, self.ASKED))
        assert preview.agreement == "falls"
        plans = [
            AuthorizedPlan(authorization=authorization, signature=signature)
            for authorization, signature in (
                _signed(account, plan, f"b/{number}", under)
                for number, (plan, under) in enumerate(zip(preview.plans, signed, strict=True), 1)
            )
        ]
        request = SubmitBatchRequest(batch=self.ASKED, plans=plans)
        return list(asyncio.run(scene.admission.submit_batch(account.caller, request)).jobs)

    def test_all_its_jobs_are_under_the_agreement_and_each_is_a_use(self, scene: Agreed, ada: Account) -> None:
        scene.agree(terms(uses=2))
        assert [job.agreement for job in self.submit(scene, ada, ("falls", "falls"))] == ["falls", "falls"]
        assert scene.uses(terms(uses=2)) == 2

    @pytest.mark.parametrize("grade", [1, 3])
    def test_too_few_uses_for_all_admit_none(self, scene: Agreed, ada: Account, grade: int) -> None:
        scene.register(declared(grade=grade))
        scene.agree(terms(uses=1))
        with pytest.raises(Problem) as caught:
            self.submit(scene, ada, ("falls", "falls"))
        assert caught.value.code == "agreement_used_up"
        assert (scene.spent(), scene.uses(terms(uses=1)), scene.runner.jobs) == ({}, 0, [])

    def test_one_plan_signed_for_another_agreement_admits_none(self, scene: Agreed, ada: Account) -> None:
        scene.agree(terms())
        with pytest.raises(Problem) as caught:
            self.submit(scene, ada, ("falls", "burns"))
        assert caught.value.code == "agreement_differs"
        assert scene.spent() == {}


class TestWhereAnOperatorDecides:
    @pytest.fixture
    def waiting(self, scene: Agreed, ada: Account) -> Job:
        scene.register(declared(grade=3))
        scene.agree(terms(uses=1))
        job = scene.ask(ada)
        assert (job.state, scene.spent()) == (states.WAITING, {})
        return job

    def test_an_approved_job_is_charged_to_its_agreement(self, scene: Agreed, waiting: Job) -> None:
        assert scene.approve(OPERATOR, waiting).state == states.QUEUED
        assert scene.uses(terms(uses=1)) == 1

    def test_of_two_that_wait_for_the_last_use_one_runs(self, scene: Agreed, ada: Account, waiting: Job) -> None:
        other = scene.ask(ada, "m")
        ended = [scene.approve(OPERATOR, job) for job in (waiting, other)]
        assert [job.state for job in ended] == [states.QUEUED, states.REFUSED]
        assert ended[1].failure.code == "agreement_used_up"

    def test_an_agreement_that_ends_meanwhile_refuses_it(self, scene: Agreed, waiting: Job) -> None:
        scene.now = EXPIRES
        job = scene.approve(OPERATOR, waiting)
        assert (job.state, job.failure.code, scene.spent()) == (states.REFUSED, "agreement_expired", {})

    def test_also_where_the_answer_is_there_already(self, scene: Agreed, waiting: Job) -> None:
        asyncio.run(scene.database.run(_release, waiting.job))
        scene.now = EXPIRES
        job = scene.approve(OPERATOR, waiting)
        assert (job.state, job.failure.code) == (states.REFUSED, "agreement_expired")


class Prompt(Runner):
    """Its nodes are there at once, and were asked for nothing if `computed` is empty."""

    computed: tuple[str, ...] = ()

    async def _all_connected(self, patience: float) -> KeyEpoch:
        return KeyEpoch()

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        self.computed += (record.job,)
        return Receipt(body=b"released")


@pytest.mark.requirement("AGR-03")
@pytest.mark.parametrize(("starts", "state"), [(EXPIRES - 0.1, states.SUCCEEDED), (float(EXPIRES), states.FAILED)])
def test_a_job_starts_while_its_agreement_is_in_force_or_gives_everything_back(
    scene: Agreed, ada: Account, tmp_path: Path, starts: float, state: states.State
) -> None:
    """It was queued in time, and may have waited for nodes, or for a gateway that was down."""
    scene.agree(terms(uses=1))
    queued = scene.ask(ada)
    runner = Prompt(scene.database, scene.nodes, Feed(), Vectors(tmp_path / "vectors"), wall_clock=lambda: starts)
    asyncio.run(runner._run(scene.record(queued), patience=1))
    record = scene.record(queued)
    assert record.state == state
    ran = state == states.SUCCEEDED
    assert (len(runner.computed), scene.uses(terms(uses=1)), bool(scene.spent())) == (ran, ran, ran)
    assert record.message.failure.code == ("" if ran else "agreement_expired")


def test_one_that_is_over_is_not_registered_but_stays_where_it_is(scene: Agreed) -> None:
    """Registered again after its end it is what it was: a script that adds all of them may be run again."""
    scene.agree(terms())
    scene.now = EXPIRES
    scene.agree(terms())
    with pytest.raises(Problem, match="it would allow nothing"):
        scene.agree(terms("another"))
    with pytest.raises(Problem, match="no agreement"):
        asyncio.run(scene.database.run(agreements.show, "another"))
