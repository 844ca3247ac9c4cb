"""A gateway that invents requests and approvals: design section 3, "Authority is checked inside"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.v1.job_pb2 import Authorization, SignedApproval, SignedAuthorization
from yingbi.api.v1.node_pb2 import ContributeTask
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from tests.attacks.three_enclaves import (
    PROVIDER,
    SUPERVISOR,
    Trio,
    approval_of,
    approval_signed,
    approved,
    authorized,
    public,
    refusal,
    visits_declaration,
    visits_of,
)

STRANGER = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def shared(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """With a dataset of each grade that is guarded; for tests in which nothing is computed."""
    copied = trio_template.copy(tmp_path_factory.mktemp("authority"))
    for grade in (3, 4):
        copied.add(visits_declaration(f"grade{grade}", grade=grade), [visits_of(node) for node in range(3)])
    yield copied
    copied.close()


@pytest.fixture
def guarded(shared: Trio, tmp_path: Path) -> Iterator[Trio]:
    """A copy of it in which jobs may run."""
    copied = shared.copy(tmp_path / "guarded")
    yield copied
    copied.close()


def _refused_by_all(trio: Trio, job: str, task: ContributeTask) -> set[str]:
    before = [enclave.journal.records.copy() for enclave in trio.enclaves]
    codes = {refusal(jobs.contribute, enclave, job, task, never) for enclave in trio.enclaves}
    assert [enclave.journal.records for enclave in trio.enclaves] == before
    return codes


Forge = Callable[[Trio, Plan, Authorization], SignedAuthorization]


def _changed(**fields: object) -> Forge:
    """The developer signed this; it is not what the task computes."""

    def forge(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
        for name, value in fields.items():
            if isinstance(value, Timestamp):
                body.expires.CopyFrom(value)
            else:
                setattr(body, name, value)
        return authorized(body, trio.developer)

    return forge


def _unsigned(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
    return SignedAuthorization(body=body.SerializeToString(deterministic=True))


def _by_a_stranger(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
    body.developer_key = public(STRANGER)
    return authorized(body, STRANGER)


def _in_the_developers_name(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
    return authorized(body, STRANGER)


def _altered_after_signing(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
    signature = authorized(body, trio.developer).signature
    body.request_id = "another"
    return SignedAuthorization(body=body.SerializeToString(deterministic=True), signature=signature)


def _signed_as_an_approval(trio: Trio, _: Plan, body: Authorization) -> SignedAuthorization:
    data = body.SerializeToString(deterministic=True)
    return SignedAuthorization(body=data, signature=digests.sign(trio.developer, digests.APPROVAL, data))


FORGERIES: dict[str, tuple[Forge, str]] = {
    "nothing at all": (lambda *_: SignedAuthorization(), "unknown_developer"),
    "not signed": (_unsigned, "bad_signature"),
    "by a stranger": (_by_a_stranger, "unknown_developer"),
    "in the developer's name": (_in_the_developers_name, "bad_signature"),
    "altered after signing": (_altered_after_signing, "bad_signature"),
    "signed for another purpose": (_signed_as_an_approval, "bad_signature"),
    "for another plan": (_changed(plan_hash=bytes(32)), "other_plan"),
    "for a smaller ρ": (_changed(rho_units=1), "other_price"),
    "for a larger ρ": (_changed(rho_units=10**15), "other_price"),
    "for another δ": (_changed(delta=1e-6), "other_price"),
    "for no number as δ": (_changed(delta=float("nan")), "other_price"),
    "expired": (_changed(expires=Timestamp(seconds=1)), "expired"),
    "without an expiry": (_changed(expires=Timestamp()), "expired"),
    "without a request id": (_changed(request_id=""), "bad_request_id"),
    "with an endless request id": (_changed(request_id="x" * 100_000), "bad_request_id"),
}


@pytest.mark.requirement("ROL-03")
@pytest.mark.parametrize("name", FORGERIES)
def test_nothing_is_computed_that_the_developer_did_not_sign(shared: Trio, name: str) -> None:
    """The enclave verifies the developer's signature over plan hash, ρ, δ, request id and expiry."""
    forge, code = FORGERIES[name]
    plan = shared.plan()
    task = shared.task(plan)
    task.authorization.CopyFrom(forge(shared, plan, shared.authorization(plan, "request-1")))
    assert _refused_by_all(shared, "job-1", task) == {code}


def test_the_same_task_honestly_signed_is_computed(guarded: Trio) -> None:
    """So the refusals above are for the forgery and nothing else."""
    guarded.run("job-1", guarded.task(guarded.plan()))


def test_one_authorization_is_good_for_one_job(guarded: Trio) -> None:
    """A gateway cannot run a signed request a second time to have its noise drawn again."""
    plan = guarded.plan()
    task = guarded.task(plan, request_id="once")
    guarded.contribute("job-1", task)
    assert _refused_by_all(guarded, "job-2", task) == {"request_reused"}
    # Nor does a fresh signature with a later expiry help: the request id is what counts.
    later = guarded.authorization(plan, "once")
    later.expires.seconds += 3600
    task.authorization.CopyFrom(authorized(later, guarded.developer))
    assert _refused_by_all(guarded, "job-3", task) == {"request_reused"}
    guarded.load()
    assert _refused_by_all(guarded, "job-2", task) == {"request_reused"}


def _of_batch(guarded: Trio, plan: Plan, request_id: str, batch: str, digest: bytes) -> ContributeTask:
    """What a developer signs for one plan of a batch."""
    task, authorization = guarded.task(plan), guarded.authorization(plan, request_id)
    authorization.batch, authorization.batch_digest = batch, digest
    task.authorization.CopyFrom(authorized(authorization, guarded.developer))
    return task


def test_of_two_sets_of_plans_signed_for_one_batch_no_mixture_runs(guarded: Trio) -> None:
    """A gateway says that the dataset changed, has a second set signed, and runs the dear plans of both."""
    first, second = guarded.plan(epsilon=0.5), guarded.plan(epsilon=0.6)
    guarded.contribute("job-1", _of_batch(guarded, first, "mine/1", "mine", b"A" * 32))
    mixture = _of_batch(guarded, second, "mine/2", "mine", b"B" * 32)
    assert _refused_by_all(guarded, "job-2", mixture) == {"request_reused"}
    guarded.load()
    assert _refused_by_all(guarded, "job-2", mixture) == {"request_reused"}
    guarded.contribute("job-3", _of_batch(guarded, second, "mine/2", "mine", b"A" * 32))
    guarded.contribute("job-4", _of_batch(guarded, second, "other/1", "other", b"B" * 32))


def test_a_job_id_is_good_for_one_plan(guarded: Trio) -> None:
    """Otherwise two plans could share one charge."""
    guarded.contribute("job-1", guarded.task(guarded.plan()))
    other = guarded.plan("SELECT COUNT(*) FROM visits")
    assert _refused_by_all(guarded, "job-1", guarded.task(other, request_id="request-2")) == {"other_plan"}


Approve = Callable[[Trio, Plan], SignedApproval]


def _unsigned_approval(_: Trio, plan: Plan) -> SignedApproval:
    return SignedApproval(body=approved("job-1", plan, PROVIDER).body)


def _approval_in_the_providers_name(_: Trio, plan: Plan) -> SignedApproval:
    body = approved("job-1", plan, PROVIDER).body
    return SignedApproval(body=body, signature=digests.sign(STRANGER, digests.APPROVAL, body))


def _approved_but(**fields: object) -> Approve:
    """The provider approved this, of this very job and plan."""

    def approve(_: Trio, plan: Plan) -> SignedApproval:
        body = approval_of("job-1", plan, PROVIDER)
        for name, value in fields.items():
            if isinstance(value, Timestamp):
                body.expires.CopyFrom(value)
            else:
                setattr(body, name, value)
        return approval_signed(body, PROVIDER)

    return approve


def _approved_for_less(_: Trio, plan: Plan) -> SignedApproval:
    body = approval_of("job-1", plan, PROVIDER)
    body.rho_units -= 1
    return approval_signed(body, PROVIDER)


APPROVALS: dict[str, tuple[Approve, str]] = {
    "missing": (lambda *_: SignedApproval(), "not_approved"),
    "not signed": (_unsigned_approval, "bad_signature"),
    "of another job": (lambda _, plan: approved("job-2", plan, PROVIDER), "other_plan"),
    "of another plan": (
        lambda trio, _: approved("job-1", trio.plan("SELECT COUNT(*) FROM visits"), PROVIDER),
        "other_plan",
    ),
    "at a smaller ρ": (_approved_for_less, "other_price"),
    "at no δ": (_approved_but(delta=0.0), "other_price"),
    "at no number as δ": (_approved_but(delta=float("nan")), "other_price"),
    "until a time that is over": (_approved_but(expires=Timestamp(seconds=1)), "approval_expired"),
    "by a stranger": (lambda _, plan: approved("job-1", plan, STRANGER), "not_approved"),
    "by the developer": (lambda trio, plan: approved("job-1", plan, trio.developer), "not_approved"),
    "by the operator": (lambda trio, plan: approved("job-1", plan, trio.operator), "not_approved"),
    "by the supervisor": (lambda _, plan: approved("job-1", plan, SUPERVISOR), "not_approved"),
    "in the provider's name": (_approval_in_the_providers_name, "bad_signature"),
}


@pytest.mark.requirement("GRD-06")
@pytest.mark.parametrize("name", APPROVALS)
def test_data_of_grade_3_is_computed_on_only_with_its_providers_approval(shared: Trio, name: str) -> None:
    """Of exactly this job and this plan, at this price, while the approval lasts."""
    approve, code = APPROVALS[name]
    plan = shared.plan(dataset="grade3")
    task = shared.task(plan)
    task.approval.CopyFrom(approve(shared, plan))
    assert _refused_by_all(shared, "job-1", task) == {code}
    many = shared.task(plan)
    many.approvals.append(task.approval)
    assert _refused_by_all(shared, "job-1", many) == {code}


def test_data_of_grade_3_is_computed_on_with_an_approval(guarded: Trio) -> None:
    """So the refusals above are for the approval and nothing else."""
    plan = guarded.plan(dataset="grade3")
    task = guarded.task(plan)
    task.approval.CopyFrom(approved("job-1", plan, PROVIDER))
    guarded.run("job-1", task)


@pytest.mark.requirement("GRD-04")
@pytest.mark.parametrize("auto_approve", [False, True])
def test_data_of_grade_4_is_computed_on_only_with_two_organisations_approvals(
    guarded: Trio, *, auto_approve: bool
) -> None:
    """The provider's and the supervisor's, each of this job and plan; no waiver holds for it."""
    guarded.set_policy(auto_approve=auto_approve)
    guarded.load()
    plan = guarded.plan(dataset="grade4")
    provider, supervisor = approved("job-1", plan, PROVIDER), approved("job-1", plan, SUPERVISOR)
    short: dict[str, list[SignedApproval]] = {
        "not_approved": [provider, provider],
        "other_plan": [provider, approved("job-2", plan, SUPERVISOR)],
    }
    for code, approvals in {**short, "not_approved ": [supervisor], "not_approved  ": []}.items():
        task = guarded.task(plan)
        task.approvals.extend(approvals)
        assert _refused_by_all(guarded, "job-1", task) == {code.strip()}
    task = guarded.task(plan)
    task.approvals.extend([supervisor, provider])
    guarded.run("job-1", task)


def test_a_waiver_of_approvals_waives_grade_3_and_nothing_else(guarded: Trio) -> None:
    """`auto_approve` does not open the way for a request that no developer signed."""
    guarded.set_policy(auto_approve=True)
    guarded.load()
    task = guarded.task(guarded.plan(dataset="grade3"))
    unsigned = guarded.task(guarded.plan(dataset="grade3"))
    unsigned.authorization.ClearField("signature")
    assert _refused_by_all(guarded, "job-1", unsigned) == {"bad_signature"}
    guarded.run("job-1", task)
