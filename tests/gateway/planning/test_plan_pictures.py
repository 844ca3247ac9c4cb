"""The console's picture of a plan: every plan has one, with the numbers that the enclaves' own arithmetic has."""

from __future__ import annotations

import math
from functools import partial

import pytest
from yingbi.api.v1.plan_pb2 import Plan
from yingbi_dashboard import catalogue, plan_picture

from enclave_sim.plan.sensitivity import cells, cells_of, delta2_squared
from tests.gateway.planning.conftest import Planner
from tests.gateway.planning.reference_answers import question_of
from tests.gateway.planning.sql_reference_queries import QUERIES


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    """Of examples of the SQL reference: some from each of its parts."""
    return [question_of(query.example).plan for query in QUERIES[::6]]


def sentences(plan: Plan, language: str = "en") -> str:
    boxes = plan_picture.boxes_of(plan.SerializeToString())
    assert len(boxes) == 6
    return "\n".join(catalogue.say(language, line.key, **line.parts) for box in boxes for line in box.lines)


@pytest.mark.parametrize("language", list(catalogue.LANGUAGES))
def test_every_plan_has_a_picture_and_nothing_of_it_is_unknown(plans: list[Plan], language: str) -> None:
    for plan in plans:
        assert plan_picture.UNKNOWN not in sentences(plan, language)
        boxes = plan_picture.boxes_of(plan.SerializeToString())
        drawn = plan_picture.picture(boxes, partial(catalogue.say, language))
        bottoms = [placed.top + placed.height for placed in drawn.boxes]
        assert all(top.top > bottom for top, bottom in zip(drawn.boxes[1:], bottoms, strict=False))
        assert bottoms[-1] < drawn.height


def test_the_sensitivity_that_is_shown_is_the_enclaves_own(plans: list[Plan]) -> None:
    shown = 0
    for plan in plans:
        for statistic in plan.statistics:
            exact = math.sqrt(delta2_squared(plan, statistic)) * 2.0**-plan.fraction_bits
            # The price is rounded up to whole units, and so is what is read off it.
            assert plan_picture.sensitivity(plan, statistic) == pytest.approx(exact, rel=1e-4)
            assert f"{cells_of(plan, statistic):,} cells" in sentences(plan)
            shown += 1
        assert f"{cells(plan):,} numbers" in sentences(plan)
    assert shown > len(plans)


def test_a_picture_says_tables_conditions_bounds_and_groups(planned: Planner) -> None:
    said = sentences(
        planned("SELECT Test, AVG(value) FROM labs JOIN patients USING (id) WHERE age >= 40 AND fasting GROUP BY Test")
    )
    for words in (
        "Table labs",
        "Table patients",
        "age >= 40",
        "By Test: 3 values",
    ):
        assert words in said, said
    assert "300" in said


def test_marks_that_would_hide_text_are_shown_by_their_numbers(planned: Planner) -> None:
    said = sentences(planned("SELECT COUNT(*) FROM labs WHERE note = 'a\u202eb''c'"))
    assert "\u202e" not in said
    assert "'a\\u{202e}b''c'" in said


def test_what_cannot_be_read_has_no_picture() -> None:
    assert plan_picture.boxes_of(Plan(language_version=999).SerializeToString()) == ()


def test_a_line_is_cut_where_the_picture_ends() -> None:
    assert plan_picture.fit("x" * plan_picture.MOST_MARKS) == "x" * plan_picture.MOST_MARKS
    for mark, width in (("x", 1), ("表", 2)):
        cut = plan_picture.fit(mark * 200)
        assert cut.endswith("…")
        assert width * len(cut) <= plan_picture.MOST_MARKS + width
