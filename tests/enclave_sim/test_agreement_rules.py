"""What an enclave counts under an agreement, against a model that just counts; and what it takes a plan for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.plan_pb2 import (
    Evaluation,
    Fit,
    KeySelection,
    ModelVector,
    Plan,
    Program,
    Statistic,
    Synthesis,
    UnitNorms,
)

from enclave_sim.agreement import DAY_SECONDS, check_uses, clock, kinds_of, noted
from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import Charge
from enclave_sim.stops import About, stop_of

BUDGET = Agreement(budget_epsilon=1.0, budget_delta=1e-6)
LIMIT = zcdp.bought(BUDGET.budget_epsilon, BUDGET.budget_delta)[0]


def _terms(name: str, most: int | None, a_day: int | None) -> Agreement:
    terms = Agreement(agreement=name, max_uses=most, max_uses_a_day=a_day)
    terms.MergeFrom(BUDGET)
    return terms


limits = st.none() | st.integers(0, 4)


@given(
    most=limits,
    a_day=limits,
    asked=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3 * DAY_SECONDS), st.integers(0, LIMIT // 3)), max_size=12
    ),
)
def test_what_is_admitted_is_within_uses_and_rate_and_nothing_else_is_refused(
    most: int | None, a_day: int | None, asked: list[tuple[str, int, int]]
) -> None:
    """Of each agreement by itself; a clock that goes back counts as the latest time that was noted."""
    records: list[Record] = []
    counted: dict[str, list[int]] = {"a": [], "b": []}
    spent = {"a": 0, "b": 0}
    for name, moment, rho in asked:
        terms, now = _terms(name, most, a_day), clock(records, moment)
        assert now == max([moment, *counted["a"], *counted["b"]])
        used, today = counted[name], now // DAY_SECONDS
        fits = most is None or len(used) < most
        fits &= a_day is None or sum(at // DAY_SECONDS == today for at in used) < a_day
        fits &= spent[name] + rho <= LIMIT
        if not fits:
            with pytest.raises(Problem):
                check_uses(terms, records, Charge(rho), now=now)
            continue
        check_uses(terms, records, Charge(rho), now=now)
        records.append({"kind": "charge", "job": "j", "rho_units": rho, **noted(terms, now)})
        used.append(int(now))
        spent[name] += rho


def test_an_agreements_budget_holds_all_its_charges_and_no_more() -> None:
    terms = _terms("a", None, None)
    record: Record = {"kind": "charge", "job": "j", "rho_units": LIMIT - 1, **noted(terms, 0)}
    check_uses(terms, [record], Charge(1), now=0)
    with pytest.raises(Problem) as raised:
        check_uses(terms, [record], Charge(2), now=0)
    assert raised.value.code == "budget_exceeded"


def test_predecessors_that_name_each_other_are_counted_once() -> None:
    """No signatures are checked here: a loop ends."""
    first, second = Agreement(agreement="a", supersedes="b"), Agreement(agreement="b", supersedes="a")
    records: list[Record] = [
        {"kind": "charge", "job": "j", "rho_units": 1, **noted(terms, 0)} for terms in (first, second)
    ]
    third = Agreement(agreement="c", supersedes="b", max_uses=3)
    third.MergeFrom(BUDGET)
    check_uses(third, records, Charge(1), now=0)
    third.max_uses = 2
    with pytest.raises(Problem) as raised:
        check_uses(third, records, Charge(1), now=0)
    assert raised.value.code == "agreement_used_up"


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        (Plan(), {"query"}),
        (Plan(program=Program()), {"program"}),
        (Plan(evaluation=Evaluation()), {"evaluate"}),
        (Plan(synthesis=Synthesis()), {"synthesize"}),
        (Plan(fit=Fit()), {"train"}),
        pytest.param(
            Plan(statistics=[Statistic(model_vector=ModelVector())]),
            {"train"},
            id="a gradient that says it is no model's",
        ),
        pytest.param(
            Plan(statistics=[Statistic(model_vector=ModelVector())], synthesis=Synthesis()),
            {"train"},
            id="nor rows to make up",
        ),
        pytest.param(
            Plan(statistics=[Statistic(model_vector=ModelVector())], evaluation=Evaluation()),
            {"train"},
            id="nor a model's evaluation",
        ),
        (Plan(key_selection=KeySelection()), {"query", "train"}),
        (Plan(statistics=[Statistic(unit_norms=UnitNorms())]), {"query", "train"}),
    ],
)
def test_the_kind_of_a_job_is_told_from_what_its_plan_releases(plan: Plan, kinds: set[str]) -> None:
    assert kinds_of(plan) == kinds


def test_a_stop_is_of_what_it_names_and_of_nothing_without_a_name() -> None:
    """A job under no agreement is not stopped by a record that names none."""
    records: list[Record] = [
        {"kind": "stop", "agreement": ""},
        {"kind": "stop", "job": "job-1"},
        {"kind": "x", "job": "y"},
    ]
    records = [{"stop": str(place), **record} for place, record in enumerate(records)]
    assert stop_of(records, About("job-1", "visits", "", frozenset()))
    assert not stop_of(records, About("job-2", "visits", "", frozenset()))
    assert not stop_of(records, About("y", "visits", "a", frozenset()))
