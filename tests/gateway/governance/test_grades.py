"""What a grade asks for."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem

from gateway.governance.grades import check_grade, needs_approval


@pytest.mark.parametrize("grade", [1, 2, 3])
def test_grades_1_to_3_may_be_asked(grade: int) -> None:
    check_grade(grade, nodes=1, auto_approve=True)


@pytest.mark.requirement("GRD-04")
def test_grade_4_is_open_where_two_organisations_approve_and_several_nodes_compute() -> None:
    check_grade(4, nodes=2, auto_approve=False)


@pytest.mark.requirement("GRD-04")
@pytest.mark.parametrize(("nodes", "auto_approve"), [(1, False), (3, True)])
def test_grade_4_is_refused_else(nodes: int, auto_approve: bool) -> None:
    with pytest.raises(Problem) as caught:
        check_grade(4, nodes, auto_approve=auto_approve)
    assert caught.value.code == "grade_denied"


@pytest.mark.requirement("GRD-06")
def test_an_operator_approves_each_plan_on_grade_3_unless_that_was_waived() -> None:
    assert needs_approval(3, auto_approve=False)
    assert not needs_approval(3, auto_approve=True)
    assert not needs_approval(2, auto_approve=False)
