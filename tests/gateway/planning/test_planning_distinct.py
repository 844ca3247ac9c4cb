"""COUNT(DISTINCT x): planned as units by value, whose cells are counted after the opening."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Measure, Plan

from enclave_sim.plan.sensitivity import groups, total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.plan.values import to_python
from gateway.planning.distinct import FALSE_VALUES, threshold
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query, plan_question
from gateway.planning.stages import FirstStage

from .conftest import VERSION, Planner, nafld, refusal

TESTS = "SELECT COUNT(DISTINCT test) AS n FROM labs"


def measured(plan: Plan, output: int = 0) -> Measure:
    return plan.outputs[output].measure


def keys(plan: Plan) -> list[str]:
    return [key.expression.column.name for key in plan.group_by]


def rows_by(plan: Plan) -> list[list[int]]:
    return [list(each.keys) for each in plan.grouping_sets]


class TestThePlan:
    def test_has_the_column_as_a_key_that_makes_no_rows(
        self, planned: Planner, declaration: DatasetDeclaration
    ) -> None:
        plan = planned(TESTS)
        assert (keys(plan), rows_by(plan)) == (["Test"], [[]])
        assert [to_python(value) for value in plan.group_by[0].values] == ["hdl", "chol", "smoke"]
        assert [statistic.WhichOneof("kind") for statistic in plan.statistics] == ["distinct_units"]
        assert measured(plan).distinct_values.statistic == 0
        check_plan(plan, declaration, dataset_version=VERSION)

    def test_has_it_after_the_keys_that_make_rows(self, planned: Planner) -> None:
        plan = planned("SELECT fasting, COUNT(DISTINCT test) FROM labs GROUP BY fasting")
        assert (keys(plan), rows_by(plan)) == (["fasting", "Test"], [[0]])
        assert plan.outputs[0].key == 0

    @pytest.mark.parametrize(
        ("counted", "grouped"),
        [
            (TESTS, "SELECT test, COUNT(DISTINCT id) FROM labs GROUP BY test"),
            (
                "SELECT fasting, COUNT(DISTINCT MONTH(seen)) FILTER (WHERE value > 3) FROM labs GROUP BY fasting",
                "SELECT COUNT(DISTINCT id) FILTER (WHERE value > 3) FROM labs GROUP BY fasting, MONTH(seen)",
            ),
        ],
    )
    def test_releases_what_counting_units_by_value_releases(self, planned: Planner, counted: str, grouped: str) -> None:
        """Its privacy rests on this: the same cells with the same clipping and noise, and post-processing of them."""
        plan, known = planned(counted), planned(grouped)
        assert list(plan.statistics) == list(known.statistics)
        assert (list(plan.group_by), plan.clipping) == (list(known.group_by), known.clipping)
        assert total_rho_units(plan) == total_rho_units(known)

    def test_a_filter_makes_a_statistic_of_its_own(self, planned: Planner) -> None:
        plan = planned("SELECT COUNT(DISTINCT test) AS n, COUNT(DISTINCT test) FILTER (WHERE fasting) AS m FROM labs")
        assert [statistic.HasField("filter") for statistic in plan.statistics] == [False, True]
        assert [measured(plan, output).distinct_values.statistic for output in (0, 1)] == [0, 1]

    def test_arithmetic_having_and_order_share_its_statistic(self, planned: Planner) -> None:
        plan = planned(
            "SELECT fasting, COUNT(DISTINCT test) / 3 AS share FROM labs GROUP BY fasting"
            " HAVING COUNT(DISTINCT test) > 1 ORDER BY COUNT(DISTINCT test) DESC"
        )
        assert len(plan.statistics) == 1
        having = plan.presentation.having.operation.operands[0].measure.distinct_values
        assert having.threshold == plan.presentation.order_by[0].formula.measure.distinct_values.threshold >= 2

    @pytest.mark.parametrize(
        ("expression", "count"), [("days % 7", 13), ("value > 100", 2), ("FLOOR(value / 100)", 4), ("UPPER(test)", 3)]
    )
    def test_counts_the_values_of_any_expression_that_could_be_a_key(
        self, planned: Planner, expression: str, count: int
    ) -> None:
        assert groups(planned(f"SELECT COUNT(DISTINCT {expression}) FROM labs")) == count

    def test_where_leaves_fewer_values(self, planned: Planner) -> None:
        assert groups(planned("SELECT COUNT(DISTINCT days) FROM labs WHERE days BETWEEN 1 AND 30")) == 30


class TestTheThreshold:
    def test_follows_from_the_noise_and_the_cells_of_the_whole_answer(self, planned: Planner) -> None:
        plan = planned("SELECT fasting, COUNT(DISTINCT test) FROM labs GROUP BY fasting")
        error = math.sqrt(3) * plan.statistics[0].sigma / 2**plan.fraction_bits
        assert measured(plan, 1).distinct_values.threshold == threshold(error, 6)

    @given(st.floats(1e-5, 1e4), st.integers(1, 200_000))
    def test_is_the_least_number_that_noise_seldom_takes_one_unit_to(self, deviation: float, cells: int) -> None:
        least, noise = threshold(deviation, cells), NormalDist(sigma=deviation)
        assert least >= 2
        assert least.is_integer()
        allowed = FALSE_VALUES * (1 + 1e-6)
        assert cells * noise.cdf(1 - least) <= allowed
        assert least == 2 or cells * noise.cdf(2 - least) >= FALSE_VALUES * (1 - 1e-6)

    def test_is_lower_where_more_is_paid(self, declaration: DatasetDeclaration) -> None:
        found = [
            measured(plan_query(TESTS, declaration, dataset_version=VERSION, parties=3, epsilon=epsilon, delta=1e-7))
            for epsilon in (0.5, 1.0, 10.0)
        ]
        thresholds = [each.distinct_values.threshold for each in found]
        assert thresholds == sorted(thresholds, reverse=True)
        assert thresholds[0] > 2 * thresholds[2]


class TestNotes:
    def test_say_what_is_counted_and_nothing_of_totals(self, planned: Planner) -> None:
        plan = planned("SELECT fasting, COUNT(DISTINCT test) AS n FROM labs GROUP BY fasting")
        enough = f"{measured(plan, 1).distinct_values.threshold:.0f}"
        assert clipping_notes(plan, nafld()) == [
            f"COUNT(DISTINCT Test) is the number of values that at least {enough} units have, as far as noise lets it "
            "be told. NULL, values that are not listed, and those that fewer units have are not counted.",
            "Rows whose fasting is NULL or not a listed value are in no group.",
        ]

    def test_say_where_a_unit_counts_less(self, planned: Planner) -> None:
        notes = clipping_notes(planned("SELECT COUNT(DISTINCT days) FROM labs"), nafld())
        assert "A unit with more than 60 values, over all groups, counts as less than 1 for each." in notes


class TestAColumnThatNobodyDeclared:
    SQL = "SELECT fasting, COUNT(DISTINCT note) AS n FROM labs GROUP BY fasting"

    def ask(self, found: FirstStage | None = None) -> tuple[Plan, Plan | None]:
        question = plan_question(
            self.SQL, nafld(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7, first_stage=found
        )
        check_plan(question.plan, nafld(), dataset_version=VERSION)
        return question.plan, question.outlook

    def test_has_its_values_selected_first(self) -> None:
        plan, outlook = self.ask()
        assert [key.column.name for key in plan.key_selection.keys] == ["note"]
        assert outlook is not None
        notes = clipping_notes(outlook, nafld())
        assert any("number of the values found that enough units have" in note for note in notes)

    def test_is_then_counted_among_the_values_found(self) -> None:
        first, _ = self.ask()
        norms = tuple([0] * (len(first.statistics[0].unit_norms.edges) + 1))
        plan, _ = self.ask(FirstStage((("a", "b", "c"),), norms))
        assert (keys(plan), rows_by(plan), groups(plan)) == (["fasting", "note"], [[0]], 6)
        assert measured(plan, 1).distinct_values.threshold > 2


REFUSED = [
    ("SELECT COUNT(DISTINCT test), COUNT(*) FROM labs", "not_supported", "1:23", "query of its own"),
    ("SELECT COUNT(*), COUNT(DISTINCT test) FROM labs", "not_supported", "1:33", "query of its own"),
    ("SELECT COUNT(DISTINCT test), COUNT(DISTINCT id) FROM labs", "not_supported", "1:23", "query of its own"),
    ("SELECT COUNT(DISTINCT test) / COUNT(*) FROM labs", "not_supported", "1:23", "query of its own"),
    ("SELECT COUNT(DISTINCT test) FROM labs HAVING COUNT(*) > 9", "not_supported", "1:23", "query of its own"),
    ("SELECT COUNT(DISTINCT test) FROM labs ORDER BY AVG(value)", "not_supported", "1:23", "query of its own"),
    ("SELECT COUNT(DISTINCT test), COUNT(DISTINCT fasting) FROM labs", "not_supported", "1:45", "DISTINCT fasting"),
    ("SELECT test, COUNT(DISTINCT test) FROM labs GROUP BY test", "not_supported", "1:29", "out of GROUP BY"),
    ("SELECT COUNT(DISTINCT test) FROM labs GROUP BY CUBE (fasting)", "not_supported", "1:23", "each set of keys"),
    ("SELECT COUNT(DISTINCT test, fasting) FROM labs", "not_supported", "1:23", "one column"),
    ("SELECT COUNT(DISTINCT *) FROM labs", "not_supported", "1:23", "one column"),
    ("SELECT COUNT(DISTINCT SUM(days)) FROM labs", "not_supported", "1:23", "Aggregate each unit's rows"),
    ("SELECT COUNT(DISTINCT value) FROM labs", "undeclared_group_key", "1:23", "COUNT(DISTINCT FLOOR(value / 10))"),
    ("SELECT COUNT(DISTINCT LN(value)) FROM labs", "undeclared_group_key", "1:23", "COUNT(DISTINCT "),
    ("SELECT COUNT(DISTINCT days * weeks % 9 + weeks) FROM labs WHERE weeks BETWEEN 0 AND 1000000",
     "too_many_groups", "1:23", "COUNT(DISTINCT FLOOR("),
    ("SELECT COUNT(DISTINCT at) FROM labs WHERE at BETWEEN '2024-01-01 00:00:00' AND '2024-02-01 00:00:00'",
     "too_many_groups", "1:23", "COUNT(DISTINCT CAST(at AS DATE))"),
    ("SELECT days, COUNT(DISTINCT days + 1) FROM labs GROUP BY days", "too_many_groups", "1:29", "fewer"),
    ("SELECT COUNT(DISTINCT CASE WHEN fasting THEN id END) FROM labs", "privacy_unit", "1:46", "COUNT(DISTINCT id)"),
    ("SELECT APPROX_COUNT_DISTINCT(test) FROM labs", "not_supported", "1:8", "Write COUNT(DISTINCT x)"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "position", "hint"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_cannot_be_counted_is_refused_with_what_can(
    planned: Planner, sql: str, code: str, position: str | None, hint: str
) -> None:
    problem = refusal(planned, sql)
    assert (problem.kind, problem.code) == (Kind.REFUSED, code)
    assert position is None or str(problem.position) == position
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(DISTINCT value) FROM labs",
        "SELECT COUNT(DISTINCT value / 1000) FROM labs",
        "SELECT COUNT(DISTINCT age) FROM patients",
        "SELECT COUNT(DISTINCT at) FROM labs WHERE at BETWEEN '2024-01-01 00:00:00' AND '2024-02-01 00:00:00'",
        "SELECT COUNT(DISTINCT CAST(weeks AS DOUBLE)) FROM labs",
    ],
)
def test_what_a_hint_says_can_be_asked(planned: Planner, sql: str) -> None:
    hint = refusal(planned, sql).hint or ""
    counted = hint.partition("as ")[2].removesuffix(".")
    planned(sql.replace(sql[7 : sql.index(" FROM")], counted))


def test_units_at_several_providers_are_not_counted_by_value(declaration: DatasetDeclaration) -> None:
    shared = nafld()
    shared.units_disjoint = False

    def ask(parties: int) -> Plan:
        return plan_query(TESTS, shared, dataset_version=VERSION, parties=parties, epsilon=1.0, delta=1e-7)

    with pytest.raises(Problem) as caught:
        ask(3)
    assert (caught.value.code, str(caught.value.position)) == ("units_not_disjoint", "1:23")
    assert "GROUP BY Test" in (caught.value.hint or "")
    assert groups(ask(1)) == 3
