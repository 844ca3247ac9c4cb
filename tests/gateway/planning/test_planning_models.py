"""From a model's formula to a plan that every enclave accepts, or to a reason why not, and where."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, Plan, Statistic

from enclave_sim.plan.sensitivity import is_first_stage, total_rho_units
from enclave_sim.plan.validation import check_plan
from gateway.planning.model_formulas import Factor, read_formula
from gateway.planning.query import Question
from gateway.planning.stages import FirstStage
from gateway.planning.training import plan_training, training_notes, words_of

from .conftest import VERSION
from .reference_clinic import clinic

LINEAR = Fit.MODEL_LINEAR_REGRESSION


def question(formula: str, *, epsilon: float = 1.0, auto: bool = False, **asked: object) -> Question:
    query = TrainQuery(model=LINEAR, formula=formula, **asked)  # type: ignore[arg-type]
    return plan_training(
        query, clinic(), dataset_version=VERSION, parties=3, epsilon=epsilon, delta=1e-7, auto_bounds=auto
    )


def plan_of(formula: str, **asked: object) -> Plan:
    return question(formula, **asked).plan  # type: ignore[arg-type]


def names(formula: str, **asked: object) -> list[str]:
    return [column.name for column in plan_of(formula, **asked).fit.columns]


def problem(formula: str, **asked: object) -> Problem:
    with pytest.raises(Problem) as caught:
        question(formula, **asked)  # type: ignore[arg-type]
    return caught.value


def trouble(text: str) -> Problem | None:
    """The problem with a formula's text, if it has one."""
    try:
        read_formula(text)
    except Problem as found:
        return found
    return None


def measured(formula: str, **asked: object) -> list[str]:
    """The moments that have noise of their own, without their numbers."""
    return [output.name.rpartition(" (")[0] or output.name for output in plan_of(formula, **asked).outputs]


# What a formula says.


@pytest.mark.parametrize(
    ("text", "terms", "intercept"),
    [
        ("y ~ a", ["a"], True),
        ("y~a+b", ["a", "b"], True),
        ("y ~ 1", [], True),
        ("y ~ a - 1", ["a"], False),
        ("y ~ 0 + a", ["a"], False),
        ("y ~ a + a", ["a"], True),
        ("y ~ a:b + b:a", ["a:b"], True),
        ("y ~ a * b", ["a", "b", "a:b"], True),
        ("y ~ a * b * c", ["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"], True),
        ("y ~ a * b:c", ["a", "b:c", "a:b:c"], True),
        ("y ~ C( a ) + a", ["C(a)", "a"], True),
        ("y ~ I(a + b) + (a - b)", ["(a + b)", "(a - b)"], True),
        ("y ~ LN(a) + 'x + y'", ["LN(a)", "'x + y'"], True),
        ('y ~ "a ~ b" + t.c', ['"a ~ b"', "t.c"], True),
        ("y ~\n a +\n b", ["a", "b"], True),
    ],
)
def test_a_formula_has_different_terms_and_a_constant_unless_it_is_taken_away(
    text: str, terms: list[str], intercept: bool
) -> None:
    read = read_formula(text)
    assert [":".join(factor.name for factor in term) for term in read.terms] == terms
    assert (read.response.text, read.intercept) == ("y", intercept)


def test_a_factor_knows_where_it_stands() -> None:
    text = "y ~ a + C( b ) : I(c)"
    places = {factor.text: text[factor.start :] for factor in read_formula(text).factors}
    assert {name: rest[: len(name)] for name, rest in places.items()} == {name: name for name in places}
    assert list(places) == ["y", "a", "b", "(c)"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "1:1"),
        ("y", "1:2"),
        ("y ~", "1:4"),
        ("~ a", "1:1"),
        ("y ~ a b ~ c", "1:9"),
        ("y ~ a +", "1:8"),
        ("y ~ a + + b", "1:9"),
        ("y ~ (a + b", "1:11"),
        ("y ~ a)", "1:6"),
        ("y ~ a:1", None),
        ("y ~ 1:a", "1:5"),
        ("y ~ 'a", "1:5"),
        ("y ~ C()", "1:5"),
        ("y ~ a\n  + b - a", "2:9"),
        ("y ~ .", "1:5"),
        ("y ~ " + " + ".join(f"x{i}" for i in range(70)), None),
        ("y ~ " + "a" * 6000, "1:1"),
    ],
)
def test_what_is_no_formula_is_refused_at_its_place(text: str, place: str | None) -> None:
    # What the reader takes for a variable may be no expression of its own.
    found = trouble(text) or problem(text)
    assert found.field == "formula"
    assert place in (None, found.position)
    assert found.hint


@settings(max_examples=300, deadline=None)
@given(st.text("ab1~+-*:()'\" \n.,CI", max_size=24))
def test_any_text_is_a_formula_or_a_problem_within_it(text: str) -> None:
    found = trouble(text)
    if found is None:
        assert all(text[each.start :].startswith(each.text) for each in read_formula(text).factors)
        return
    assert found.position is not None
    line, column = map(int, found.position.split(":"))
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    assert 1 <= column <= len(lines[line - 1]) + 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), st.booleans())
def test_sums_of_names_are_read_as_they_were_written(terms: list[str], intercept: bool) -> None:
    read = read_formula("y ~ " + " + ".join(terms) + ("" if intercept else " - 1"))
    assert read.terms == tuple((Factor(name),) for name in dict.fromkeys(terms))
    assert read.intercept is intercept


# What its variables mean.


def test_numbers_are_scaled_by_declared_bounds_around_their_middle() -> None:
    stay, pain = plan_of("pain ~ stay").fit.columns
    assert (stay.centre, stay.half_range, stay.lower, stay.upper) == (15, 15, -1, 1)
    assert (pain.centre, pain.half_range) == (5, 5)


def test_without_a_constant_0_stays_0() -> None:
    (age, pain) = plan_of("pain ~ age - 1").fit.columns
    assert (age.centre, age.half_range, age.lower, age.upper) == (0, 100, 0.18, 1)
    assert pain.centre == 0


def test_a_category_leaves_out_its_first_value_where_a_constant_is_there() -> None:
    assert names("pain ~ clinic") == ["clinic[south]", "pain"]
    assert names("pain ~ clinic - 1") == ["clinic[north]", "clinic[south]", "pain"]
    assert names("pain ~ clinic:urgent") == ["clinic[north]:urgent", "clinic[south]:urgent", "pain"]
    assert names("pain ~ urgent + clinic:urgent") == ["urgent", "clinic[south]:urgent", "pain"]


def test_whole_numbers_are_a_category_where_it_is_said() -> None:
    within = "stay IN (1, 2, 5)"
    assert names("pain ~ C(stay)", where=within) == ["C(stay)[2]", "C(stay)[5]", "pain"]
    assert names("pain ~ stay", where=within) == ["stay", "pain"]


def test_expressions_are_variables_with_the_bounds_that_follow() -> None:
    twice = plan_of("pain ~ (stay * 2 + 1)").fit.columns[0]
    assert (twice.name, twice.centre, twice.half_range) == ("(stay * 2 + 1)", 31, 30)


def test_tables_are_found_by_the_names_in_the_formula() -> None:
    assert plan_of("pain ~ stay").relation.projection.input.HasField("selection")
    joined = str(plan_of("pain ~ age").relation)
    assert "unit_join" in joined
    assert '"visits"' in joined
    assert '"people"' in joined
    assert "unit_join" not in str(plan_of("age ~ sex").relation)


# What is measured.


def test_what_follows_from_other_moments_is_not_measured() -> None:
    """A bool's square is 1 once it is -1 or 1; so is that of a category with two values."""
    assert measured("pain ~ urgent") == ["units", "urgent", "pain", "urgent * pain", "pain * pain"]
    assert "clinic[south] * clinic[south]" not in measured("pain ~ clinic")
    three = measured("pain ~ C(stay)", where="stay IN (1, 2, 5)")
    assert not any("C(stay)[2] * C(stay)" in each for each in three)
    assert len(three) == 1 + 3 + 3


def test_all_moments_cost_together_what_epsilon_buys() -> None:
    plan = plan_of("pain ~ stay + urgent + clinic", epsilon=2.0)
    bought = zcdp.bought(2.0, 1e-7)[0]
    assert 0.95 * bought < total_rho_units(plan) <= bought
    assert len({statistic.sigma for statistic in plan.statistics}) == 1


def test_every_person_counts_as_one_row_whatever_they_may_have() -> None:
    plan = plan_of("pain ~ stay")
    assert (plan.clipping.max_rows, plan.clipping.max_groups, plan.clipping.joint_norm) == (1, 1, 0)


def test_rows_without_a_variable_are_left_out_by_the_plan() -> None:
    condition = str(plan_of("pain ~ stay + clinic").relation.projection.input.selection.condition)
    assert condition.count("null_test") == 2
    assert "membership" in condition


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["stay", "urgent", "clinic", "age", "sex", "stay:urgent", "clinic:stay", "sex:clinic", "C(sex)"]
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.booleans(),
)
def test_every_plan_is_one_that_enclaves_accept(terms: list[str], intercept: bool, ridge: bool) -> None:
    more: dict[str, object] = {"alpha": 0.5} if ridge else {}
    plan = plan_of(f"pain ~ {' + '.join(terms)}{'' if intercept else ' - 1'}", **more)
    check_plan(plan, clinic(), dataset_version=VERSION)
    assert plan.fit.HasField("alpha") is ridge
    assert training_notes(plan, clinic())


# What is refused, before anything is spent.

REFUSED: dict[str, tuple[str, dict[str, object], str, str, str]] = {
    "no bounds": ("pain ~ stay + weight", {}, "no_bounds", "formula", "1:15"),
    "no values": ("pain ~ stay + C(city)", {}, "undeclared_values", "formula", "1:17"),
    "a text without values": ("pain ~ city", {}, "undeclared_values", "formula", "1:8"),
    "a category of fractions": ("stay ~ C(pain)", {}, "undeclared_values", "formula", "1:10"),
    "a date": ("pain ~ day", {}, "not_numeric", "formula", "1:8"),
    "a category to predict": ("clinic ~ stay", {}, "not_supported", "formula", "1:1"),
    "no such column": ("pain ~ stya", {}, "unknown_column", "formula", "1:8"),
    "no such column of the rows": ("pain ~ age", {"rows": "visits"}, "unknown_column", "formula", "1:8"),
    "the unit": ("pain ~ person", {}, "privacy_unit", "formula", "1:8"),
    "an aggregate": ("pain ~ SUM(stay)", {}, "not_supported", "formula", "1:8"),
    "more than an expression": ("pain ~ stay FROM visits", {}, "formula", "formula", "1:8"),
    "another name": ("pain ~ stay x", {}, "formula", "formula", "1:8"),
    "the response again": ("pain ~ stay + pain", {}, "formula", "formula", "1:1"),
    "nothing at all": ("pain ~ 0", {}, "formula", "formula", "1:1"),
    "too many columns": ("pain ~ C(age)", {}, "too_many_regressors", "formula", "1:1"),
    "a table that is not there": ("pain ~ stay", {"rows": "visit"}, "unknown_table", "rows", "1:1"),
    "a wrong condition": ("pain ~ stay", {"where": "urgent AND stya = 3"}, "unknown_column", "where", "1:12"),
    "a condition that is none": ("pain ~ stay", {"where": "stay"}, "type_mismatch", "where", "1:1"),
    "groups": ("pain ~ stay", {"rows": "visits GROUP BY clinic"}, "not_supported", "rows", "1:17"),
    "a second statement": ("pain ~ stay", {"where": "urgent; SELECT 1"}, "not_supported", "where", "1:9"),
    "a bad ridge": ("pain ~ stay", {"alpha": -1.0}, "alpha", "alpha", ""),
    "no ridge at all": ("pain ~ stay", {"alpha": math.nan}, "alpha", "alpha", ""),
    "bounds of several rows": ("pain ~ stay", {"auto": True}, "not_supported", "formula", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_with_place_and_hint(name: str) -> None:
    formula, asked, code, field, place = REFUSED[name]
    found = problem(formula, **asked)
    assert (found.code, found.field) == (code, field), found.to_json()
    assert not place or found.position == place, found.to_json()
    assert found.hint


def test_a_model_that_is_not_there_yet_is_refused() -> None:
    with pytest.raises(Problem, match="not there yet") as caught:
        plan_training(
            TrainQuery(formula="pain ~ stay"), clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7
        )
    assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "model_not_there")


def test_units_at_several_providers_need_noise_for_all_of_them_and_make_no_pairs() -> None:
    scattered = clinic()
    scattered.units_disjoint = False

    def plan(formula: str) -> Plan:
        asked = TrainQuery(model=LINEAR, formula=formula)
        return plan_training(asked, scattered, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7).plan

    once, thrice = plan_of("pain ~ stay").statistics[0].sigma, plan("pain ~ stay").statistics[0].sigma
    assert abs(thrice - 3 * once) <= 3
    with pytest.raises(Problem) as caught:
        plan("pain ~ age")
    assert caught.value.code == "units_not_disjoint"


# Bounds that are found.


def test_a_first_stage_measures_the_length_of_the_moments_and_the_second_clips_them_together() -> None:
    asked = question("age ~ sex", auto=True)
    assert is_first_stage(asked.plan)
    assert asked.outlook is not None
    assert list(asked.outlook.fit.moments)
    norms = asked.plan.statistics[0].unit_norms
    stripped = []
    for each in asked.outlook.statistics:
        bare = Statistic()
        bare.CopyFrom(each)
        bare.sigma = bare.rho_units = 0
        stripped.append(bare)
    assert list(norms.vector) == stripped
    # Everybody's vector is as short as 20 sixteenths, as the first stage is made to say.
    at = next(place for place, edge in enumerate(norms.edges) if edge >= 20)
    found = [3000 << 16 if place == at else 0 for place in range(len(norms.edges) + 1)]
    second = plan_training(
        TrainQuery(model=LINEAR, formula="age ~ sex"), clinic(), dataset_version=VERSION, parties=3, epsilon=1.0,
        delta=1e-7, auto_bounds=True, first_stage=FirstStage((), tuple(found)),
    ).plan  # fmt: skip
    assert norms.edges[at] <= second.clipping.joint_norm < norms.edges[-1]
    assert second.relation == asked.plan.relation
    assert total_rho_units(second) + total_rho_units(asked.plan) <= zcdp.bought(1.0, 1e-7)[0]
    assert second.statistics[0].sigma < asked.outlook.statistics[0].sigma


def test_words_say_what_was_asked() -> None:
    asked = TrainQuery(model=LINEAR, formula="a ~ b", rows="t", where="c", alpha=0.5)
    assert words_of(asked) == "TRAIN LinearRegression a ~ b FROM t WHERE c WITH alpha = 0.5"
