"""Standing approvals on a real database: what is asked under one needs no click, so often, until its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, insert, update
from yingbi.api import digests
from yingbi.api.templates import kind_of, template_of
from yingbi.api.v1.attestation_pb2 import KeyHolder
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import ConstantRange, Job, SignedApproval, StandingApproval, StandingRecord
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.api.v1.receipt_pb2 import Receipt

from enclave_sim.plan.sensitivity import total_rho_units
from gateway.governance.callers import Role
from gateway.jobs import records, states
from gateway.ledger import ledger
from gateway.storage import approvals
from gateway.storage.tables import jobs, organisations
from tests.gateway.jobs.agreed import ADA, HANNA, SUE, Governed, document
from tests.gateway.jobs.test_admission import DATASET, Account
from tests.gateway.jobs.test_deciding import refusal

BELOW = "SELECT COUNT(*) AS n FROM visits WHERE pain < {name}"
PAINS = ConstantRange(position=0, lower=Value(float64_value=1), upper=Value(float64_value=9))


class Standing(Governed):
    """Data of a grade that is approved, at two nodes, under an agreement."""

    def __init__(self, folder: Path, grade: int) -> None:
        super().__init__(folder)
        assert self.nodes.epoch is not None
        self.nodes.epoch.holders.append(KeyHolder(node="node-2", index=2))
        declaration = DatasetDeclaration()
        declaration.CopyFrom(DATASET.declaration)
        declaration.grade = grade
        self.register(replace(DATASET, declaration=declaration))
        self.agreement = self.agree(document())

    def below(self, pain: float, epsilon: float = 0.1) -> Job:
        """How many have less pain."""
        return self.ask(f"{pain:.2f}", BELOW, epsilon=epsilon)

    def terms(self, job: Job, *, jobs: int = 3, **changes: object) -> StandingApproval:
        plan = Plan.FromString(job.plan)
        named = {
            "template_hash": template_of(plan, [PAINS]),
            "kind": kind_of(plan),
            "ranges": [PAINS],
            "rho_units_a_job": total_rho_units(plan),
            "rho_units": jobs * total_rho_units(plan),
            "max_jobs": jobs,
            "dataset": "visits",
            "agreement": "falls",
            "asker_key": self.agreement.organisation_key,
            "organisation": "hospital",
            "operator_key": HANNA.caller.key,
            "expires": Timestamp(seconds=int(self.now) + 7200),
            **changes,
        }
        return StandingApproval(**named)  # type: ignore[arg-type]

    def give(self, job: Job, by: Account = HANNA, **changes: Any) -> Job:
        own = {"organisation": by.caller.organisation, "operator_key": by.caller.key}
        body = self.terms(job, **(own | changes)).SerializeToString(deterministic=True)
        signed = SignedApproval(standing=body, signature=digests.sign(by.key, digests.STANDING_APPROVAL, body))
        return asyncio.run(self.approvals.approve(by.caller, signed, job.job))

    def standing(self, by: Account = HANNA, *, all_: bool = False) -> list[StandingRecord]:
        return asyncio.run(self.approvals.standing(by.caller, all_=all_))

    def revoke(self, by: Account = HANNA) -> StandingRecord:
        (given,) = self.standing(HANNA)
        return asyncio.run(self.approvals.revoke(by.caller, given.standing, "enough"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Standing]:
    (tmp_path / "gateway").mkdir()
    scene = Standing(tmp_path / "gateway", 3)
    yield scene
    scene.database.close()


@pytest.fixture
def grave(tmp_path: Path) -> Iterator[Standing]:
    (tmp_path / "gateway").mkdir()
    scene = Standing(tmp_path / "gateway", 4)
    yield scene
    scene.database.close()


def test_what_follows_runs_by_itself_so_often_and_is_counted(scene: Standing) -> None:
    first = scene.below(5)
    assert first.state == states.WAITING
    assert scene.give(first, jobs=2).state == states.QUEUED
    second = scene.below(6)
    assert (second.state, scene.runner.jobs) == (states.QUEUED, [first.job, second.job])
    (signed,) = asyncio.run(scene.database.run(approvals.signed, second.job))
    assert signed.standing, "enclaves get the signature"
    assert scene.below(7).state == states.WAITING, "two there were"
    assert scene.standing() == []
    (given,) = scene.standing(all_=True)
    price = total_rho_units(Plan.FromString(first.plan))
    assert (given.jobs, given.rho_units, given.person, given.job) == (2, 2 * price, "hanna", first.job)


@pytest.mark.parametrize(("pain", "epsilon"), [(9.5, 0.1), (0.5, 0.1), (6, 0.2), (6, 0.05)])
def test_what_differs_waits(scene: Standing, pain: float, epsilon: float) -> None:
    scene.give(scene.below(5))
    assert scene.below(pain, epsilon).state == states.WAITING
    assert scene.ask("m").state == states.WAITING


def test_what_others_were_answered_is_not_charged_under_one(scene: Standing) -> None:
    """It is the answer, as where each approval is given by hand."""
    first = scene.below(5)
    scene.give(first)
    asyncio.run(scene.database.run(_answer_others, first.job))
    spent = scene.spent()
    again = scene.ask("5.00 ", BELOW)
    assert (again.state, again.replayed, again.receipt.body) == (states.SUCCEEDED, True, b"released")
    assert (scene.spent(), scene.runner.jobs) == (spent, [first.job])


def _answer_others(connection: Connection, job: str) -> None:
    """End the job as another organisation's."""
    ledger.spend(connection, job)
    records.move(connection, job, states.RUNNING)
    records.store_release(connection, records.get(connection, job), Receipt(body=b"released"))
    records.move(connection, job, states.SUCCEEDED)
    connection.execute(update(jobs).where(jobs.c.job == job).values(organisation="university"))


def test_after_its_end_everything_waits(scene: Standing) -> None:
    scene.give(scene.below(5))
    scene.now += 7200
    assert scene.below(6).state == states.WAITING


def test_revoked_it_admits_nothing_more_and_only_its_own_organisation_revokes_it(scene: Standing) -> None:
    scene.give(scene.below(5))
    assert refusal(lambda: scene.revoke(SUE)).code == "not_allowed"
    assert scene.revoke().HasField("revoked")
    assert scene.below(6).state == states.WAITING
    assert scene.standing() == []
    assert len(scene.standing(ADA, all_=True)) == 1, "who asks under it sees it"
    assert scene.standing(Account("eve", "elsewhere"), all_=True) == []


def test_it_ends_with_the_organisation_that_gave_it(scene: Standing) -> None:
    scene.give(scene.below(5))
    row = {"organisation": "hospital", "kind": "provider", "title": "", "key": HANNA.caller.key, "filed": 0.0}

    def leave(connection: Connection) -> None:
        connection.execute(insert(organisations).values(**row, left=scene.now))

    asyncio.run(scene.database.run(leave))
    assert scene.below(6).state == states.WAITING


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"organisation": "bureau"}, "other_organisation"),
        ({"operator_key": SUE.caller.key}, "bad_signature"),
        ({"asker_key": SUE.caller.key}, "other_agreement"),
        ({"agreement": "another"}, "other_agreement"),
        ({"dataset": "another"}, "other_dataset"),
        ({"expires": Timestamp(seconds=1)}, "expires"),
        ({"expires": Timestamp(seconds=2**40)}, "expires"),
        ({"template_hash": bytes(32)}, "other_template"),
        ({"rho_units_a_job": 1}, "other_price"),
        ({"rho_units": 1}, "other_price"),
        ({"max_jobs": 0}, "other_price"),
    ],
)
def test_what_does_not_cover_the_job_is_not_kept(scene: Standing, changes: dict[str, Any], code: str) -> None:
    job = scene.below(5)
    assert refusal(lambda: scene.give(job, **changes)).code == code
    assert scene.standing(all_=True) == []
    assert scene.record(job).state == states.WAITING


def test_a_limit_that_enclaves_do_not_know_is_not_kept(scene: Standing) -> None:
    """Each of them would refuse every job under it, after it was charged."""
    job = scene.below(5)
    # A field of a later release: number 200, 1.
    body = scene.terms(job).SerializeToString(deterministic=True) + b"\xc0\x0c\x01"
    signed = SignedApproval(standing=body, signature=digests.sign(HANNA.key, digests.STANDING_APPROVAL, body))
    assert refusal(lambda: asyncio.run(scene.approvals.approve(HANNA.caller, signed, job.job))).code == (
        "bad_standing_approval"
    )
    assert (scene.record(job).state, scene.spent()) == (states.WAITING, {})


def test_nobody_gives_one_for_their_own_organisation(scene: Standing) -> None:
    job = scene.below(5)
    own = Account("eva", "college", Role.PROVIDER)
    assert refusal(lambda: scene.give(job, own)).code == "own_request"
    assert scene.standing(all_=True) == []


def test_grade_4_takes_those_of_both_organisations(grave: Standing) -> None:
    first = grave.below(5)
    assert grave.give(first).state == states.WAITING
    assert grave.below(6).state == states.WAITING, "the supervisor gave none"
    assert grave.give(first, SUE).state == states.QUEUED
    assert grave.below(7).state == states.QUEUED
    assert sorted(each.jobs for each in grave.standing()) == [2, 2]


def test_one_that_is_revoked_while_the_other_is_waited_for_counts_no_more(grave: Standing) -> None:
    first = grave.below(5)
    grave.give(first)
    grave.revoke()
    assert grave.give(first, SUE).state == states.WAITING
    assert grave.spent() == {}
    # The provider may say yes again.
    assert grave.give(first, HANNA, jobs=4).state == states.QUEUED


def test_a_budget_that_is_used_up_refuses_as_for_any_job(scene: Standing) -> None:
    scene.give(scene.below(5, 0.7))
    later = scene.below(6, 0.7)
    assert (later.state, later.failure.code) == (states.REFUSED, "budget_exceeded")
    (given,) = scene.standing()
    assert given.jobs == 2, "what is refused stays counted"
