"""Whether a request may run under an agreement: who, about what, and when. The time is given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.schema import DeclarationError
from gateway.governance.agreements import check_fits, check_in_force, check_not_over, check_terms, chosen, moment

OPEN = DatasetDeclaration(dataset="visits", budget_epsilon=3.0, budget_delta=1e-7)
CLOSED = DatasetDeclaration(dataset="visits", budget_epsilon=3.0, budget_delta=1e-7, agreements_required=True)
STARTS, EXPIRES = 1_000, 2_000
NOW = 1_500.0


def agreement(name: str = "a", starts: int = STARTS, expires: int = EXPIRES, **terms: object) -> Agreement:
    said = {"dataset": "visits", "organisation": "college", "purpose": "risk of falls", "budget_epsilon": 1.0}
    return Agreement(
        agreement=name,
        starts=Timestamp(seconds=starts),
        expires=Timestamp(seconds=expires),
        **{**said, "budget_delta": 1e-7, **terms},  # type: ignore[arg-type]
    )


def asked(
    declaration: DatasetDeclaration,
    organisation: str | None,
    named: Agreement | None,
    own: Sequence[Agreement],
    now: float,
    job: str = "query",
) -> Agreement | None:
    return chosen(declaration, organisation, named, own, now, job=job)


def refused(
    *own: Agreement, named: Agreement | None = None, organisation: str = "college", now: float = NOW, job: str = "query"
) -> Problem:
    with pytest.raises(Problem) as caught:
        asked(CLOSED, organisation, named, own, now, job)
    assert (caught.value.kind, caught.value.field) == (Kind.REFUSED, "agreement")
    assert caught.value.hint
    return caught.value


def test_the_only_agreement_need_not_be_named_where_one_is_required() -> None:
    assert asked(CLOSED, "college", None, [agreement()], NOW) == agreement()


def test_one_that_is_over_or_yet_to_begin_is_not_counted() -> None:
    others = [agreement("old", 0, 1_000), agreement("next", 2_000, 3_000)]
    assert asked(CLOSED, "college", None, [*others, agreement()], NOW) == agreement()


def test_of_several_one_is_named() -> None:
    problem = refused(agreement("a"), agreement("b"))
    assert problem.code == "agreement_needed"
    assert "a, b" in problem.message
    assert "--agreement" in str(problem.hint)
    assert asked(CLOSED, "college", agreement("b"), [agreement("a"), agreement("b")], NOW) == agreement("b")


def test_of_several_the_one_that_allows_the_kind_of_job_need_not_be_named() -> None:
    queries, models = agreement("a", jobs=["query"]), agreement("b", jobs=["train", "evaluate"])
    assert asked(CLOSED, "college", None, [queries, models], NOW, "train") == models


@pytest.mark.requirement("AGR-06")
@pytest.mark.parametrize("is_named", [True, False])
def test_a_kind_of_job_that_is_not_in_the_agreement_is_refused(is_named: bool) -> None:
    queries = agreement(jobs=["query", "train"])
    problem = refused(*([] if is_named else [queries]), named=queries if is_named else None, job="program")
    assert problem.code == "agreement_other_job"
    assert "does not allow program; it allows query, train" in problem.message


def test_where_none_is_required_none_is_taken_unless_it_is_named() -> None:
    assert asked(OPEN, "college", None, [agreement()], NOW) is None
    assert asked(OPEN, "college", agreement(), [], NOW) == agreement()


def test_an_operator_looks_without_one() -> None:
    assert asked(CLOSED, None, None, [], NOW) is None
    assert asked(CLOSED, None, agreement(), [], NOW) == agreement()


@pytest.mark.requirement("AGR-02", "AGR-06")
@pytest.mark.parametrize(
    ("named", "now", "code", "clause"),
    [
        (agreement(dataset="labs"), NOW, "agreement_other_dataset", "another dataset than visits"),
        (agreement(organisation="bureau"), NOW, "agreement_other_organisation", "is not with college"),
        (agreement(), STARTS - 1, "agreement_not_begun", "begins on 1970-01-01 00:16:40 UTC"),
        (agreement(), EXPIRES, "agreement_expired", "expired on 1970-01-01 00:33:20 UTC"),
    ],
)
def test_a_refusal_names_the_clause(named: Agreement, now: float, code: str, clause: str) -> None:
    problem = refused(named=named, now=now)
    assert problem.code == code
    assert clause in problem.message
    assert "bureau" not in problem.message
    assert "labs" not in problem.message


def test_a_clause_holds_whether_or_not_one_is_required() -> None:
    with pytest.raises(Problem, match="expired"):
        asked(OPEN, "college", agreement(), [], EXPIRES)


@pytest.mark.requirement("AGR-02")
def test_without_an_agreement_nothing_runs_where_one_is_required() -> None:
    assert refused().code == "agreement_needed"
    assert refused(agreement("a", 0, 1), agreement("b", 0, 2)).code == "agreement_needed"
    assert refused(agreement(), now=EXPIRES).code == "agreement_expired"


@pytest.mark.requirement("AGR-03")
@given(st.floats(0, 3_000))
def test_it_is_in_force_from_its_start_until_just_before_its_end(now: float) -> None:
    try:
        check_in_force(agreement(), now)
        in_force = True
    except Problem:
        in_force = False
    assert in_force == (STARTS <= now < EXPIRES)


@given(st.floats(0, 3_000))
def test_one_that_is_over_is_not_registered_and_one_that_is_yet_to_begin_is(now: float) -> None:
    """Nothing could ever be asked under it: a wrong year, most likely."""
    if now < EXPIRES:
        check_not_over(agreement(), now)
        return
    with pytest.raises(Problem) as refused:
        check_not_over(agreement(), now)
    assert (refused.value.kind, refused.value.code, refused.value.field) == (Kind.REFUSED, "agreement_over", "expires")
    assert "1970-01-01 00:33:20 UTC" in refused.value.message


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        (agreement("A"), "agreement"),
        (agreement("a" * 64), "agreement"),
        (agreement("a b"), "agreement"),
        (agreement(organisation=""), "organisation"),
        (agreement(organisation="x" * 64), "organisation"),
        (agreement(purpose="  "), "purpose"),
        (agreement(purpose="x" * 10_001), "purpose"),
        (agreement(expires=STARTS), "expires"),
        (agreement(max_uses=0), "max_uses"),
        (agreement(budget_epsilon=0.0), "budget.epsilon"),
        (agreement(budget_delta=1.0), "budget.delta"),
    ],
)
def test_terms_that_say_nothing_are_refused(broken: Agreement, path: str) -> None:
    check_terms(agreement(max_uses=1))
    with pytest.raises(DeclarationError) as caught:
        check_terms(broken)
    assert caught.value.field_path == path


def test_a_budget_above_the_dataset_s_would_limit_nothing() -> None:
    check_fits(agreement(budget_epsilon=3.0), CLOSED)
    with pytest.raises(Problem) as caught:
        check_fits(agreement(budget_epsilon=3.01), CLOSED)
    assert (caught.value.code, caught.value.field) == ("agreement_above_dataset", "budget.epsilon")


def test_times_are_shown_to_the_second_only_where_it_says_something() -> None:
    assert [moment(60), moment(61)] == ["1970-01-01 00:01 UTC", "1970-01-01 00:01:01 UTC"]
