"""A batch is admitted and charged as a whole, on a real database, or leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import text_format
from sqlalchemy import Connection, update
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import (
    Authorization,
    AuthorizedPlan,
    BatchJobs,
    BatchPreview,
    BatchQuery,
    Job,
    Query,
    SubmitBatchRequest,
    SubmitQueryRequest,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import Receipt

from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import charge_of, total_rho_units
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import records, states
from gateway.jobs.admission import Admission
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import catalogue
from gateway.storage.database import Database
from gateway.storage.tables import jobs

DECLARATION = """
dataset: "clinic" zone: "medical" title { key: "en" value: "Clinic" } grade: GRADE source: "made up"
privacy_unit: "id" max_units: 30000 units_disjoint: true budget_epsilon: 1 budget_delta: 1e-7
tables {
  name: "visits" max_rows_per_unit: 12
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "pain" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 10 }
}
"""
QUESTIONS = (
    "SELECT COUNT(*) FROM visits",
    "SELECT COUNT(*) FROM visits WHERE pain > 3",
    "SELECT SUM(pain) FROM visits",
)
KEY = Ed25519PrivateKey.generate()
ADA = Caller("ada", Role.DEVELOPER, "", KEY.public_key().public_bytes_raw().hex(), "university")
Result = TypeVar("Result")


class MadeUpNodes:
    """Three nodes, all connected."""

    epoch = KeyEpoch(holders=[KeyHolder(node=f"node-{number}") for number in (1, 2, 3)])

    def check_connected(self) -> KeyEpoch:
        return self.epoch


class Gateway:
    """Admission on a database of its own, with the jobs that it started."""

    def __init__(self, folder: Path, grade: int = 2) -> None:
        self.declaration = text_format.Parse(DECLARATION.replace("GRADE", str(grade)), DatasetDeclaration())
        self.database = Database(folder / "gateway.db")
        self.started: list[JobRecord] = []
        self.admission = Admission(
            self.database,
            MadeUpNodes(),  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            auto_approve=False,
        )
        self.register(b"1" * 32)

    def start(self, record: JobRecord) -> None:
        self.started.append(record)

    def register(self, version: bytes) -> None:
        self.step(catalogue.register, RegisteredDataset(self.declaration, version, b""))

    def step(self, function: Callable[..., Result], *arguments: object) -> Result:
        return asyncio.run(self.database.run(function, *arguments))

    def spent(self) -> int:
        return self.step(ledger.budget, self.declaration).spent_rho_units

    def jobs(self) -> list[Job]:
        return self.step(records.page, None, 100, None)[0]

    def preview(self, *queries: str, epsilon: float = 0.5) -> BatchPreview:
        asked = BatchQuery(dataset="clinic", sql=queries, epsilon=epsilon)
        return asyncio.run(self.admission.preview_batch(ADA, asked))

    def request(self, *queries: str, epsilon: float = 0.5, name: str = "mine") -> SubmitBatchRequest:
        plans = self.preview(*queries, epsilon=epsilon).plans
        return SubmitBatchRequest(
            batch=BatchQuery(dataset="clinic", sql=queries, epsilon=epsilon),
            plans=[_authorized(plan, f"{name}/{number}") for number, plan in enumerate(plans, 1)],
        )

    def submit(self, request: SubmitBatchRequest) -> BatchJobs:
        return asyncio.run(self.admission.submit_batch(ADA, request))

    def ask(self, *queries: str, epsilon: float = 0.5, name: str = "mine") -> BatchJobs:
        return self.submit(self.request(*queries, epsilon=epsilon, name=name))

    def refused(self, request: SubmitBatchRequest) -> Problem:
        """Why; nothing is charged, recorded or started."""
        before = (self.spent(), self.jobs(), list(self.started))
        with pytest.raises(Problem) as caught:
            self.submit(request)
        assert (self.spent(), self.jobs(), self.started) == before
        return caught.value


def _authorized(plan: bytes, request_id: str) -> AuthorizedPlan:
    authorization = Authorization(
        plan_hash=plan_hash(plan),
        rho_units=total_rho_units(Plan.FromString(plan)),
        delta=1e-7,
        request_id=request_id,
        developer_key=ADA.key,
        batch=request_id.rpartition("/")[0],
    )
    body = authorization.SerializeToString(deterministic=True)
    return AuthorizedPlan(authorization=authorization, signature=digests.sign(KEY, digests.AUTHORIZATION, body))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.database.close()


def test_all_plans_are_charged_queued_and_started(gateway: Gateway) -> None:
    jobs = gateway.ask(*QUESTIONS).jobs
    assert [job.state for job in jobs] == [states.QUEUED, states.QUEUED]
    assert [record.job for record in gateway.started] == [job.job for job in jobs]
    assert gateway.spent() == sum(total_rho_units(Plan.FromString(job.plan)) for job in jobs)
    assert 0.999 * zcdp.bought(0.5, 1e-7)[0] < gateway.spent() <= zcdp.bought(0.5, 1e-7)[0]


def test_a_job_shows_the_questions_that_it_is_for(gateway: Gateway) -> None:
    jobs = gateway.ask(QUESTIONS[0], QUESTIONS[1], f"{QUESTIONS[2]};").jobs
    assert [job.sql for job in jobs] == [f"{QUESTIONS[0]};\n{QUESTIONS[2]}", QUESTIONS[1]]


def test_a_job_says_which_batch_it_is_of(gateway: Gateway) -> None:
    assert {job.batch for job in gateway.ask(*QUESTIONS).jobs} == {"mine"}


def test_what_does_not_fit_is_not_charged_in_part(gateway: Gateway) -> None:
    """The first plan alone would fit."""
    gateway.ask(*QUESTIONS, epsilon=0.8, name="first")
    request = gateway.request(*QUESTIONS, epsilon=0.7, name="second")
    left = zcdp.bought(1.0, 1e-7)[0] - gateway.spent()
    assert total_rho_units(Plan.FromString(gateway.preview(*QUESTIONS, epsilon=0.7).plans[0])) < left
    problem = gateway.refused(request)
    assert (problem.kind, problem.code) == (Kind.BUDGET, "budget_exceeded")
    assert float(problem.details["remaining_epsilon"]) == pytest.approx(zcdp.asked_epsilon(left, 1e-7), rel=1e-4)


def test_the_whole_budget_can_be_spent_on_one_batch(gateway: Gateway) -> None:
    assert len(gateway.ask(*QUESTIONS, epsilon=1.0).jobs) == 2


def test_the_same_request_is_the_same_jobs_and_one_charge(gateway: Gateway) -> None:
    request = gateway.request(*QUESTIONS)
    first = gateway.submit(request)
    spent = gateway.spent()
    assert [job.job for job in gateway.submit(request).jobs] == [job.job for job in first.jobs]
    assert (gateway.spent(), len(gateway.started)) == (spent, 2)


def test_the_same_request_sent_twice_at_once_is_the_same_jobs_and_one_charge(gateway: Gateway) -> None:
    request = gateway.request(*QUESTIONS)

    async def twice() -> list[BatchJobs]:
        return list(await asyncio.gather(*(gateway.admission.submit_batch(ADA, request) for _ in range(2))))

    first, second = asyncio.run(twice())
    assert [job.job for job in first.jobs] == [job.job for job in second.jobs]
    assert len(gateway.jobs()) == len(gateway.started) == len(first.jobs)


def test_one_request_id_is_not_for_two_batches(gateway: Gateway) -> None:
    gateway.ask(*QUESTIONS, epsilon=0.1)
    assert gateway.refused(gateway.request(*QUESTIONS[:2], epsilon=0.1)).code == "request_id_reused"
    assert gateway.refused(gateway.request(*QUESTIONS, epsilon=0.2)).code == "request_id_reused"


def test_nor_for_a_batch_and_a_question_alone(gateway: Gateway) -> None:
    query = Query(dataset="clinic", sql=QUESTIONS[0], epsilon=0.1)
    preview = asyncio.run(gateway.admission.preview(ADA, query))
    alone = _authorized(preview.plan, "mine/1")
    request = SubmitQueryRequest(query=query, authorization=alone.authorization, signature=alone.signature)
    asyncio.run(gateway.admission.submit(ADA, request))
    assert gateway.refused(gateway.request(*QUESTIONS, epsilon=0.1)).code == "request_id_reused"


@pytest.mark.parametrize("taken", [1, 2])
def test_nor_where_a_question_alone_has_the_id_of_one_of_its_plans(gateway: Gateway, taken: int) -> None:
    asked = gateway.ask(QUESTIONS[0], name="other")
    gateway.step(_rename, asked.jobs[0].job, f"mine/{taken}")
    assert gateway.refused(gateway.request(*QUESTIONS)).code == "request_id_reused"


def _rename(connection: Connection, job: str, request_id: str) -> None:
    connection.execute(update(jobs).where(jobs.c.job == job).values(request_id=request_id))


def test_a_plan_that_was_released_before_is_replayed_and_costs_nothing(gateway: Gateway) -> None:
    first = gateway.ask(*QUESTIONS, name="first")
    gateway.step(_release, first.jobs[0].job)
    spent = gateway.spent()
    again = gateway.ask(*QUESTIONS, name="second").jobs
    assert [(job.state, job.replayed) for job in again] == [(states.SUCCEEDED, True), (states.QUEUED, False)]
    assert gateway.spent() - spent == total_rho_units(Plan.FromString(again[1].plan))
    assert [record.job for record in gateway.started[2:]] == [again[1].job]


def _release(connection: Connection, job: str) -> None:
    records.store_release(connection, records.get(connection, job), Receipt(body=b"released"))


class TestWhereAnOperatorDecides:
    @pytest.fixture
    def gateway(self, tmp_path: Path) -> Iterator[Gateway]:
        gateway = Gateway(tmp_path, grade=3)
        yield gateway
        gateway.database.close()

    def test_all_plans_wait_and_nothing_is_reserved(self, gateway: Gateway) -> None:
        assert gateway.preview(*QUESTIONS).state == states.WAITING
        assert [job.state for job in gateway.ask(*QUESTIONS).jobs] == [states.WAITING, states.WAITING]
        assert (gateway.spent(), gateway.started) == (0, [])

    def test_what_could_not_be_paid_does_not_wait(self, gateway: Gateway) -> None:
        request = gateway.request(*QUESTIONS, epsilon=0.9)
        gateway.step(_spend, gateway.declaration, gateway.ask(QUESTIONS[0], name="other").jobs[0].job)
        assert gateway.refused(request).code == "budget_exceeded"


def _spend(connection: Connection, declaration: DatasetDeclaration, job: str) -> None:
    plan = Plan.FromString(records.get(connection, job).plan)
    assert ledger.reserve(connection, job, declaration, ADA.organisation, charge_of(plan), now=0.0)


class TestWhatIsNotAuthorized:
    def test_a_plan_too_few(self, gateway: Gateway) -> None:
        request = gateway.request(*QUESTIONS)
        del request.plans[1]
        assert gateway.refused(request).code == "plan_changed"

    def test_plans_of_an_older_version(self, gateway: Gateway) -> None:
        request = gateway.request(*QUESTIONS)
        gateway.register(b"2" * 32)
        assert gateway.refused(request).code == "plan_changed"

    def test_the_second_plan_by_somebody_else(self, gateway: Gateway) -> None:
        request = gateway.request(*QUESTIONS)
        request.plans[1].signature = Ed25519PrivateKey.generate().sign(b"")
        assert gateway.refused(request).code == "bad_signature"

    @pytest.mark.parametrize("ids", [["a/1", "b/2"], ["a/2", "a/1"], ["/1", "/2"], ["a", "a"], ["a/1", "a/1"], []])
    def test_request_ids_that_are_not_one_batchs(self, gateway: Gateway, ids: list[str]) -> None:
        plans = gateway.preview(*QUESTIONS).plans
        request = SubmitBatchRequest(
            batch=BatchQuery(dataset="clinic", sql=QUESTIONS, epsilon=0.5),
            plans=[_authorized(plan, name) for plan, name in zip(plans, ids, strict=False)],
        )
        assert gateway.refused(request).code == "request_id"

    def test_more_than_the_whole_budget_is_refused_at_the_preview(self, gateway: Gateway) -> None:
        with pytest.raises(Problem) as caught:
            gateway.preview(*QUESTIONS, epsilon=2.0)
        assert caught.value.code == "budget_exceeded"
