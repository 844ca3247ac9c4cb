"""Who must have approved a plan, by the grade of its dataset."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import KeySelection, Plan

from enclave_sim.approvals import Asked, check_approvals, check_mode
from enclave_sim.authority import Policy

TOTAL = Plan(dataset="visits")
SELECTION = Plan(dataset="visits", key_selection=KeySelection(max_keys=1))


@pytest.mark.requirement("GRD-06")
@pytest.mark.parametrize("grade", [1, 2, 3, 4])
@pytest.mark.parametrize("auto_approve", [False, True])
def test_grades_1_and_2_need_no_approval_and_a_waiver_reaches_to_grade_3(grade: int, *, auto_approve: bool) -> None:
    policy = Policy(frozenset(), frozenset(), auto_approve, frozenset({b"p" * 32}), frozenset({b"s" * 32}))
    asked = Asked("job-1", TOTAL, b"h" * 32, b"d" * 32)
    if grade < 3 or (grade == 3 and auto_approve):
        check_approvals([], policy, asked, grade=grade, now=0)
        return
    with pytest.raises(Problem) as raised:
        check_approvals([], policy, asked, grade=grade, now=0)
    assert raised.value.code == "not_approved"


@pytest.mark.requirement("GRD-04")
@pytest.mark.parametrize(
    ("plan", "providers", "opens"),
    [
        pytest.param(TOTAL, 1, False, id="a single provider's own sum is no total"),
        pytest.param(TOTAL, 2, True, id="two providers"),
        pytest.param(SELECTION, 3, False, id="each provider tells keys of its own"),
    ],
)
def test_grade_4_is_open_to_totals_over_several_providers_alone(plan: Plan, providers: int, *, opens: bool) -> None:
    check_mode(plan, grade=3, providers=1)
    if opens:
        check_mode(plan, grade=4, providers=providers)
        return
    with pytest.raises(Problem) as raised:
        check_mode(plan, grade=4, providers=providers)
    assert raised.value.code == "grade_denied"
