"""What one standing approval covers: any change outside of what it leaves open is of another template."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.templates import check_fits, constants_of, kind_of, phase_of, template_of
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import ConstantRange, StandingApproval, TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    Call,
    ColumnReference,
    Expression,
    Fit,
    Plan,
    Relation,
    TrainingRound,
    Value,
)

from enclave_sim.plan.sensitivity import total_rho_units
from gateway.planning.query import plan_query
from gateway.planning.training import plan_training
from tests.attacks.mutations import altered_message

DELTA = 1e-7
ROUNDS = 8
_COLUMN = ColumnDeclaration
DECLARATION = DatasetDeclaration(
    dataset="visits",
    zone="clinic",
    title={"en": "Visits"},
    grade=3,
    source="made up",
    privacy_unit="person",
    unit_namespace="visits",
    max_units=3000,
    units_disjoint=True,
    budget_epsilon=30.0,
    budget_delta=DELTA,
    tables=[
        TableDeclaration(
            name="visits",
            max_rows_per_unit=4,
            columns=[
                _COLUMN(name="person", type=COLUMN_TYPE_INT64, role=_COLUMN.ROLE_UNIT),
                _COLUMN(name="pain", type=COLUMN_TYPE_FLOAT64, role=_COLUMN.ROLE_ATTRIBUTE, lower=0, upper=10),
                _COLUMN(name="age", type=COLUMN_TYPE_INT64, role=_COLUMN.ROLE_ATTRIBUTE, lower=0, upper=100),
            ],
        )
    ],
)


def asked(sql: str, epsilon: float = 1.0) -> Plan:
    return plan_query(sql, DECLARATION, dataset_version=bytes(32), parties=2, epsilon=epsilon, delta=DELTA)


def filtered(age: int, pain: str = "3.5", epsilon: float = 1.0) -> Plan:
    return asked(f"SELECT COUNT(*) AS n FROM visits WHERE age < {age} AND pain > {pain}", epsilon)


def round_of(
    number: int,
    *,
    residual: float = 1.0,
    shift: float = 0.1,
    epsilon: float = 1.0,
    formula: str = "",
    objective: bool = False,
) -> Plan:
    """Of a logistic regression with one regressor."""
    own = TrainingRound(number=number, rounds=ROUNDS, objective=objective)
    if objective and number > 1:
        own.score_limit, own.units, own.units_error = 4.0, 100.0, 2.0
    if number == 1:
        own.centres[:], own.scales[:] = [shift], [0.5]
    if number > 1:
        own.transform[:], own.parameters[:] = [1, 0, shift, 2], [shift, -shift]
        own.max_residual = residual
    asked = TrainQuery(model=Fit.MODEL_LOGISTIC_REGRESSION, formula=formula or "(pain > 5) ~ age", round=own)
    question = plan_training(asked, DECLARATION, dataset_version=bytes(32), parties=2, epsilon=epsilon, delta=DELTA)
    return question.plan


def standing(plan: Plan, *ranges: tuple[int, Value, Value]) -> StandingApproval:
    """Of the plan's template, at what it costs."""
    declared = [ConstantRange(position=at, lower=lower, upper=upper) for at, lower, upper in ranges]
    return StandingApproval(
        template_hash=template_of(plan, declared),
        kind=kind_of(plan),
        ranges=declared,
        rho_units_a_job=total_rho_units(plan),
        dataset=plan.dataset,
    )


def refusal(given: StandingApproval, plan: Plan) -> str:
    with pytest.raises(Problem) as caught:
        check_fits(given, plan, rho_units=total_rho_units(plan))
    return caught.value.code


AGES = (0, Value(int64_value=18), Value(int64_value=90))


@given(st.integers(18, 90))
@settings(max_examples=20)
def test_a_constant_within_its_range_fits(age: int) -> None:
    given = standing(filtered(40), AGES)
    plan = filtered(age)
    check_fits(given, plan, rho_units=total_rho_units(plan))


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (filtered(17), "out_of_range"),
        (filtered(91), "out_of_range"),
        (filtered(40, "3.6"), "other_template"),
        (asked("SELECT COUNT(*) AS n FROM visits WHERE age > 40 AND pain > 3.5"), "other_template"),
        (asked("SELECT COUNT(*) AS n FROM visits WHERE age < 40"), "other_template"),
        (asked("SELECT COUNT(*) AS m FROM visits WHERE age < 40 AND pain > 3.5"), "other_template"),
        (filtered(40, epsilon=1.1), "other_price"),
        (filtered(40, epsilon=0.9), "other_template"),
        (round_of(0), "other_template"),
    ],
)
def test_what_is_outside_of_the_ranges_does_not_fit(plan: Plan, code: str) -> None:
    assert refusal(standing(filtered(40), AGES), plan) == code


def test_positions_are_of_the_constants_in_filters_and_of_nothing_else() -> None:
    plan = asked("SELECT COUNT(*) FILTER (WHERE pain > 2) AS n FROM visits WHERE age < 40 AND pain + 1 > 3.5")
    kinds = [value.WhichOneof("kind") for value in constants_of(plan)]
    assert kinds == ["int64_value", "float64_value", "float64_value"], "not the 1 that is added"
    assert not constants_of(asked("SELECT SUM(LEAST(pain, 5)) AS n FROM visits"))


def test_a_blanked_constant_is_not_one_that_is_zero() -> None:
    ranges = [ConstantRange(position=0, lower=AGES[1], upper=AGES[2])]
    assert template_of(filtered(0), ranges) != template_of(filtered(0))


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, Value(float64_value=0), Value(float64_value=99))],
        [(0, Value(int64_value=90), Value(int64_value=18))],
        [(0, Value(), Value())],
        [(7, Value(int64_value=0), Value(int64_value=99))],
        [(1, Value(float64_value=float("nan")), Value(float64_value=float("nan")))],
    ],
)
def test_a_range_that_is_none_holds_nothing(ranges: list[tuple[int, Value, Value]]) -> None:
    assert refusal(standing(filtered(40), *ranges), filtered(40)) == "out_of_range"


def test_ranges_are_in_order_and_said_once() -> None:
    pains = (1, Value(float64_value=0), Value(float64_value=10))
    for ranges in ((pains, AGES), (AGES, AGES)):
        assert refusal(standing(filtered(40), *ranges), filtered(40)) == "other_template"


def test_all_rounds_of_a_training_are_of_one_template() -> None:
    given = standing(round_of(2))
    given.rho_units_a_job = max(total_rho_units(round_of(number)) for number in range(ROUNDS))
    for number in range(ROUNDS):
        plan = round_of(number, shift=number / 7)
        check_fits(given, plan, rho_units=total_rho_units(plan))
        assert plan.fit.round.number == number, "a plan is read and not changed"


def test_steps_with_an_objective_are_of_the_first_rounds_template_too() -> None:
    given = standing(round_of(0, objective=True))
    given.rho_units_a_job = max(total_rho_units(round_of(number, objective=True)) for number in range(ROUNDS))
    for number in range(ROUNDS):
        plan = round_of(number, shift=number / 7, objective=True)
        check_fits(given, plan, rho_units=total_rho_units(plan))
    assert phase_of(round_of(3, objective=True)) == phase_of(round_of(5, shift=0.4, objective=True))
    # A training that was approved without one has none.
    without = standing(round_of(2))
    without.rho_units_a_job = 2**62
    assert refusal(without, round_of(2, objective=True)) == "other_template"


_NEGATED = Expression(
    call=Call(function=Call.FUNCTION_NEGATE, operands=[Expression(column=ColumnReference(name="z1"))])
)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.statistics[1].model_vector.ClearField("score"),
        lambda plan: plan.statistics[1].model_vector.second_moments.SetInParent(),
        lambda plan: plan.statistics[1].model_vector.terms[0].CopyFrom(_NEGATED),
        lambda plan: plan.statistics[1].row_count.SetInParent(),
        lambda plan: plan.statistics.add().CopyFrom(plan.statistics[1]),
        lambda plan: plan.statistics.pop(),
    ],
)
def test_beside_a_step_there_is_its_score_and_nothing_else(change: Callable[[Plan], object]) -> None:
    plan = round_of(2, objective=True)
    given = standing(plan)
    change(plan)
    given.rho_units_a_job = 2**62
    assert refusal(given, plan) == "other_template"


def _changed_vector(change: Callable[[Plan], object]) -> Plan:
    plan = round_of(0)
    change(plan)
    return plan


@pytest.mark.parametrize(
    "plan",
    [
        round_of(0, epsilon=0.9),
        round_of(0, formula="(pain > 6) ~ age"),
        round_of(0, formula="(age > 5) ~ pain"),
        asked("SELECT COUNT(*) AS n FROM visits"),
        # A vector of another phase, or of something else than a column, or more than one statistic.
        _changed_vector(lambda plan: plan.statistics[0].model_vector.CopyFrom(round_of(2).statistics[0].model_vector)),
        _changed_vector(lambda plan: plan.statistics[0].model_vector.terms[0].literal.SetInParent()),
        _changed_vector(lambda plan: plan.statistics[0].model_vector.terms[0].CopyFrom(_NEGATED)),
        _changed_vector(lambda plan: plan.statistics.add().row_count.SetInParent()),
        _changed_vector(lambda plan: plan.statistics[0].ClearField("kind")),
    ],
)
def test_what_is_no_round_of_the_training_does_not_fit(plan: Plan) -> None:
    given = standing(round_of(0))
    given.rho_units_a_job = 2**62
    assert refusal(given, plan) == "other_template"


def test_a_phase_has_one_clipping_bound_and_one_noise() -> None:
    first = phase_of(round_of(2))
    assert phase_of(round_of(5, shift=0.9)) == first
    assert phase_of(round_of(2, residual=2.0)) != first, "another clipping bound"
    louder = round_of(2)
    louder.statistics[0].sigma += 1
    assert phase_of(louder) != first
    dearer = round_of(2)
    dearer.statistics[0].rho_units += 1
    assert phase_of(dearer) != first
    assert [phase_of(round_of(number))[0] for number in range(4)] == ["0", "1", "2", "2"]
    assert phase_of(filtered(40)) == ""


def _blanked(plan: Plan) -> Plan:
    """By hand: without what may be others."""
    blank = Plan()
    blank.CopyFrom(plan)
    if plan.fit.HasField("round"):
        own = plan.fit.round
        blank.fit.round.CopyFrom(TrainingRound(rounds=own.rounds))
        if own.HasField("network"):
            blank.fit.round.network.hidden[:] = own.network.hidden
            blank.fit.round.network.SetInParent()
        blank.slot_bits = 0
        for each in blank.statistics:
            if each.HasField("model_vector"):
                each.model_vector.Clear()
                each.sigma = each.rho_units = 0
    else:
        constants = constants_of(blank)
        if constants and constants[0].HasField("int64_value"):
            constants[0].int64_value = 0
    return blank


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_change_outside_of_the_blanked_fields_is_another_template(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([filtered(40), round_of(0), round_of(3)]))
    ranges = [] if original.fit.HasField("round") else [ConstantRange(position=0, lower=AGES[1], upper=AGES[2])]
    changed = altered_message(data, original, [filtered(40), round_of(1)])
    same = _blanked(changed) == _blanked(original)
    assert (template_of(changed, ranges) == template_of(original, ranges)) is same


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_compared_has_an_answer(data: st.DataObject) -> None:
    """Only a Problem: a gateway and an enclave are shown any bytes."""
    given = altered_message(data, standing(filtered(40), AGES), [standing(round_of(0))])
    plan = altered_message(data, data.draw(st.sampled_from([filtered(40), round_of(2)])), [round_of(0)])
    with suppress(Problem):
        check_fits(given, plan, rho_units=total_rho_units(plan))


def test_a_round_whose_rows_have_all_columns_has_no_template() -> None:
    """Its terms, which are blanked, would say which columns it reads."""
    plan = round_of(2)
    assert kind_of(plan) == StandingApproval.KIND_ROUNDS
    rows = Relation()
    rows.CopyFrom(plan.relation.projection.input)
    plan.relation.CopyFrom(rows)
    assert kind_of(plan) == StandingApproval.KIND_UNSPECIFIED
