"""What a grade asks for."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem

from gateway.governance.grades import check_grade, needs_approval


@pytest.mark.parametrize("grade", [1, 2, 3])
def test_grades_1_to_3_may_be_asked(grade: int) -> None:
    check_grade(grade)


def test_grade_4_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        check_grade(4)
    assert caught.value.code == "grade_denied"


def test_an_operator_approves_each_plan_on_grade_3_unless_that_was_waived() -> None:
    assert needs_approval(3, auto_approve=False)
    assert not needs_approval(3, auto_approve=True)
    assert not needs_approval(2, auto_approve=False)
