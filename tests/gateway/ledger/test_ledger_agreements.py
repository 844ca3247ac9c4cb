"""The account of an agreement on a real database: charged with all the others, and used as often as it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select
from yingbi.api import zcdp
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import AgreementBudget

from enclave_sim.privacy.accounting import Charge
from gateway.governance.agreement_states import ACTIVE
from gateway.ledger import ledger, limits
from gateway.storage import agreements as registered
from gateway.storage.tables import agreements, metadata
from tests.gateway.ledger.test_ledger import DELTA, TRIAL, Ledger, _record_job, _spent, declared, rho, shared_engine

WIDE = declared("wide", 9.0)


def agreement(name: str = "falls", epsilon: float = 0.5, uses: int | None = None, dataset: str = "trial") -> Agreement:
    return Agreement(
        agreement=name,
        dataset=dataset,
        organisation="clinic",
        purpose="risk of falls",
        starts=Timestamp(seconds=0),
        expires=Timestamp(seconds=2**32),
        budget_epsilon=epsilon,
        budget_delta=DELTA,
        max_uses=uses,
    )


class Books(Ledger):
    """Charges under agreements."""

    def under(self, job: str, terms: Agreement, rho_units: int, delta0_units: int = 0) -> bool:
        """Charge a job of the trial's."""
        self.run(_record_job, job, "trial")
        charged = partial(ledger.reserve, now=0.0)
        return self.run(charged, job, TRIAL, "clinic", Charge(rho_units, delta0_units), terms)

    def state(self, terms: Agreement) -> AgreementBudget:
        return self.run(ledger.agreement_budget, terms)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path / "gateway.db")
    books.open(TRIAL)
    books.run(registered.register, FALLS, 0.0)
    books.run(registered.register, TWICE, 0.0)
    yield books
    books.database.close()


FALLS = agreement()
TWICE = agreement("twice", uses=2)
EVERYWHERE = (("dataset", "trial"), ("namespace", "trial"), ("organisation", "trial/clinic"))


def test_a_charge_is_against_the_agreement_too(books: Books) -> None:
    assert books.under("job-1", FALLS, 7)
    spent = books.run(_spent)
    assert spent == {**dict.fromkeys((*EVERYWHERE, ("agreement", "falls")), 7), ("agreement", "twice"): 0}
    assert books.state(FALLS).uses == 1


def test_an_agreement_holds_no_more_than_it_says_and_the_rest_stays_untouched(books: Books) -> None:
    assert books.under("job-1", FALLS, rho(0.5) - 5)
    before = books.run(_spent)
    assert not books.under("job-2", FALLS, 6)
    assert books.run(_spent) == before
    assert books.state(FALLS).uses == 1
    assert books.under("job-3", FALLS, 5)


def test_a_charge_that_another_account_does_not_hold_uses_nothing(books: Books) -> None:
    """Also an organisation's first one, which opens its account."""
    assert not books.under("job-1", TWICE, rho(1.0) + 1)
    assert not books.under("job-2", TWICE, 5, zcdp.kept_delta0_units(DELTA) + 1)
    assert (books.state(TWICE).uses, books.state(TWICE).spent_rho_units) == (0, 0)
    assert set(books.run(_spent).values()) == {0}


def test_when_all_uses_are_counted_nothing_is_charged(books: Books) -> None:
    assert [books.under(f"job-{number}", TWICE, 3) for number in range(3)] == [True, True, False]
    assert books.state(TWICE).uses == 2
    assert {name: books.run(_spent)[name] for name in EVERYWHERE} == dict.fromkeys(EVERYWHERE, 6)


def test_what_is_only_reserved_is_given_back_with_its_use_once(books: Books) -> None:
    books.under("job-1", TWICE, 3)
    books.under("job-2", TWICE, 4)
    books.run(ledger.refund, "job-1")
    books.run(ledger.refund, "job-1")
    assert (books.state(TWICE).uses, books.state(TWICE).spent_rho_units) == (1, 4)
    assert books.under("job-3", TWICE, 3)


def test_what_is_spent_stays_used(books: Books) -> None:
    books.under("job-1", TWICE, 3)
    books.run(ledger.spend, "job-1")
    books.run(ledger.refund, "job-1")
    assert (books.state(TWICE).uses, books.state(TWICE).spent_rho_units) == (1, 3)


def test_a_refund_of_another_s_charge_gives_an_agreement_nothing(books: Books) -> None:
    books.under("job-1", TWICE, 3)
    books.reserve("job-2", "trial", 4)
    books.run(ledger.refund, "job-2")
    assert books.state(TWICE).uses == 1


def test_its_budget_stands_beside_the_others(books: Books) -> None:
    books.under("job-1", TWICE, 9)
    budget = books.run(ledger.budget, TRIAL, "clinic", TWICE)
    assert budget.agreement == AgreementBudget(
        agreement="twice",
        limit_rho_units=rho(0.5),
        spent_rho_units=9,
        epsilon=0.5,
        delta=DELTA,
        uses=1,
        max_uses=2,
        expires=Timestamp(seconds=2**32),
    )
    assert limits.left(budget) == rho(0.5) - 9
    assert limits.uses_left(budget) == 1
    assert not books.run(ledger.budget, TRIAL, "clinic").HasField("agreement")


def test_a_refusal_names_the_agreement_and_what_of_it_is_used_up(books: Books) -> None:
    books.under("job-1", TWICE, rho(0.5) - 1000)
    budget = books.run(ledger.budget, TRIAL, "clinic", TWICE)
    assert limits.holds(budget, 1000)
    for problem in (limits.exceeded(budget, 1001), limits.exceeded(budget, rho(0.5) + 1)):
        assert (problem.code, problem.details["limit"]) == ("budget_exceeded", "agreement")
        assert "agreement twice" in problem.message
    both = limits.exceeded(budget, 1000, uses=2)
    assert (both.code, both.details) == ("agreement_used_up", {"limit": "uses", "clause": "max_uses"})
    assert "1 is left, and this takes 2" in both.message
    books.under("job-2", TWICE, 1)
    budget = books.run(ledger.budget, TRIAL, "clinic", TWICE)
    assert "none is left" in limits.exceeded(budget, 1).message


REQUESTS = 200
WRITERS = 8


@pytest.mark.requirement("SEC-07")
def test_of_200_simultaneous_requests_on_the_last_use_exactly_one_is_charged(tmp_path: Path) -> None:
    """Several writers of one database file; every other account would hold all of them."""
    writers = [shared_engine(tmp_path / "gateway.db") for _ in range(WRITERS)]
    metadata.create_all(writers[0])
    once = agreement("once", 9.0, uses=1, dataset="wide")
    with writers[0].begin() as connection:
        ledger.set_limits(connection, WIDE)
        registered._insert(connection, once, 0.0, ACTIVE)
        ledger.open_agreement(connection, once)
    together = threading.Barrier(WRITERS, timeout=60)

    def ask_often(writer: int) -> list[bool]:
        together.wait()
        return [_ask(writer, number) for number in range(writer, REQUESTS, WRITERS)]

    def _ask(writer: int, number: int) -> bool:
        with writers[writer].begin() as connection:
            _record_job(connection, f"job-{number}", "wide")
            return ledger.reserve(connection, f"job-{number}", WIDE, "clinic", Charge(5), once, now=0.0)

    with ThreadPoolExecutor(WRITERS) as threads:
        admitted = [one for some in threads.map(ask_often, range(WRITERS)) for one in some]
    assert sorted(admitted) == [False] * (REQUESTS - 1) + [True]
    with writers[0].begin() as connection:
        assert set(_spent(connection).values()) == {5}
        assert connection.execute(select(agreements.c.uses)).scalar_one() == 1
