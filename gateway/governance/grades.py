"""What a dataset's grade asks for before a job may run on it. Pure.

Keeps: GRD-04, GRD-06
"""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem

# From this grade on, each plan is approved: see `decisions.MATRIX` by whom. From the next on, by two organisations, and
# for several providers' data only.
APPROVAL_FROM_GRADE = 3
SEVERAL_FROM_GRADE = 4
LEAST_NODES = 2


def check_grade(grade: int, nodes: int, *, auto_approve: bool) -> None:
    """Raise Problem for a grade that no job may run on, in a zone of so many provider nodes."""
    if grade < SEVERAL_FROM_GRADE:
        return
    if auto_approve:
        raise Problem(
            Kind.REFUSED,
            "grade_denied",
            f"Data of grade {grade} is not open to queries here: two organisations approve each plan, and this zone was"
            " made with --auto-approve.",
            hint="datasets of grade 1 to 3 can be queried; for grade 4, make the zone without --auto-approve",
        )
    if nodes < LEAST_NODES:
        raise Problem(
            Kind.REFUSED,
            "grade_denied",
            f"Data of grade {grade} is open to queries over {LEAST_NODES} provider nodes or more; it is at {nodes}.",
            hint="datasets of grade 1 to 3 can be queried; for grade 4, make a zone with more nodes",
        )


def needs_approval(grade: int, *, auto_approve: bool) -> bool:
    """Whether somebody has to approve the plan first."""
    return grade >= APPROVAL_FROM_GRADE and not auto_approve
