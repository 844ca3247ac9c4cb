"""Standing approvals that are stretched: for other data, a higher price, less noise, somebody else, later, once more.

Each enclave judges by its own journal, whatever the gateway sends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.templates import kind_of, template_of
from yingbi.api.v1.job_pb2 import ConstantRange, SignedApproval, StandingApproval, TrainQuery
from yingbi.api.v1.node_pb2 import ContributeTask
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound, Value

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from enclave_sim.plan.releases import releases, unknown_shares
from enclave_sim.plan.sensitivity import slot_bits_needed, total_rho_units
from gateway.planning.training import plan_training
from tests.attacks.agreed_requests import clock_at, person
from tests.attacks.three_enclaves import (
    DELTA,
    PROVIDER,
    SUPERVISOR,
    Trio,
    agreed,
    agreement_about,
    approved,
    public,
    refusal,
    visits_declaration,
    visits_of,
)

ROUNDS = 6
NOW = int(time.time())
STRANGER = Ed25519PrivateKey.generate()
AGES = ConstantRange(position=0, lower=Value(int64_value=18), upper=Value(int64_value=90))


@pytest.fixture(scope="module")
def shared(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """With datasets of the grades that are approved."""
    copied = trio_template.copy(tmp_path_factory.mktemp("standing"))
    for dataset, grade in (("grade3", 3), ("other3", 3), ("grade4", 4)):
        copied.add(visits_declaration(dataset, grade=grade), [visits_of(node) for node in range(3)])
    copied.close()
    return copied


@pytest.fixture
def trio(shared: Trio, tmp_path: Path) -> Iterator[Trio]:
    copied = shared.copy(tmp_path / "trio")
    yield copied
    copied.close()


def older_than(trio: Trio, age: int, *, dataset: str = "grade3", epsilon: float = 1.0) -> Plan:
    return trio.plan(f"SELECT COUNT(*) AS n FROM visits WHERE age > {age}", dataset=dataset, epsilon=epsilon)


def round_of(trio: Trio, number: int, *, residual: float = 1.0, shift: float = 0.1, epsilon: float = 5.0) -> Plan:
    own = TrainingRound(number=number, rounds=ROUNDS)
    if number == 1:
        own.centres[:], own.scales[:] = [shift], [0.5]
    if number > 1:
        own.transform[:], own.parameters[:], own.max_residual = [1, 0, shift, 2], [shift, -shift], residual
    return plan_training(
        TrainQuery(model=Fit.MODEL_LOGISTIC_REGRESSION, formula="night ~ age", round=own),
        trio.declaration("grade3"),
        dataset_version=trio.version("grade3"),
        parties=3,
        epsilon=epsilon,
        delta=DELTA,
    ).plan


def terms(trio: Trio, plan: Plan, *, jobs: int = 3, **changes: object) -> StandingApproval:
    """Of the plan's template, at what it costs, by the provider; with changes."""
    kind = kind_of(plan)
    ranges = [AGES] if kind == StandingApproval.KIND_CONSTANTS else []
    named = {
        "template_hash": template_of(plan, ranges),
        "kind": kind,
        "ranges": ranges,
        "rho_units_a_job": total_rho_units(plan),
        "rho_units": jobs * total_rho_units(plan),
        "max_jobs": jobs,
        "dataset": plan.dataset,
        "agreement": agreement_about(plan.dataset),
        "asker_key": public(trio.developer),
        "operator_key": public(PROVIDER),
        "expires": Timestamp(seconds=NOW + 7200),
        **changes,
    }
    return StandingApproval(**named)  # type: ignore[arg-type]


def signed(
    given: StandingApproval, key: Ed25519PrivateKey = PROVIDER, domain: str = digests.STANDING_APPROVAL
) -> SignedApproval:
    body = given.SerializeToString(deterministic=True)
    return SignedApproval(standing=body, signature=digests.sign(key, domain, body))


def task(trio: Trio, plan: Plan, *approvals: SignedApproval, request: str = "request-1") -> ContributeTask:
    asked = trio.task(plan, request_id=request)
    asked.approvals.extend(approvals)
    return asked


def refused(trio: Trio, job: str, asked: ContributeTask) -> str:
    """Why the first enclave refuses it; it has charged nothing."""
    before = trio.records("charge")
    code = refusal(jobs.contribute, trio.enclaves[0], job, asked, never)
    assert trio.records("charge") == before
    return code


def test_queries_within_the_ranges_run_so_often_and_no_more(trio: Trio) -> None:
    by = signed(terms(trio, older_than(trio, 40), jobs=2))
    for number, age in enumerate((40, 41)):
        trio.contribute(f"job-{number}", task(trio, older_than(trio, age), by, request=f"request-{number}"))
    # Asked for again, it is the same job and no further use.
    trio.contribute("job-1", task(trio, older_than(trio, 41), by, request="request-1"))
    third = task(trio, older_than(trio, 42), by, request="request-2")
    assert refused(trio, "job-2", third) == "standing_used_up"
    # Enclaves that were stopped and started count the same.
    trio.load()
    assert refused(trio, "job-2", third) == "standing_used_up"
    # An approval of this very job counts beside it.
    by_itself = approved("job-2", older_than(trio, 42), PROVIDER)
    trio.contribute("job-2", task(trio, older_than(trio, 42), by, by_itself, request="request-2"))


def test_prices_are_added_up(trio: Trio) -> None:
    plan = older_than(trio, 40)
    by = signed(terms(trio, plan, jobs=9, rho_units=2 * total_rho_units(plan) - 1))
    trio.contribute("job-0", task(trio, plan, by))
    assert refused(trio, "job-1", task(trio, plan, by, request="request-2")) == "standing_used_up"


Stretch = Callable[[Trio], tuple[Plan, SignedApproval]]


def _of(plan: Callable[[Trio], Plan], **changes: Any) -> Stretch:
    """Another plan, under an approval of the query for those older than 40; or changes to that."""
    return lambda trio: (plan(trio), signed(terms(trio, older_than(trio, 40), **changes)))


def _forged(key: Ed25519PrivateKey, domain: str = digests.STANDING_APPROVAL, **changes: Any) -> Stretch:
    return lambda trio: (older_than(trio, 40), signed(terms(trio, older_than(trio, 40), **changes), key, domain))


def _less_noise(trio: Trio) -> Plan:
    """Dearer, and said to be."""
    plan = older_than(trio, 40)
    plan.statistics[0].sigma -= 1
    (release,) = releases(plan)
    plan.statistics[0].rho_units = release.rho_units(plan.statistics[0].sigma, unknown_shares(plan))
    plan.epsilon = 2.0
    return plan


def _more_rows(trio: Trio) -> Plan:
    """Clipped later, with the noise for that."""
    plan = older_than(trio, 40)
    plan.clipping.max_rows += 1
    plan.statistics[0].sigma *= 2
    (release,) = releases(plan)
    plan.statistics[0].rho_units = release.rho_units(plan.statistics[0].sigma, unknown_shares(plan))
    plan.slot_bits = slot_bits_needed(plan, max_units=60)
    return plan


HONEST: Callable[[Trio], Plan] = lambda trio: older_than(trio, 40)  # noqa: E731
STRETCHES: dict[str, tuple[Stretch, str]] = {
    "below the range": (_of(lambda trio: older_than(trio, 17)), "out_of_range"),
    "above the range": (_of(lambda trio: older_than(trio, 91)), "out_of_range"),
    "another dataset": (_of(lambda trio: older_than(trio, 40, dataset="other3")), "other_agreement"),
    "another dataset, said to be": (
        _of(lambda trio: older_than(trio, 40, dataset="other3"), agreement=agreement_about("other3")),
        "other_dataset",
    ),
    "a higher price": (_of(lambda trio: older_than(trio, 40, epsilon=1.5)), "other_price"),
    "a lower price, and so another ε": (_of(lambda trio: older_than(trio, 40, epsilon=0.5)), "other_template"),
    "less noise": (_of(_less_noise), "other_price"),
    "less noise, within the price": (_of(_less_noise, rho_units_a_job=2**50, rho_units=2**50), "other_template"),
    "another clipping bound": (_of(_more_rows), "other_template"),
    "another query": (
        _of(lambda trio: trio.plan("SELECT AVG(pain) AS n FROM visits", dataset="grade3")),
        "other_template",
    ),
    "a model": (_of(lambda trio: round_of(trio, 0, epsilon=0.5)), "other_template"),
    "expired": (_of(HONEST, expires=Timestamp(seconds=NOW - 1)), "approval_expired"),
    "without an end": (_of(HONEST, expires=Timestamp()), "approval_expired"),
    "for nothing": (_of(HONEST, jobs=0), "standing_used_up"),
    "another organisation asks": (_of(HONEST, asker_key=public(STRANGER)), "other_asker"),
    "another agreement": (_of(HONEST, agreement="another"), "other_agreement"),
    "by a stranger": (_forged(STRANGER, operator_key=public(STRANGER)), "not_approved"),
    "in the provider's name": (_forged(STRANGER), "bad_signature"),
    "by the supervisor alone": (_forged(SUPERVISOR, operator_key=public(SUPERVISOR)), "not_approved"),
    "signed as something else": (_forged(PROVIDER, digests.APPROVAL), "bad_signature"),
}


@pytest.mark.parametrize("name", STRETCHES)
def test_a_standing_approval_is_not_stretched(trio: Trio, name: str) -> None:
    stretch, code = STRETCHES[name]
    plan, by = stretch(trio)
    assert refused(trio, "job-1", task(trio, plan, by)) == code


def test_one_counts_no_longer_than_the_certificate_of_who_gave_it(trio: Trio) -> None:
    """So nobody whose certificate has ended gives one of an earlier date."""
    giver = person(PROVIDER, "approver", until=NOW + 3600)
    plan = older_than(trio, 40)
    by = signed(terms(trio, plan, operator_key=public(giver.key)), giver.key)
    by.MergeFrom(SignedApproval(certificate=giver.certificate))
    with clock_at(NOW + 3600):
        assert refused(trio, "job-1", task(trio, plan, by)) == "certificate_expired"
    with clock_at(NOW + 3599):
        jobs.contribute(trio.enclaves[0], "job-1", task(trio, plan, by), never)


def test_a_limit_that_an_enclave_does_not_know_is_not_passed_over(trio: Trio) -> None:
    body = terms(trio, older_than(trio, 40)).SerializeToString(deterministic=True) + bytes([15 << 3, 1])
    by = SignedApproval(standing=body, signature=digests.sign(PROVIDER, digests.STANDING_APPROVAL, body))
    assert refused(trio, "job-1", task(trio, older_than(trio, 40), by)) == "bad_standing_approval"


def test_one_for_another_provider_counts_nowhere_else(trio: Trio) -> None:
    """Replayed at a node whose policy names another provider: its agreement there is another one too."""
    by = signed(terms(trio, older_than(trio, 40)))
    other = Ed25519PrivateKey.generate()
    policy = replace(trio.enclaves[0].policy, providers=frozenset({public(other)}))
    enclave = replace(trio.enclaves[0], policy=policy)
    asked = task(trio, older_than(trio, 40), by)
    said = trio.agreement("grade3")
    said.provider_key = public(other)
    asked.agreement.CopyFrom(agreed(said, trio.developer, other))
    assert refusal(jobs.contribute, enclave, "job-1", asked, never) == "not_approved"


def test_a_training_runs_by_one_approval_and_a_phase_keeps_its_clipping_bound(trio: Trio) -> None:
    plans = [round_of(trio, number, shift=number / 7) for number in range(ROUNDS)]
    price = sum(map(total_rho_units, plans))
    most = max(map(total_rho_units, plans)) * 101 // 100
    given = terms(trio, plans[0], jobs=ROUNDS, rho_units_a_job=most, rho_units=price)
    by = signed(given)
    for number, plan in enumerate(plans[:4]):
        trio.contribute(f"job-{number}", task(trio, plan, by, request=f"request-{number}"))
    # Of the same price, with more noise and a vector that is cut later.
    longer = task(trio, round_of(trio, 4, residual=2.0), by, request="request-4")
    assert refused(trio, "job-4", longer) == "other_template"
    for number, plan in enumerate(plans[4:], 4):
        trio.contribute(f"job-{number}", task(trio, plan, by, request=f"request-{number}"))
    assert refused(trio, "job-9", task(trio, plans[2], by, request="request-9")) == "standing_used_up"


def test_data_of_grade_4_takes_the_standing_approvals_of_both(trio: Trio) -> None:
    plan = older_than(trio, 40, dataset="grade4")
    provider = signed(terms(trio, plan))
    supervisor = signed(terms(trio, plan, operator_key=public(SUPERVISOR)), SUPERVISOR)
    assert refused(trio, "job-1", task(trio, plan, provider)) == "not_approved"
    assert refused(trio, "job-1", task(trio, plan, supervisor)) == "not_approved"
    trio.contribute("job-1", task(trio, plan, provider, supervisor))
    # One of them for this plan alone.
    other = older_than(trio, 50, dataset="grade4")
    alone = approved("job-2", other, SUPERVISOR)
    trio.contribute("job-2", task(trio, other, provider, alone, request="request-2"))


def test_nobody_approves_for_their_own_organisation(trio: Trio) -> None:
    policy = replace(trio.enclaves[0].policy, supervisors=frozenset({public(trio.developer)}))
    enclave = replace(trio.enclaves[0], policy=policy)
    plan = older_than(trio, 40, dataset="grade4")
    own = signed(terms(trio, plan, operator_key=public(trio.developer)), trio.developer)
    asked = task(trio, plan, signed(terms(trio, plan)), own)
    assert refusal(jobs.contribute, enclave, "job-1", asked, never) == "own_approval"
