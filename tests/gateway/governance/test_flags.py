"""What whoever decides is told: from plans and times alone."""

from __future__ import annotations

import itertools

import pytest
from yingbi.api.v1.plan_pb2 import Plan

from gateway.governance import decisions
from gateway.governance.callers import Role
from gateway.governance.flags import A_DAY, Earlier, Likeness, Spending, flags_of
from gateway.planning.query import plan_question
from tests.gateway.jobs.test_admission import DATASET

NOW = 100 * A_DAY


def planned(sql: str, epsilon: float = 0.5) -> Plan:
    return plan_question(
        sql, DATASET.declaration, dataset_version=bytes(32), parties=1, epsilon=epsilon, delta=1e-7
    ).plan


def asked(sql: str, job: str = "job-1", organisation: str = "college", at: float = NOW) -> Earlier:
    return Earlier(job, organisation, at, Likeness.of(planned(sql)))


COUNT = "SELECT COUNT(*) FROM visits"


def flags(sql: str, *earlier: Earlier, spending: Spending | None = None, simulated: bool = False) -> dict[str, str]:
    found = flags_of(asked(sql, "job-9"), earlier, spending or Spending(100, 0, 1), simulated=simulated, nodes=3)
    return {f"{flag.level} {flag.code}": flag.text for flag in found}


@pytest.mark.parametrize(
    ("sql", "differs_by"),
    [
        (f"{COUNT} WHERE pain > 3", 0),
        ("SELECT COUNT(*) AS other_name FROM visits WHERE pain > 3", 0),
        (COUNT, 1),
        (f"{COUNT} WHERE pain > 4", 2),
        (f"{COUNT} WHERE pain > 3 AND pain < 9", 1),
        ("SELECT SUM(pain) FROM visits WHERE pain > 3", None),
    ],
)
def test_questions_are_compared_by_their_conditions(sql: str, differs_by: int | None) -> None:
    one, other = Likeness.of(planned(f"{COUNT} WHERE pain > 3")), Likeness.of(planned(sql, epsilon=0.1))
    assert one.differs_by(other) == other.differs_by(one) == differs_by


def test_a_mean_is_compared_by_its_conditions_too() -> None:
    """A plan counts rows where the condition leaves out what is missing, and values where not."""
    mean = "SELECT AVG(pain) FROM visits"
    assert Likeness.of(planned(mean)).differs_by(Likeness.of(planned(f"{mean} WHERE pain > 2"))) == 1


def test_an_earlier_question_with_one_condition_more_is_a_warning_and_the_same_one_a_note() -> None:
    found = flags(COUNT, asked(f"{COUNT} WHERE pain > 3"), asked(COUNT, "job-2", "institute"))
    assert "one condition more, less or changed: 1, of college" in found["warning similar"]
    assert "institute" in found["notice similar"]
    assert "warning similar" not in flags(COUNT, asked("SELECT SUM(pain) FROM visits"))


def test_the_budget_is_everybodys_and_after_this_job() -> None:
    assert "After this 50% of" in flags(COUNT, spending=Spending(100, 40, 10))["notice budget"]
    assert "After this 0.0251% of" in flags(COUNT, spending=Spending(1_000_000, 241, 10))["notice budget"]
    assert "After this 80% of" in flags(COUNT, spending=Spending(100, 70, 10))["warning budget"]
    assert "does not hold" in flags(COUNT, spending=Spending(100, 95, 10))["warning budget"]


def test_a_kind_of_question_is_new_to_an_organisation_until_it_asked_one() -> None:
    assert "for the first time" in flags(COUNT)["notice first_use"]
    assert "for the first time" in flags(COUNT, asked(COUNT, organisation="institute"))["notice first_use"]
    assert (
        "not asked a question of this kind" in flags(COUNT, asked("SELECT SUM(pain) FROM visits"))["notice first_use"]
    )
    assert "notice first_use" not in flags(f"{COUNT} WHERE pain > 5", asked(f"{COUNT} WHERE pain > 2"))


def test_a_day_with_many_more_jobs_than_usual_is_a_warning() -> None:
    today = [asked(COUNT, f"job-{n}", at=NOW - 60.0 * n) for n in range(20)]
    assert "21 times within a day" in flags(COUNT, *today)["warning volume"]
    # Fewer are no news, and neither is what is usual.
    assert "warning volume" not in flags(COUNT, *today[:5])
    before = [asked(COUNT, f"old-{n}", at=NOW - A_DAY * (1.5 + n % 28)) for n in range(28 * 8)]
    assert "warning volume" not in flags(COUNT, *today, *before)


def test_simulated_enclaves_are_a_warning_and_warnings_come_first() -> None:
    found = list(flags(COUNT, simulated=True))
    assert found[0] == "warning simulated"
    assert "warning simulated" not in flags(COUNT)


@pytest.mark.requirement("GRD-06")
def test_the_matrix_asks_more_organisations_the_higher_the_grade() -> None:
    rows = decisions.rows()
    assert [row.grade for row in rows] == [1, 2, 3, 4]
    for lower, higher in itertools.pairwise(rows):
        assert set(lower.approvers) <= set(higher.approvers)
    assert decisions.approvers(4) == (Role.PROVIDER, Role.SUPERVISOR)
    # A job that waits is never without anybody who decides.
    assert decisions.approvers(1) == (Role.PROVIDER,)
