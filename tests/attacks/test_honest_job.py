"""An honest job: one receipt, the clipped total plus the stated noise, the same bytes when asked again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from yingbi.api.v1.node_pb2 import Contribution, OpeningShare, OpenTask
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import jobs, opening
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import OpenTable, never
from enclave_sim.plan.sensitivity import groups, total_rho_units
from tests.attacks.three_enclaves import NODES, WIDE_QUERY, Trio, refusal


class Exploding(DuckDBEngine):
    """An engine whose machine dies in the middle of the job."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See Engine."""
        raise RuntimeError(f"power failure during {plan.dataset}")


def _serialized(contributions: list[Contribution]) -> list[bytes]:
    return [one.SerializeToString(deterministic=True) for one in contributions]


def test_three_enclaves_sign_one_receipt_with_the_noised_total(trio: Trio) -> None:
    """Section 4 and 7: the opened total is the clipped sum plus one share of noise of every party."""
    plan = trio.plan()
    body = trio.run("job-1", trio.task(plan))
    assert body.rho_units == total_rho_units(plan)
    assert [trio.enclaves[0].epoch.holders[i].node for i in range(3)] == list(NODES)
    exact = trio.exact(plan)
    noise = [opened - cell for opened, cell in zip(body.opened, exact, strict=True)]
    sigmas = [statistic.sigma for statistic in plan.statistics for _ in range(groups(plan))]
    # 8 deviations: an honest total fails with probability below 1e-12.
    assert all(abs(n) <= 8 * math.sqrt(3) * sigma for n, sigma in zip(noise, sigmas, strict=True))
    # All cells together: below 0.3 or above 3 deviations on average only if the noise is not what it says.
    ratio = math.sqrt(sum(n**2 / (3 * sigma**2) for n, sigma in zip(noise, sigmas, strict=True)) / len(noise))
    assert 0.2 < ratio < 3


def test_a_total_of_several_ciphertexts_opens_as_one_does(trio: Trio) -> None:
    """Packing: cells beyond one plaintext land where they belong."""
    plan = trio.plan(WIDE_QUERY, epsilon=20)
    assert len(trio.contribute("job-1", trio.task(plan))[0].ciphertexts) >= 2
    body = trio.run("job-1", trio.task(plan))
    sigmas = [statistic.sigma for statistic in plan.statistics for _ in range(groups(plan))]
    for opened, exact, sigma in zip(body.opened, trio.exact(plan), sigmas, strict=True):
        assert abs(opened - exact) <= 8 * math.sqrt(3) * sigma


def test_a_contribution_asked_for_again_is_the_same_bytes(trio: Trio) -> None:
    """One charge, one noise: also after the enclave was started anew."""
    task = trio.task(trio.plan())
    first = _serialized(trio.contribute("job-1", task))
    assert _serialized(trio.contribute("job-1", task)) == first
    trio.load()
    assert _serialized(trio.contribute("job-1", task)) == first
    assert trio.records("charge") == [1, 1, 1]


def _opened_by(trio: Trio, contributions: list[Contribution], *openers: int) -> list[OpeningShare]:
    """Shares of all enclaves, with partial decryptions of these alone."""
    consents = trio.consent("job-1", contributions)
    return [
        opening.open_total(enclave, "job-1", OpenTask(consents=consents)) if index in openers else consents[index]
        for index, enclave in enumerate(trio.enclaves)
    ]


def test_as_many_partial_decryptions_as_the_threshold_open_what_all_consent_to(trio: Trio) -> None:
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    bodies = set()
    for openers in ((0, 1), (1, 2), (0, 1, 2)):
        shares = _opened_by(trio, contributions, *openers)
        assert [bool(share.partials) for share in shares] == [index in openers for index in range(3)]
        bodies |= {one.receipt_body for one in trio.sign("job-1", shares)}
    assert len(bodies) == 1


def test_consent_binds_and_opens_nothing(trio: Trio) -> None:
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    shares = _opened_by(trio, contributions, 0)
    assert trio.records("open") == [1, 1, 1]
    assert refusal(trio.opened, "job-1", shares) == "too_few_shares"


def test_two_jobs_of_one_plan_have_noise_of_their_own(trio: Trio) -> None:
    """Otherwise the difference of two totals would be exact."""
    plan = trio.plan()
    opened = [trio.run(f"job-{i}", trio.task(plan, request_id=f"request-{i}")).opened for i in range(2)]
    assert all(left != right for left, right in zip(*opened, strict=True))


def test_a_total_opened_again_is_the_same_share(trio: Trio) -> None:
    """A node binds one digest and repeats the same bytes for it."""
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    first = [share.SerializeToString(deterministic=True) for share in trio.open("job-1", contributions)]
    trio.load()
    again = trio.open("job-1", contributions)
    assert [share.SerializeToString(deterministic=True) for share in again] == first
    assert trio.records("open") == [1, 1, 1]
    receipts = trio.sign("job-1", again)
    trio.load()
    # The evidence beside the signature says when it was made.
    signed = [(one.receipt_body, one.signature.signature) for one in trio.sign("job-1", again)]
    assert signed == [(one.receipt_body, one.signature.signature) for one in receipts]


def test_a_job_that_crashed_after_its_charge_is_completed_at_one_price(trio: Trio) -> None:
    """Budget is spent before data is unsealed, and once."""
    plan = trio.plan()
    task = trio.task(plan)
    broken = replace(trio.enclaves[0], engine=Exploding())
    with pytest.raises(RuntimeError):
        jobs.contribute(broken, "job-1", task, never)
    price = total_rho_units(plan)
    assert trio.spent() == [price, 0, 0]
    trio.load()
    assert trio.spent() == [price, 0, 0]
    trio.run("job-1", task)
    assert trio.spent() == [price] * 3


def test_a_crashed_job_stays_bound_to_its_plan_and_request(trio: Trio) -> None:
    """The charge of one plan pays for no other."""
    broken = replace(trio.enclaves[0], engine=Exploding())
    with pytest.raises(RuntimeError):
        jobs.contribute(broken, "job-1", trio.task(trio.plan()), never)
    other = trio.task(trio.plan("SELECT COUNT(*) FROM visits"), request_id="request-2")
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", other, never) == "other_plan"
    again = trio.task(trio.plan())
    assert refusal(jobs.contribute, trio.enclaves[0], "job-2", again, never) == "request_reused"


def test_the_stored_contribution_is_never_made_anew(trio: Trio) -> None:
    """One charge, one noise, against a host that deletes or alters what the enclave stored."""
    task = trio.task(trio.plan())
    contributions = trio.contribute("job-1", task)
    stored = trio.folder / NODES[0] / "jobs" / "job-1" / "contribution"
    kept = stored.read_bytes()
    stored.unlink()
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", task, never) == "lost_file"
    stored.write_bytes(contributions[1].SerializeToString(deterministic=True))
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", task, never) == "altered_file"
    stored.write_bytes(kept)
    trio.open("job-1", contributions)


@pytest.mark.parametrize("name", ["plan", "contribution"])
def test_a_file_altered_by_the_host_opens_nothing(trio: Trio, name: str) -> None:
    """What a host may alter is checked against the journal before it is used."""
    contributions = trio.contribute("job-1", trio.task(trio.plan()))
    altered = trio.folder / NODES[0] / "jobs" / "job-1" / name
    altered.write_bytes(trio.plan(epsilon=2.0).SerializeToString(deterministic=True))
    assert refusal(trio.open, "job-1", contributions) == "altered_file"
    assert trio.records("open") == [0, 0, 0]


def test_a_cancelled_job_neither_contributes_nor_opens(trio: Trio) -> None:
    """Cancelling is durable; a total that is bound already stays."""
    task = trio.task(trio.plan())
    contributions = trio.contribute("job-1", task)
    jobs.cancel(trio.enclaves[0], "job-1")
    trio.load()
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", task, never) == "cancelled"
    assert refusal(trio.open, "job-1", contributions) == "cancelled"
    other = trio.contribute("job-2", trio.task(trio.plan(), request_id="request-2"))
    shares = trio.open("job-2", other)
    jobs.cancel(trio.enclaves[0], "job-2")
    assert trio.open("job-2", other) == shares


def test_a_job_cancelled_before_it_began_is_not_charged(trio: Trio) -> None:
    """Budget is spent when a node may unseal data, not before."""
    task = trio.task(trio.plan())
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", task, lambda: True) == "cancelled"
    assert trio.spent() == [0, 0, 0]


@pytest.mark.parametrize("job", ["", "../journal", "a/b", "Job", "job\n", "x" * 65, "x" * 100_000, "."])
def test_a_job_id_that_is_no_name_reaches_neither_journal_nor_disk(trio: Trio, job: str) -> None:
    """An enclave that wrote a gateway's text of any length could not read its own journal again."""
    before = trio.enclaves[0].journal.records.copy()
    assert refusal(jobs.contribute, trio.enclaves[0], job, trio.task(trio.plan()), never) == "bad_job"
    assert refusal(jobs.cancel, trio.enclaves[0], job) == "bad_job"
    assert trio.enclaves[0].journal.records == before
    trio.load()
