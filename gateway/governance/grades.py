"""What a dataset's grade asks for before a job may run on it. Pure."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem

# From this grade on, an operator approves each plan; from the next on, nothing runs yet.
APPROVAL_FROM_GRADE = 3
DENIED_FROM_GRADE = 4


def check_grade(grade: int) -> None:
    """Raise Problem for a grade that no job may run on."""
    if grade >= DENIED_FROM_GRADE:
        raise Problem(
            Kind.REFUSED,
            "grade_denied",
            f"Data of grade {grade} is not open to queries: two organisations would have to approve each plan.",
            hint="datasets of grade 1 to 3 can be queried",
        )


def needs_approval(grade: int, *, auto_approve: bool) -> bool:
    """Whether an operator has to approve the plan first."""
    return grade >= APPROVAL_FROM_GRADE and not auto_approve
