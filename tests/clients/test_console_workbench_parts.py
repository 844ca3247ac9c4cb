"""What the workbench makes of a question and an answer, without any browser."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import Column, Table
from yingbi.api.problem import Problem
from yingbi.api.v1.audit_pb2 import AuditRow, ListAuditResponse
from yingbi_dashboard.audit_page import MOST_ROWS, Filter, find, shown
from yingbi_dashboard.charts import LABEL, WIDTH, charts_of
from yingbi_dashboard.workbench_page import Asked, python_of

finite = st.floats(-1e9, 1e9)


@given(st.text() | st.text(alphabet="\"\\'\n SELECT-"), st.text(max_size=5), st.floats(1e-6, 100.0))
def test_the_copied_program_asks_exactly_what_was_previewed(sql: str, agreement: str, epsilon: float) -> None:
    program = ast.parse(python_of(Asked("visits", sql, epsilon, agreement)))
    calls = [node for node in ast.walk(program) if isinstance(node, ast.Call)]
    named = {node.func.attr: node for node in calls if isinstance(node.func, ast.Attribute)}
    assert ast.literal_eval(named["sql"].args[0]) == sql
    assert {word.arg: ast.literal_eval(word.value) for word in named["run"].keywords} == {"epsilon": epsilon}
    given_words = {word.arg: ast.literal_eval(word.value) for word in named["sql"].keywords}
    assert given_words == ({"agreement": agreement} if agreement else {})


@pytest.mark.parametrize("epsilon", ["", "much", "nan", "inf"])
def test_a_price_that_is_no_number_is_refused(epsilon: str) -> None:
    with pytest.raises(Problem, match="must be a number"):
        Asked.of({"epsilon": epsilon})


def test_line_ends_of_a_form_are_those_that_were_written() -> None:
    """Else positions in errors, and the plan's own text, would be of another text."""
    assert Asked.of({"sql": "SELECT 1\r\nFROM t", "epsilon": "1"}).sql == "SELECT 1\nFROM t"


@given(st.lists(st.tuples(finite, st.none() | st.floats(0, 1e9)), min_size=1, max_size=50))
def test_bars_and_their_errors_stay_within_the_picture_and_around_the_value(
    cells: list[tuple[float, float | None]],
) -> None:
    columns = (Column("k", "key"), Column("n", "mean"))
    rows = tuple(("a", value) for value, _ in cells)
    errors = tuple((None, error) for _, error in cells)
    (chart,) = charts_of(Table(columns, rows, errors, tuple((None, None) for _ in cells)))
    for bar, (value, error) in zip(chart.bars, cells, strict=False):
        assert LABEL <= bar.x <= bar.x + bar.width <= WIDTH
        assert (bar.error is None) == (error is None)
        if bar.error is not None:
            end = bar.x + bar.width if value >= 0 else bar.x
            assert LABEL <= bar.error[0] <= bar.error[1] <= WIDTH
            assert bar.error[0] - 0.2 <= end <= bar.error[1] + 0.2


class Record:
    """A gateway with so many rows, each about its own number."""

    def __init__(self, count: int) -> None:
        self.rows = [
            AuditRow(number=n, subject=f"job-{n}", person="ada", details="not JSON") for n in range(1, count + 1)
        ]

    def list_audit(self, after: int) -> ListAuditResponse:
        return ListAuditResponse(rows=self.rows[after : after + 500], last=len(self.rows))


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 1_234, 5_600])
@pytest.mark.parametrize("wanted", [Filter(), Filter(subject="7"), Filter(person="nobody")])
def test_pages_of_the_record_leave_no_row_out_and_show_none_twice(count: int, wanted: Filter) -> None:
    record, seen, before = Record(count), list[int](), None
    while True:
        found = find(record, wanted, before)  # type: ignore[arg-type]
        assert len(found.rows) <= MOST_ROWS
        seen += [row.number for row in found.rows]
        if found.before <= 1:
            break
        assert before is None or found.before < before
        before = found.before
    assert seen == [row.number for row in reversed(record.rows) if wanted.takes(row)]


def test_a_row_that_was_edited_into_nonsense_is_shown_all_the_same() -> None:
    row = shown(AuditRow(number=1, at_millis=-(2**62), details="{", reason="a\u202eb"))
    assert row.said == "a\\u{202e}b · {"
