"""The ledger on a real database: a charge is against all its accounts, or nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from yingbi.api import zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration, NamespaceBudget, OrganisationBudget

from enclave_sim.privacy.accounting import Charge
from gateway.governance.registration import RegisteredDataset
from gateway.ledger import accounts as keys
from gateway.ledger import ledger, limits
from gateway.storage import catalogue
from gateway.storage.database import Database
from gateway.storage.tables import accounts, jobs, metadata

DELTA = 1e-7
Result = TypeVar("Result")


def declared(
    dataset: str, epsilon: float, namespace: str | None = None, each: float | None = None
) -> DatasetDeclaration:
    """As much of a declaration as the ledger reads."""
    return DatasetDeclaration(
        dataset=dataset,
        unit_namespace=namespace or dataset,
        budget_epsilon=epsilon,
        budget_delta=DELTA,
        budget_each_organisation_epsilon=each,
    )


def rho(epsilon: float) -> int:
    """What an epsilon buys, in units."""
    return zcdp.bought(epsilon, DELTA)[0]


VISITS = declared("visits", 2.0, "patient")
LABS = declared("labs", 3.0, "patient")
STAFF = declared("staff", 1.0)
TRIAL = declared("trial", 2.0, each=1.0)
LIMIT = rho(2.0)
EACH = rho(1.0)


class Ledger:
    """The ledger's functions, each in a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return asyncio.run(self.database.run(function, *arguments))

    def open(self, *declarations: DatasetDeclaration) -> None:
        for declaration in declarations:
            self.run(catalogue.register, RegisteredDataset(declaration, b"", b""))

    def reserve(
        self, job: str, dataset: str, rho_units: int, delta0_units: int = 0, organisation: str = "clinic"
    ) -> bool:
        self.run(_record_job, job, dataset)
        declaration = self.run(catalogue.find, dataset).declaration
        charged = partial(ledger.reserve, now=0.0)
        return self.run(charged, job, declaration, organisation, Charge(rho_units, delta0_units))

    def budget(self, declaration: DatasetDeclaration, organisation: str | None = None) -> Budget:
        return self.run(ledger.budget, declaration, organisation)

    def left(self, declaration: DatasetDeclaration, organisation: str | None = None) -> int:
        """What the dataset can still be asked for."""
        return limits.left(self.budget(declaration, organisation))

    def spent_of_namespace(self, name: str) -> int:
        return self.run(_spent)["namespace", name]


def _spent(connection: Connection) -> dict[tuple[str, str], int]:
    rows = connection.execute(select(accounts.c.kind, accounts.c.name, accounts.c.spent_rho_units))
    return {(row.kind, row.name): row.spent_rho_units for row in rows}


def _record_job(connection: Connection, job: str, dataset: str) -> None:
    values = dict.fromkeys(("request_digest", "plan", "plan_hash", "authorization", "registration"), b"")
    connection.execute(
        insert(jobs).values(
            job=job,
            developer="developer",
            request_id=job,
            dataset=dataset,
            sql="SELECT COUNT(*) FROM visits",
            state=1,
            sequence=1,
            created=0.0,
            replayed=0,
            **values,
        )
    )


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with visits and labs of the same patients, staff, and a trial that limits organisations."""
    books = Ledger(tmp_path / "gateway.db")
    books.open(VISITS, LABS, STAFF, TRIAL)
    yield books
    books.database.close()


def test_the_first_dataset_fixes_what_its_namespace_has(books: Ledger) -> None:
    """A later one with a larger budget has no more than that."""
    assert books.left(VISITS) == books.left(LABS) == LIMIT


def test_what_one_dataset_spends_is_gone_for_the_other(books: Ledger) -> None:
    assert books.reserve("job-1", "visits", LIMIT - 5)
    assert (books.left(VISITS), books.left(LABS)) == (5, 5)
    assert books.budget(LABS).spent_rho_units == 0


def test_a_namespace_can_be_spent_to_the_last_unit_and_no_further(books: Ledger) -> None:
    assert books.reserve("job-1", "visits", LIMIT - 5)
    assert not books.reserve("job-2", "labs", 6)
    assert books.reserve("job-3", "labs", 5)
    assert not books.reserve("job-4", "visits", 1)


def test_a_charge_that_its_dataset_does_not_hold_takes_nothing_from_the_namespace(tmp_path: Path) -> None:
    """The dataset's own limit holds within the namespace's."""
    books = Ledger(tmp_path / "gateway.db")
    books.open(VISITS, declared("small", 0.5, "patient"))
    assert not books.reserve("job-1", "small", LIMIT)
    assert books.left(VISITS) == LIMIT


def test_a_charge_that_its_namespace_does_not_hold_takes_nothing_from_the_dataset(books: Ledger) -> None:
    assert not books.reserve("job-1", "labs", LIMIT + 1)
    assert books.budget(LABS).spent_rho_units == 0
    assert books.left(LABS) == LIMIT


def test_a_dataset_of_a_namespace_of_its_own_has_its_whole_budget(books: Ledger) -> None:
    assert books.reserve("job-1", "visits", LIMIT)
    assert books.left(STAFF) == zcdp.bought(1.0, DELTA)[0]
    assert books.reserve("job-2", "staff", books.left(STAFF))


def test_a_reserved_charge_is_given_back_to_both(books: Ledger) -> None:
    books.reserve("job-1", "visits", 7)
    books.run(ledger.refund, "job-1")
    assert books.left(VISITS) == books.left(LABS) == LIMIT
    books.run(ledger.refund, "job-1")
    assert books.spent_of_namespace("patient") == 0


def test_a_spent_charge_is_given_back_to_neither(books: Ledger) -> None:
    books.reserve("job-1", "visits", 7)
    books.run(ledger.spend, "job-1")
    books.run(ledger.refund, "job-1")
    assert books.left(VISITS) == books.left(LABS) == LIMIT - 7


def test_a_new_version_keeps_what_was_spent(books: Ledger) -> None:
    books.reserve("job-1", "visits", 7)
    books.open(VISITS)
    assert books.budget(VISITS).spent_rho_units == books.spent_of_namespace("patient") == 7


def test_a_lower_budget_lowers_the_dataset_and_not_its_namespace(books: Ledger) -> None:
    books.open(declared("visits", 1.0, "patient"))
    assert books.left(VISITS) == zcdp.bought(1.0, DELTA)[0]
    assert books.left(LABS) == LIMIT


@pytest.mark.parametrize(
    ("again", "code"),
    [
        (declared("visits", 2.1, "patient"), "budget_raised"),
        (declared("visits", 2.0, "person"), "namespace_changed"),
        (declared("visits", 2.0), "namespace_changed"),
        (declared("staff", 1.0, "patient"), "namespace_changed"),
        (declared("trial", 2.0, each=1.1), "budget_raised"),
        (declared("trial", 1.5), "budget_raised"),
    ],
)
def test_adding_a_dataset_again_raises_no_limit_and_escapes_none(
    books: Ledger, again: DatasetDeclaration, code: str
) -> None:
    with pytest.raises(Problem) as refusal:
        books.open(again)
    assert refusal.value.code == code
    assert (books.left(VISITS), books.left(STAFF)) == (LIMIT, rho(1.0))
    assert books.left(TRIAL, "clinic") == EACH


@pytest.mark.parametrize(
    ("spent_by", "asked", "limit", "sentence"),
    [
        ("visits", VISITS, "dataset", "the dataset's budget has left"),
        ("visits", LABS, "namespace", "what all datasets of the unit namespace patient have left together"),
        ("staff", STAFF, "dataset", "the dataset's budget has left"),
    ],
)
def test_a_refusal_says_which_limit_and_what_is_left(
    books: Ledger, spent_by: str, asked: DatasetDeclaration, limit: str, sentence: str
) -> None:
    books.reserve("job-1", spent_by, zcdp.bought(0.9, DELTA)[0])
    budget = books.budget(asked)
    problem = limits.exceeded(budget, books.left(asked) + 1)
    assert (problem.code, problem.details["limit"]) == ("budget_exceeded", limit)
    assert sentence in problem.message
    remaining = zcdp.asked_epsilon(books.left(asked), DELTA)
    assert float(problem.details["remaining_epsilon"]) == pytest.approx(remaining, rel=1e-5)


def test_a_namespace_is_told_where_it_differs_from_the_dataset(books: Ledger) -> None:
    """By its name, or because another dataset joined it."""
    assert books.budget(LABS).namespace == NamespaceBudget(unit_namespace="patient", limit_rho_units=LIMIT)
    assert not books.budget(STAFF).HasField("namespace")
    joined = declared("shifts", 0.5, "staff")
    books.open(joined)
    books.reserve("job-1", "shifts", 9)
    assert books.budget(STAFF).namespace.spent_rho_units == 9


def test_a_price_above_the_declared_budget_is_above_the_whole(books: Ledger) -> None:
    problem = limits.exceeded(books.budget(LABS), zcdp.bought(3.0, DELTA)[0] + 1)
    assert "whole budget" in problem.message


def test_an_organisation_has_no_more_than_each_may_spend(books: Ledger) -> None:
    assert books.left(TRIAL, "clinic") == EACH
    assert not books.reserve("job-1", "trial", EACH + 1)
    assert books.reserve("job-2", "trial", EACH)
    assert not books.reserve("job-3", "trial", 1)


def test_what_one_organisation_spends_leaves_another_its_share(books: Ledger) -> None:
    assert books.reserve("job-1", "trial", EACH, organisation="clinic")
    assert books.left(TRIAL, "bureau") == EACH
    assert books.reserve("job-2", "trial", EACH, organisation="bureau")


def test_the_shares_of_all_are_within_the_dataset_s_budget(books: Ledger) -> None:
    """Each of four may spend more than a quarter."""
    organisations = ("clinic", "bureau", "college", "guild")
    admitted = [books.reserve(f"job-{name}", "trial", EACH, organisation=name) for name in organisations]
    assert sum(admitted) == LIMIT // EACH < len(organisations)
    assert books.budget(TRIAL).spent_rho_units == EACH * sum(admitted) <= LIMIT
    rest = LIMIT - EACH * sum(admitted)
    assert books.left(TRIAL, "guild") == rest
    assert not books.reserve("job-again", "trial", rest + 1, organisation="guild")


def test_a_charge_that_its_organisation_does_not_hold_takes_nothing_from_anybody(books: Ledger) -> None:
    assert books.reserve("job-1", "trial", 5)
    before = books.run(_spent)
    assert not books.reserve("job-2", "trial", EACH - 4)
    assert books.run(_spent) == before


def test_a_charge_that_its_dataset_does_not_hold_takes_nothing_from_its_organisation(books: Ledger) -> None:
    for name in ("bureau", "college", "guild"):
        assert books.reserve(f"job-{name}", "trial", EACH, organisation=name)
    rest = books.left(TRIAL)
    assert rest < EACH
    assert not books.reserve("job-1", "trial", rest + 1)
    assert books.budget(TRIAL, "clinic").organisation.spent_rho_units == 0


def test_one_dataset_s_organisations_are_not_another_s(books: Ledger) -> None:
    """A dataset whose name begins alike, or would match as a pattern, is another one."""
    books.open(declared("trial_2", 2.0, each=1.0), declared("trial-2", 2.0, each=1.0))
    books.reserve("job-1", "trial_2", EACH)
    books.reserve("job-2", "trial-2", 5)
    books.open(declared("trial", 2.0, each=0.5), declared("trial_2", 2.0, each=0.5))
    unlike = declared("trial-2", 2.0, each=1.0)
    assert books.budget(unlike, "clinic").organisation.limit_rho_units == EACH
    assert books.left(unlike, "clinic") == EACH - 5


def test_a_reserved_charge_is_given_back_to_the_organisation(books: Ledger) -> None:
    books.reserve("job-1", "trial", 7)
    books.run(ledger.refund, "job-1")
    books.run(ledger.refund, "job-1")
    assert books.left(TRIAL, "clinic") == EACH
    books.reserve("job-2", "trial", 7)
    books.run(ledger.spend, "job-2")
    books.run(ledger.refund, "job-2")
    assert books.left(TRIAL, "clinic") == EACH - 7


def test_a_lower_share_holds_at_once_for_who_has_spent_and_who_has_not(books: Ledger) -> None:
    books.reserve("job-1", "trial", 7)
    lower = declared("trial", 2.0, each=0.5)
    books.open(lower)
    assert (books.left(lower, "clinic"), books.left(lower, "bureau")) == (rho(0.5) - 7, rho(0.5))
    assert not books.reserve("job-2", "trial", rho(0.5) - 6)
    assert not books.reserve("job-3", "trial", rho(0.5) + 1, organisation="bureau")


def test_a_share_declared_later_counts_what_was_spent_before(books: Ledger) -> None:
    """Else adding the dataset again would be a way to start anew."""
    books.reserve("job-1", "staff", rho(0.5))
    limited = declared("staff", 1.0, each=0.6)
    books.open(limited)
    assert books.left(limited, "clinic") == rho(0.6) - rho(0.5)
    assert books.left(limited, "bureau") == rho(0.6)


def test_a_share_below_what_was_spent_leaves_nothing(books: Ledger) -> None:
    books.reserve("job-1", "staff", rho(0.5))
    books.open(declared("staff", 1.0, each=0.1))
    assert not books.reserve("job-2", "staff", 1)
    assert books.reserve("job-3", "staff", 1, organisation="bureau")


def test_a_share_is_told_to_its_organisation_where_there_is_one(books: Ledger) -> None:
    books.reserve("job-1", "trial", 9)
    assert books.budget(TRIAL, "clinic").organisation == OrganisationBudget(
        organisation="clinic", limit_rho_units=EACH, spent_rho_units=9
    )
    assert not books.budget(TRIAL).HasField("organisation")
    assert not books.budget(VISITS, "clinic").HasField("organisation")


def test_a_refusal_says_that_it_is_the_organisation_s_share(books: Ledger) -> None:
    books.reserve("job-1", "trial", EACH - 1000)
    budget = books.budget(TRIAL, "clinic")
    problem = limits.exceeded(budget, 1001)
    assert problem.details["limit"] == "organisation"
    assert "the organisation clinic has left" in problem.message
    assert float(problem.details["remaining_epsilon"]) == pytest.approx(zcdp.asked_epsilon(1000, DELTA), rel=1e-5)
    assert "one organisation may spend" in limits.exceeded(budget, EACH + 1).message
    assert limits.whole(budget) == EACH


ROUNDS = 20


def shared_engine(path: Path) -> Engine:
    """A writer that lets others write between its transactions, as the gateway's own does not."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@pytest.mark.parametrize("narrowest", ["namespace", "organisation"])
def test_of_two_simultaneous_charges_that_exceed_a_limit_exactly_one_is_made(tmp_path: Path, narrowest: str) -> None:
    """Two writers of one database file: the dataset's own budget would hold both charges.

    An organisation's account is not there before its first charge, so both writers open it.
    """
    writers = shared_engine(tmp_path / "gateway.db"), shared_engine(tmp_path / "gateway.db")
    metadata.create_all(writers[0])
    share = int(LIMIT * 0.55)
    for number in range(ROUNDS):
        if narrowest == "namespace":
            pair = [declared(f"{name}{number}", 2.0, f"patient{number}") for name in ("visits", "labs")]
        else:
            pair = [declared(f"visits{number}", 9.0, each=2.0)] * 2
        with writers[0].begin() as connection:
            for declaration in pair:
                ledger.set_limits(connection, declaration)
        together = threading.Barrier(2, timeout=60)

        def ask(
            engine: Engine, job: str, declaration: DatasetDeclaration, together: threading.Barrier = together
        ) -> bool:
            together.wait()
            with engine.begin() as connection:
                _record_job(connection, job, declaration.dataset)
                return ledger.reserve(connection, job, declaration, "clinic", Charge(share), now=0.0)

        names = [f"job-{number}-{side}" for side in "ab"]
        with ThreadPoolExecutor(2) as threads:
            admitted = list(threads.map(ask, writers, names, pair))
        assert sorted(admitted) == [False, True]
        name = f"patient{number}" if narrowest == "namespace" else f"visits{number}/clinic"
        with writers[0].begin() as connection:
            assert _spent(connection)[narrowest, name] == share


# Datasets a and b share 100 units of namespace x; c has 50 of its own, of which one organisation may spend 30.
SMALL = {"a": Charge(100), "b": Charge(80), "c": Charge(50)}
NAMESPACES = {"a": "x", "b": "x", "c": "c"}
EACH_OF_C = 30

steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "spend", "refund"]),
        st.sampled_from("abc"),
        st.sampled_from(["one", "two"]),
        st.integers(1, 60),
    ),
    max_size=25,
)


@dataclass
class Held:
    """A charge as the model remembers it."""

    dataset: str
    organisation: str
    paid: int
    is_spent: bool = False


@given(steps)
def test_the_ledger_agrees_with_a_model_that_just_adds_up(steps: list[tuple[str, str, str, int]]) -> None:
    held: dict[str, Held] = {}
    with create_engine("sqlite://").connect() as connection, pytest.MonkeyPatch.context() as patch:
        metadata.create_all(connection)
        patch.setattr(keys, "limit", lambda declaration: SMALL[declaration.dataset])
        patch.setattr(
            keys, "limit_of_each", lambda declared: Charge(EACH_OF_C) if declared.dataset == "c" else SMALL["a"]
        )
        declarations = {name: declared(name, 1.0, NAMESPACES[name]) for name in SMALL}
        for declaration in declarations.values():
            ledger.set_limits(connection, declaration)
        for number, (step, dataset, organisation, amount) in enumerate(steps):
            if step == "reserve":
                job, asked = f"job-{number}", Held(dataset, organisation, amount)
                _record_job(connection, job, dataset)
                fits = _fits([*held.values(), asked])
                reserved = ledger.reserve(connection, job, declarations[dataset], organisation, Charge(amount), now=0.0)
                assert reserved == fits
                if fits:
                    held[job] = asked
            elif held:
                job = list(held)[amount % len(held)]
                _take_step(connection, held, step, job)
        spent = _spent(connection)
    for name in ("x", "c"):
        assert spent["namespace", name] == sum(one.paid for one in held.values() if NAMESPACES[one.dataset] == name)
    for name in SMALL:
        assert spent["dataset", name] == sum(one.paid for one in held.values() if one.dataset == name)
    for organisation in ("one", "two"):
        paid = sum(one.paid for one in held.values() if (one.dataset, one.organisation) == ("c", organisation))
        assert spent.get(("organisation", f"c/{organisation}"), 0) == paid <= EACH_OF_C


def _fits(charges: list[Held]) -> bool:
    def paid(datasets: str, organisations: tuple[str, ...] = ("one", "two")) -> int:
        return sum(one.paid for one in charges if one.dataset in datasets and one.organisation in organisations)

    within_datasets = paid("a") <= 100 and paid("b") <= 80 and paid("c") <= 50
    return within_datasets and paid("ab") <= 100 and max(paid("c", ("one",)), paid("c", ("two",))) <= EACH_OF_C


def _take_step(connection: Connection, held: dict[str, Held], step: str, job: str) -> None:
    if step == "spend":
        ledger.spend(connection, job)
        held[job].is_spent = True
    else:
        ledger.refund(connection, job)
        if not held[job].is_spent:
            del held[job]


def test_key_selections_take_a_budget_of_their_own(books: Ledger) -> None:
    """The tenth of δ that is kept: what does not fit into it changes nothing, and a refund gives it back."""
    books.open(VISITS)
    kept = zcdp.kept_delta0_units(DELTA)
    assert not books.reserve("job-1", "visits", 10, kept + 1)
    assert books.left(VISITS) == LIMIT
    assert books.reserve("job-2", "visits", 10, kept)
    assert not books.reserve("job-3", "visits", 10, 1)
    assert limits.exceeded(books.budget(VISITS), 10).code == "key_selections_exceeded"
    books.run(ledger.refund, "job-2")
    assert books.reserve("job-4", "visits", 10, 1)
