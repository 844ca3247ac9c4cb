"""Whose certificate has ended signs something of an earlier date, and a gateway carries it.

An enclave judges a signatory's certificate when it first charges a job under the terms, by its own clock and journal;
that of who approves and who asks, whenever the job is admitted. See `enclave_sim.agreement`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement, SignedAgreement

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from enclave_sim.journal import Check, Record
from enclave_sim.plan.sensitivity import total_rho_units
from tests.attacks.agreed_requests import (
    DAY,
    INSIDE,
    NOW,
    ORGANISATION,
    Person,
    charged,
    clock_at,
    person,
    refused,
    request,
    signature_of,
    signed,
    terms,
)
from tests.attacks.three_enclaves import PROVIDER, Trio, public, refusal

LATER = NOW + 10 * DAY
"""When the certificates below have ended, and the agreements have not."""
FOR_US = person(ORGANISATION, "signatory", until=NOW + DAY)
FOR_PROVIDER = person(PROVIDER, "signatory", until=NOW + DAY)
STILL_OURS = person(ORGANISATION, "signatory")


def agreed_by(document: Agreement, organisation: Person = FOR_US, provider: Person = FOR_PROVIDER) -> SignedAgreement:
    data = document.SerializeToString(deterministic=True)
    return SignedAgreement(
        terms=data, organisation=signature_of(organisation, data), provider=signature_of(provider, data)
    )


@pytest.fixture(scope="module")
def untouched(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Enclaves that have seen no terms, for what all of them refuse."""
    copied = trio_template.copy(tmp_path_factory.mktemp("untouched"))
    yield copied
    copied.close()


@pytest.mark.requirement("AGR-02", "AGR-03")
@pytest.mark.parametrize(
    "under",
    [
        pytest.param(agreed_by(terms(), provider=person(PROVIDER, "signatory")), id="of who asks"),
        pytest.param(agreed_by(terms(), organisation=STILL_OURS), id="of the provider"),
        pytest.param(agreed_by(terms()), id="of both"),
    ],
)
def test_terms_of_an_earlier_date_need_a_signatory_whose_certificate_still_counts(
    untouched: Trio, under: SignedAgreement
) -> None:
    """The term began when the certificate counted; the signature came after its end, for all that an enclave knows."""
    task = request(untouched, untouched.plan(INSIDE), under=under)
    assert refused(untouched, task, at=LATER) == "signatory_expired"


def test_the_refusal_says_whose_certificate_ended_and_what_to_do(untouched: Trio) -> None:
    task = request(untouched, untouched.plan(INSIDE), under=agreed_by(terms(), organisation=STILL_OURS))
    with clock_at(LATER), pytest.raises(Problem) as caught:
        jobs.contribute(untouched.enclaves[0], "job-1", task, never)
    assert "agreement narrow for the first time" in caught.value.message
    assert "for the provider" in caught.value.message
    assert "The certificate of somebody of one ended at" in caught.value.message
    assert "supersedes: narrow" in (caught.value.hint or "")


@pytest.mark.requirement("AGR-03")
def test_an_agreement_outlives_the_certificates_by_which_it_was_signed(trio: Trio) -> None:
    """What a node charged a job under it counts on there, over a restart too; other terms of its name do not."""
    plan, under = trio.plan(INSIDE, epsilon=0.1), agreed_by(terms())
    charged(trio, request(trio, plan, under=under), "job-1")
    trio.load()
    charged(trio, request(trio, plan, under=under, request_id="request-2"), "job-2", at=LATER)
    wider = agreed_by(terms(columns=["visits.age"]))
    task = request(trio, plan, under=wider, request_id="request-3")
    assert refused(trio, task, job="job-3", at=LATER) == "signatory_expired"
    # Having seen the terms says nothing of whoever else signs the same bytes.
    by_others = agreed_by(terms(), provider=person(PROVIDER, "approver"))
    task = request(trio, plan, under=by_others, request_id="request-3")
    assert refused(trio, task, job="job-3", at=LATER) == "other_duty"


def test_a_node_that_has_not_seen_the_terms_takes_a_supplement(trio: Trio) -> None:
    """One that joined after a certificate ended: the others go on, and nothing runs before all of them do."""
    plan, under = trio.plan(INSIDE, epsilon=0.1), agreed_by(terms())
    with clock_at(NOW):
        for enclave in trio.enclaves[1:]:
            jobs.contribute(enclave, "job-1", request(trio, plan, under=under), never)
    task = request(trio, plan, under=under, request_id="request-2")
    assert refused(trio, task, job="job-2", at=LATER) == "signatory_expired"
    supplement = signed(terms(agreement="anew", supersedes="narrow"))
    charged(trio, request(trio, plan, under=supplement, request_id="request-3"), "job-3", at=LATER)


def test_a_host_that_sets_its_clock_back_wins_nothing_behind_the_latest_charge(trio: Trio) -> None:
    plan = trio.plan(INSIDE, epsilon=0.1)
    charged(trio, request(trio, plan), "job-1", at=LATER)
    late = agreed_by(terms(agreement="late"))
    assert refused(trio, request(trio, plan, under=late, request_id="request-2"), job="job-2") == "signatory_expired"


def test_a_clock_that_is_ahead_refuses_and_leaves_nothing_behind(trio: Trio) -> None:
    task = request(trio, trio.plan(INSIDE, epsilon=0.1), under=agreed_by(terms()))
    assert refused(trio, task, at=LATER) == "signatory_expired"
    charged(trio, task, "job-1")


def test_a_charge_of_before_terms_were_noted_is_no_sight_of_them(trio: Trio) -> None:
    """It has the name that an agreement had, under which anybody could bring other terms."""
    plan, under = trio.plan(INSIDE, epsilon=0.1), agreed_by(terms())
    charged(trio, request(trio, plan, under=under), "job-1")
    for enclave in trio.enclaves:
        noted = next(record for record in enclave.journal.records if record["kind"] == "charge")
        old = {name: value for name, value in noted.items() if name not in ("agreed", "asked_for")}
        enclave.journal.append(old | {"job": "job-0", "request": "old", "agreement": "older"})
    trio.load()
    older = agreed_by(terms(agreement="older", max_uses=2))
    task = request(trio, plan, under=older, request_id="request-2")
    assert refused(trio, task, job="job-2", at=LATER) == "signatory_expired"
    # What was used under it is counted as ever.
    charged(trio, task, "job-2", at=NOW)
    task = request(trio, plan, under=older, request_id="request-3")
    assert refused(trio, task, job="job-3") == "agreement_used_up"


def test_terms_that_nobody_signed_were_not_seen_as_signed(trio: Trio) -> None:
    """A zone in which agreements were waived, and are no longer."""
    trio.set_policy(auto_approve=True)
    trio.load()
    document = terms(organisation_key=public(ORGANISATION))
    bare = SignedAgreement(terms=agreed_by(document).terms)
    plan = trio.plan(INSIDE, epsilon=0.1)
    charged(trio, request(trio, plan, under=bare, by=Person(trio.developer)), "job-1")
    trio.set_policy(auto_approve=False)
    trio.load()
    task = request(trio, plan, under=agreed_by(document), request_id="request-2")
    assert refused(trio, task, job="job-2", at=LATER) == "signatory_expired"


# A charge is one request's


class _Crashing:
    """An engine whose process ends while it reads."""

    def contribution(self, *_: object) -> list[int]:
        raise KeyboardInterrupt


@pytest.mark.requirement("SEC-07")
def test_a_charge_is_of_the_request_and_the_terms_that_it_was_made_for(trio: Trio) -> None:
    """After a crash each of these would be a use that nobody counts: all are honestly signed, for the same plan."""
    plan = trio.plan(INSIDE, epsilon=0.1)
    task = request(trio, plan)
    for enclave in trio.enclaves:
        with pytest.raises(KeyboardInterrupt), clock_at(NOW):
            jobs.contribute(replace(enclave, engine=_Crashing()), "job-1", task, never)  # type: ignore[arg-type]
    trio.load()
    longer = Timestamp(seconds=NOW + 2000 * DAY)
    others = {
        "another request": request(trio, plan, request_id="request-2"),
        "a longer time": request(trio, plan, expires=longer),
        "another purpose": request(trio, plan, purpose=""),
        "another person": request(trio, plan, by=person(ORGANISATION, "analyst")),
        "a plan of a batch": request(trio, plan, batch="mine", batch_digest=bytes(32)),
        "another agreement": request(trio, plan, under=signed(terms(agreement="other"))),
        "other terms of its name": request(trio, plan, under=signed(terms(max_uses=9, columns=["visits.age"]))),
        "no terms": request(trio, plan),
    }
    others["no terms"].ClearField("agreement")
    for what, other in others.items():
        for enclave in trio.enclaves:
            assert refusal(jobs.contribute, enclave, "job-1", other, never) == "other_request", what
    price = total_rho_units(plan)
    assert (trio.records("charge"), trio.spent()) == ([1] * 3, [price] * 3)
    trio.run("job-1", task)
    assert trio.records("charge") == [1] * 3
    # Nor is what was contributed handed out for another request.
    other = others["another request"]
    assert refusal(jobs.contribute, trio.enclaves[0], "job-1", other, never) == "other_request"


@pytest.mark.requirement("SEC-07")
def test_what_an_earlier_release_charged_goes_on_for_its_request_and_agreement_alone(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It noted neither what was signed nor the terms; the enclave was replaced before it had contributed."""
    task = request(trio, plan := trio.plan(INSIDE, epsilon=0.1))
    for enclave in trio.enclaves:
        noting = functools.partial(_noted_less, enclave.journal.append)
        monkeypatch.setattr(enclave.journal, "append", noting)
        with pytest.raises(KeyboardInterrupt), clock_at(NOW):
            jobs.contribute(replace(enclave, engine=_Crashing()), "job-1", task, never)  # type: ignore[arg-type]
    trio.load()
    for other in (
        request(trio, plan, request_id="request-2"),
        request(trio, plan, by=person(ORGANISATION, "analyst")),
        request(trio, plan, under=signed(terms(agreement="other"))),
    ):
        assert refusal(jobs.contribute, trio.enclaves[0], "job-1", other, never) == "other_request"
    trio.run("job-1", task)
    assert trio.records("charge") == [1] * 3


def _noted_less(append: Callable[..., None], record: Record, check: Check | None = None) -> None:
    append({name: value for name, value in record.items() if name not in ("agreed", "asked_for")}, check)
