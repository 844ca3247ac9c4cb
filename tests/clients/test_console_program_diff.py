"""A program beside the one approved before, as the Decision page has it: every change is there, and nothing hides."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.job_pb2 import JOB_STATE_SUCCEEDED, JOB_STATE_WAITING_FOR_APPROVAL, ApprovedProgram, Decision, Job
from yingbi.api.v1.plan_pb2 import Plan, Program
from yingbi_dashboard import catalogue
from yingbi_dashboard.program_diff import MOST_LINES, MOST_SHOWN, Comparison, comparison_of, diff_lines

BEFORE = b"def run(tables):\n    return [tables['visits']['pain'].mean()]\n"
NOW = b"def run(tables):\n    pain = tables['visits']['pain']\n    return [pain.max()]\n"


def decision(now: bytes, before: bytes | None, *, shows: bool = True, showed: bool = True) -> Decision:
    plan = Plan(program=Program(sha256=hashlib.sha256(now).digest()))
    job = Job(job="job-2", state=JOB_STATE_WAITING_FOR_APPROVAL, plan=plan.SerializeToString())
    found = Decision(job=job, kind="program")
    if shows:
        found.job.source = now
    if before is not None:
        earlier = ApprovedProgram(job="job-1", sha256=hashlib.sha256(before).digest(), source=before if showed else b"")
        found.approved_program.CopyFrom(earlier)
    return found


def compared(now: bytes, before: bytes | None, *, shows: bool = True, showed: bool = True) -> Comparison:
    found = comparison_of(decision(now, before, shows=shows, showed=showed))
    assert found is not None
    assert found.says in catalogue.messages("en")
    return found


def test_lines_that_are_new_or_gone_say_so_by_a_sign() -> None:
    found = compared(NOW, BEFORE)
    assert (found.says, found.job, found.left_out) == ("diff.differs", "job-1", 0)
    assert [(line.kind, line.text) for line in found.lines] == [
        ("place", "@@ -1,3 +1,4 @@"),
        ("same", " def run(tables):"),
        ("removed", "-    return [tables['visits']['pain'].mean()]"),
        ("added", "+    pain = tables['visits']['pain']"),
        ("added", "+    return [pain.max()]"),
        ("same", " "),
    ]


def test_the_same_code_is_told_by_its_hash_also_where_nobody_is_shown_it() -> None:
    assert compared(NOW, NOW).says == "diff.same"
    assert compared(NOW, NOW, shows=False, showed=False).says == "diff.same"


def test_what_cannot_be_compared_is_said() -> None:
    assert compared(NOW, None).says == "diff.none"
    assert compared(NOW, BEFORE, shows=False).says == "diff.not_shown"
    assert compared(NOW, BEFORE, showed=False).says == "diff.earlier_not_shown"
    assert compared(b"\xef\xbb\xbf" + NOW, NOW).says == "diff.reads_the_same"


def test_a_gateway_that_shows_another_source_is_found_out() -> None:
    """Either would have somebody approve what they did not read."""
    of_now, of_before = decision(NOW, BEFORE), decision(NOW, BEFORE)
    of_now.job.source += b"#"
    of_before.approved_program.source += b"#"
    for lying in (of_now, of_before):
        found = comparison_of(lying)
        assert found is not None
        assert "not that of the program" in found.problem
        assert found.lines == ()


def test_only_a_program_that_waits_is_compared() -> None:
    ended = decision(NOW, BEFORE)
    ended.job.state = JOB_STATE_SUCCEEDED
    assert comparison_of(ended) is None
    query = decision(NOW, None)
    query.job.plan = Plan(epsilon=1).SerializeToString()
    assert comparison_of(query) is None


@pytest.mark.parametrize("hidden", ["\u202e", "\x1b[2K", "\r", "\u2028", "\x0c"])
def test_marks_that_hide_or_reorder_text_are_shown_by_their_numbers(hidden: str) -> None:
    """And none of them ends a line, after which a sign at its beginning would be the program's own."""
    lines = list(diff_lines("a = 1", f"a = 1{hidden}+ b"))
    assert [line.kind for line in lines] == ["place", "removed", "added"]
    assert f"\\u{{{ord(hidden[0]):x}}}" in lines[-1].text
    assert hidden[0] not in lines[-1].text


def test_a_line_of_the_program_is_never_taken_for_a_sign_of_the_diff() -> None:
    lines = list(diff_lines("-- a\n@@ b", "++ a\n@@ b"))
    assert [(line.kind, line.text) for line in lines[1:]] == [
        ("removed", "--- a"),
        ("added", "+++ a"),
        ("same", " @@ b"),
    ]


def test_a_difference_that_is_long_says_how_much_is_left_out() -> None:
    now = b"\n".join(b"number_%05d = 1" % number for number in range(MOST_LINES - 1))
    shown = [compared(now, BEFORE), compared(b"y = '" + b"a" * MOST_SHOWN + b"'\n" + NOW, BEFORE)]
    for found in shown:
        assert found.left_out > 0
        assert sum(len(line.text) + 1 for line in found.lines) <= MOST_SHOWN
    assert compared(b"\n" * MOST_LINES, BEFORE).says == "diff.too_long"


LINES = st.lists(st.sampled_from(["a", "b", "", "+c", "-d"]), max_size=12).map("\n".join)


@given(LINES, LINES)
def test_what_is_gone_and_what_is_new_make_the_one_of_the_other(before: str, now: str) -> None:
    """Where every line is within reach of a change; the diff of equal texts is empty."""
    lines = list(diff_lines(before, now))
    added = [line.text[1:] for line in lines if line.kind == "added"]
    removed = [line.text[1:] for line in lines if line.kind == "removed"]
    kept = sorted(before.split("\n"))
    for text in removed:
        kept.remove(text)
    assert sorted([*kept, *added]) == sorted(now.split("\n"))
    assert bool(lines) == (before != now)
