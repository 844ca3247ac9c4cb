"""The ledger on a real database: a charge is against the dataset and its unit namespace, or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select
from yingbi.api import zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration, NamespaceBudget

import gateway.storage
from enclave_sim.privacy.accounting import Charge
from gateway.ledger import ledger
from gateway.storage.database import Database
from gateway.storage.tables import jobs, metadata, namespaces

DELTA = 1e-7
Result = TypeVar("Result")


def declared(dataset: str, epsilon: float, namespace: str | None = None) -> DatasetDeclaration:
    """As much of a declaration as the ledger reads."""
    return DatasetDeclaration(
        dataset=dataset, unit_namespace=namespace or dataset, budget_epsilon=epsilon, budget_delta=DELTA
    )


VISITS = declared("visits", 2.0, "patient")
LABS = declared("labs", 3.0, "patient")
STAFF = declared("staff", 1.0)
LIMIT = zcdp.bought(2.0, DELTA)[0]


class Ledger:
    """The ledger's functions, each in a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return asyncio.run(self.database.run(function, *arguments))

    def open(self, *declarations: DatasetDeclaration) -> None:
        for declaration in declarations:
            self.run(ledger.set_limit, declaration)

    def reserve(self, job: str, dataset: str, rho_units: int, delta0_units: int = 0) -> bool:
        self.run(_record_job, job, dataset)
        return self.run(ledger.reserve, job, dataset, Charge(rho_units, delta0_units))

    def budget(self, declaration: DatasetDeclaration) -> Budget:
        return self.run(ledger.budget, declaration)

    def left(self, declaration: DatasetDeclaration) -> int:
        """What the dataset can still be asked for: the less of the two."""
        budget = self.budget(declaration)
        both: list[Budget | NamespaceBudget] = [budget]
        both += [budget.namespace] if budget.HasField("namespace") else []
        return min(one.limit_rho_units - one.spent_rho_units for one in both)

    def spent_of_namespace(self, name: str) -> int:
        spent = select(namespaces.c.spent_rho_units).where(namespaces.c.unit_namespace == name)
        return self.run(lambda connection: int(connection.execute(spent).scalar_one()))


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
    """A ledger with visits and labs of the same patients, and staff."""
    books = Ledger(tmp_path / "gateway.db")
    books.open(VISITS, LABS, STAFF)
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
    ],
)
def test_adding_a_dataset_again_raises_no_limit_and_escapes_none(
    books: Ledger, again: DatasetDeclaration, code: str
) -> None:
    with pytest.raises(Problem) as refusal:
        books.open(again)
    assert refusal.value.code == code
    assert (books.left(VISITS), books.left(STAFF)) == (LIMIT, zcdp.bought(1.0, DELTA)[0])


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
    problem = ledger.exceeded(budget, books.left(asked) + 1)
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
    problem = ledger.exceeded(books.budget(LABS), zcdp.bought(3.0, DELTA)[0] + 1)
    assert "whole budget" in problem.message


ROUNDS = 20


def test_of_two_simultaneous_charges_that_exceed_the_namespace_exactly_one_is_made(tmp_path: Path) -> None:
    """Two writers of one database file, on two datasets: neither dataset alone would refuse."""
    first, second = Ledger(tmp_path / "gateway.db"), Ledger(tmp_path / "gateway.db")
    share = int(LIMIT * 0.55)
    for number in range(ROUNDS):
        pair = [declared(f"{name}{number}", 2.0, f"patient{number}") for name in ("visits", "labs")]
        first.open(*pair)
        together = threading.Barrier(2)

        def ask(books: Ledger, dataset: str, together: threading.Barrier = together) -> bool:
            together.wait()
            return books.reserve(f"job-{dataset}", dataset, share)

        with ThreadPoolExecutor(2) as threads:
            admitted = list(threads.map(ask, (first, second), [one.dataset for one in pair]))
        assert sorted(admitted) == [False, True]
        assert first.spent_of_namespace(f"patient{number}") == share
    first.database.close()
    second.database.close()


steps = st.lists(
    st.tuples(st.sampled_from(["reserve", "spend", "refund"]), st.sampled_from(["a", "b", "c"]), st.integers(1, 60)),
    max_size=25,
)


@given(steps)
def test_the_ledger_agrees_with_a_model_that_just_adds_up(steps: list[tuple[str, str, int]]) -> None:
    """Datasets a and b share 100 units; c has 50 of its own."""
    limits, namespace = {"a": 100, "b": 80, "c": 50}, {"a": "x", "b": "x", "c": "c"}
    held: dict[str, tuple[str, int, str]] = {}
    with create_engine("sqlite://").connect() as connection:
        metadata.create_all(connection)
        for dataset, limit in limits.items():
            ledger._open(connection, dataset, namespace[dataset], Charge(limit))
        for number, (step, dataset, amount) in enumerate(steps):
            if step == "reserve":
                fits = all(
                    sum(paid for name, paid, _ in held.values() if name in owners) + amount <= limit
                    for owners, limit in (([dataset], limits[dataset]), (["a", "b"] if dataset != "c" else ["c"], 100))
                )
                _record_job(connection, f"job-{number}", dataset)
                assert ledger.reserve(connection, f"job-{number}", dataset, Charge(amount)) == fits
                if fits:
                    held[f"job-{number}"] = (dataset, amount, "reserved")
            elif held:
                job = list(held)[amount % len(held)]
                _take_step(connection, held, step, job)
        spent = dict(connection.execute(select(namespaces.c.unit_namespace, namespaces.c.spent_rho_units)).all())
    assert spent == {
        name: sum(paid for dataset, paid, _ in held.values() if namespace[dataset] == name) for name in ("x", "c")
    }


def _take_step(connection: Connection, held: dict[str, tuple[str, int, str]], step: str, job: str) -> None:
    dataset, paid, state = held[job]
    if step == "spend":
        ledger.spend(connection, job)
        held[job] = (dataset, paid, "spent")
    else:
        ledger.refund(connection, job)
        if state == "reserved":
            del held[job]


def test_an_older_database_gives_each_namespace_its_first_dataset_s_budget_and_all_that_was_spent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.db"
    _migrate(path, "0001")
    with sqlite3.connect(path) as old:
        old.executemany(
            "INSERT INTO budgets VALUES (?, ?, ?, ?)",
            [("visits", "patient", LIMIT, 70), ("labs", "patient", 2 * LIMIT, 30), ("staff", "staff", 10, 1)],
        )
    books = Ledger(path)
    assert books.left(VISITS) == books.left(LABS) == LIMIT - 100
    assert books.spent_of_namespace("staff") == 1
    books.database.close()


def _migrate(path: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(gateway.storage.__file__).parent / "migrations"))
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_key_selections_take_a_budget_of_their_own(books: Ledger) -> None:
    """The tenth of δ that is kept: what does not fit into it changes nothing, and a refund gives it back."""
    books.open(VISITS)
    kept = zcdp.kept_delta0_units(DELTA)
    assert not books.reserve("job-1", "visits", 10, kept + 1)
    assert books.left(VISITS) == LIMIT
    assert books.reserve("job-2", "visits", 10, kept)
    assert not books.reserve("job-3", "visits", 10, 1)
    assert ledger.exceeded(books.budget(VISITS), 10).code == "key_selections_exceeded"
    books.run(ledger.refund, "job-2")
    assert books.reserve("job-4", "visits", 10, 1)
