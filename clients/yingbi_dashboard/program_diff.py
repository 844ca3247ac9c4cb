"""A program that waits, beside the one that was approved before: a unified diff, as lines of a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import unified_diff

from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import JOB_STATE_WAITING_FOR_APPROVAL, Decision
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.display import shown_source
from yingbi.program_source import program_text

MOST_LINES = 2_000
"""Of either program: to compare longer ones could keep the console busy."""
MOST_SHOWN = 20_000
"""Characters of a difference. The whole source is on the page too."""

_KINDS = {"+": "added", "-": "removed", "@": "place"}


@dataclass(frozen=True)
class DiffLine:
    """A line, which begins with what tells what became of it: "+", "-", " " or "@@".

    `kind` is "added", "removed", "same", or "place": where in both programs the lines that follow are.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """What there is to say of a program and the one that was approved before."""

    says: str
    """The key of the sentence."""
    job: str = ""
    approved: datetime | None = None
    lines: tuple[DiffLine, ...] = ()
    left_out: int = 0
    """Lines of the difference beyond `MOST_SHOWN`."""
    problem: str = ""


def comparison_of(decision: Decision) -> Comparison | None:
    """How the program of a decision differs from the one approved before; None where no program waits.

    That two programs are the same code, their hashes say, also where nobody is shown it.
    """
    plan = Plan.FromString(decision.job.plan)
    if decision.job.state != JOB_STATE_WAITING_FOR_APPROVAL or not plan.HasField("program"):
        return None
    if not decision.HasField("approved_program"):
        return Comparison("diff.none")
    earlier = decision.approved_program
    job, approved = earlier.job, earlier.approved.ToDatetime(tzinfo=UTC)
    if earlier.sha256 == plan.program.sha256:
        return Comparison("diff.same", job, approved)
    try:
        now = program_text(decision.job.job, decision.job.source, plan.program.sha256)
        before = program_text(job, earlier.source, earlier.sha256)
    except Problem as problem:
        return Comparison("diff.differs", job, approved, problem=problem.message)
    return _compared(job, approved, before, now)


def _compared(job: str, approved: datetime, before: str | None, now: str | None) -> Comparison:
    """Of two programs that are not the same code, as far as both are shown."""
    if now is None or before is None:
        return Comparison("diff.not_shown" if now is None else "diff.earlier_not_shown", job, approved)
    if max(now.count("\n"), before.count("\n")) >= MOST_LINES:
        return Comparison("diff.too_long", job, approved)
    lines = list(diff_lines(before, now))
    shown = _fitting(lines)
    # Other bytes, such as a mark of their encoding, can read the same.
    says = "diff.differs" if lines else "diff.reads_the_same"
    return Comparison(says, job, approved, tuple(lines[:shown]), len(lines) - shown)


def diff_lines(before: str, now: str) -> Iterator[DiffLine]:
    """The unified diff of two texts, without its two lines of names; marks that hide text are shown by their numbers.

    Lines end where "\\n" stands and nowhere else: whatever else some programs take for the end of a line is shown.
    """
    found = unified_diff(before.split("\n"), now.split("\n"), lineterm="")
    for line in list(found)[2:]:
        yield DiffLine(_KINDS.get(line[0], "same"), shown_source(line))


def _fitting(lines: list[DiffLine]) -> int:
    """How many of the first lines are short enough together."""
    room = MOST_SHOWN
    for number, line in enumerate(lines):
        room -= len(line.text) + 1
        if room < 0:
            return number
    return len(lines)
