"""What an approver signs who says yes to more than one plan."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import credentials, digests
from yingbi.api.problem import Problem
from yingbi.api.templates import check_fits
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.agreement_pb2 import Agreement, RegisteredAgreement
from yingbi.api.v1.people_pb2 import Me, Organisation
from yingbi.api.v1.plan_pb2 import Comparison, Expression, Plan, Value
from yingbi.jobs import Job
from yingbi.standing import approve_by_file, approve_rounds, constants

from enclave_sim.plan.sensitivity import total_rho_units
from tests.clients.test_client_templates import ROUNDS, filtered, round_of

ASKER = bytes(range(32))


class Approving:
    """A gateway that keeps what it was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = Ed25519PrivateKey.generate()
        monkeypatch.setattr(credentials, "signing_key", lambda token: self.key)
        self.profile = SimpleNamespace(token="secret")
        self.signed: job_pb2.SignedApproval | None = None

    def get_agreement(self, name: str) -> RegisteredAgreement:
        found = RegisteredAgreement()
        found.signed.terms = Agreement(agreement=name, organisation_key=ASKER).SerializeToString()
        return found

    def who_am_i(self) -> Me:
        return Me(organisation=Organisation(organisation="hospital"))

    def approve_job(self, signed: job_pb2.SignedApproval, job: str) -> job_pb2.Job:
        self.signed = signed
        return job_pb2.Job(job=job)

    def waiting(self, plan: Plan, agreement: str = "falls") -> Job:
        message = job_pb2.Job(job="job-1", plan=plan.SerializeToString(), dataset="visits", agreement=agreement)
        return Job(message, cast(Any, self))

    def terms(self) -> job_pb2.StandingApproval:
        assert self.signed is not None
        public = self.key.public_key().public_bytes_raw()
        assert digests.is_signed(public, digests.STANDING_APPROVAL, self.signed.standing, self.signed.signature)
        return job_pb2.StandingApproval.FromString(self.signed.standing)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Approving:
    return Approving(monkeypatch)


def said(folder: Path, **document: object) -> Path:
    file = folder / "standing.json"
    file.write_text(json.dumps(document))
    return file


def test_the_rounds_of_a_training_cost_what_it_was_offered_for_and_no_more(gateway: Approving) -> None:
    approve_rounds(gateway.waiting(round_of(0)))
    terms, plans = gateway.terms(), [round_of(number) for number in range(ROUNDS)]
    assert (terms.max_jobs, terms.asker_key, terms.agreement, terms.organisation) == (
        ROUNDS,
        ASKER,
        "falls",
        "hospital",
    )
    for plan in plans:
        check_fits(terms, plan, rho_units=total_rho_units(plan))
    whole = sum(map(total_rho_units, plans))
    assert whole <= terms.rho_units < whole * 1.01


def test_a_file_says_ranges_of_constants(gateway: Approving, tmp_path: Path) -> None:
    job = gateway.waiting(filtered(40))
    assert constants(job) == ["40", "3.5"]
    approve_by_file(job, said(tmp_path, jobs=4, constants={"1": [1, 9], "0": [18, 90]}))
    terms = gateway.terms()
    assert [each.position for each in terms.ranges] == [0, 1]
    assert terms.rho_units == 4 * terms.rho_units_a_job == 4 * total_rho_units(filtered(40))
    check_fits(terms, filtered(20, "8.5"), rho_units=terms.rho_units_a_job)


@pytest.mark.parametrize("kind", ["date_days", "timestamp_micros"])
def test_dates_and_timestamps_are_written_as_iso_8601(gateway: Approving, tmp_path: Path, kind: str) -> None:
    day = 1 if kind == "date_days" else 86_400_000_000
    plan = filtered(40)
    own = Comparison(left=Expression(literal=Value(**{kind: 2 * day})))  # type: ignore[arg-type]
    plan.relation.selection.condition.CopyFrom(Expression(comparison=own))
    approve_by_file(gateway.waiting(plan), said(tmp_path, jobs=1, constants={"0": ["1970-01-02", "1970-01-11"]}))
    (found,) = gateway.terms().ranges
    assert (getattr(found.lower, kind), getattr(found.upper, kind)) == (day, 10 * day)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "standing"),
        ({"jobs": "x", "constants": {}}, "standing"),
        ({"jobs": 1, "constants": {"0": [1]}}, "standing"),
        ({"jobs": 0, "constants": {}}, "jobs"),
        ({"jobs": 1, "constants": {"2": [1, 2]}}, "constants"),
        ({"jobs": 1, "constants": {"-1": [1, 2]}}, "constants"),
        ({"jobs": 1, "constants": {"0": [50, 90]}}, "constants"),
        ({"jobs": 1, "constants": {"0": ["a", 90]}}, "constants"),
        ({"jobs": 1, "constants": {"0": [1, 10**30]}}, "constants"),
    ],
)
def test_what_cannot_be_one_is_not_signed(
    gateway: Approving, tmp_path: Path, document: dict[str, object], field: str
) -> None:
    with pytest.raises(Problem) as caught:
        approve_by_file(gateway.waiting(filtered(40)), said(tmp_path, **document))
    assert (caught.value.field, gateway.signed) == (field, None)


def test_only_plans_with_a_template_are_approved_so(gateway: Approving, tmp_path: Path) -> None:
    file = said(tmp_path, jobs=1, constants={})
    for job, approve in (
        (gateway.waiting(filtered(40)), approve_rounds),
        (gateway.waiting(round_of(0)), lambda job: approve_by_file(job, file)),
        (gateway.waiting(round_of(0), agreement=""), approve_rounds),
    ):
        with pytest.raises(Problem) as caught:
            approve(job)
        assert (caught.value.code, gateway.signed) == ("no_standing_approval", None)
