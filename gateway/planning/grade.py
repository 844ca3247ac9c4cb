"""What a dataset's grade allows before any plan is made."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem


def check_grade(grade: int) -> None:
    """Refuse what may not be asked at all; 1 to 3 may.

    Raises:
        Problem: REFUSED "grade_4".
    """
    if grade == 4:
        raise Problem(
            Kind.REFUSED,
            "grade_4",
            "A dataset of grade 4 cannot be asked.",
            hint="Ask a dataset of grade 1, 2 or 3.",
        )
