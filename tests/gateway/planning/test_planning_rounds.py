"""From a model in rounds to the plan of one of them, or to a reason why not, and where."""

from __future__ import annotations

import math
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.training import rho_units_of_round
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, GeneralizedLinear, Plan, TrainingRound

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import delta2_squared, total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.query import Question
from gateway.planning.training import plan_training, training_notes, words_of

from .conftest import VERSION
from .reference_clinic import clinic

LOGISTIC, POISSON = Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION
ROUNDS = 8


def round_of(number: int, columns: int = 2, sets: int = 1, *, value: float = 0.0) -> TrainingRound:
    """As it would be asked for a model with so many columns."""
    own = TrainingRound(number=number, rounds=ROUNDS)
    if number == 1:
        own.centres[:], own.scales[:] = [0.1] * (columns - 1), [0.5] * (columns - 1)
    if number > 1:
        own.transform[:] = [float(row == column) for row in range(columns) for column in range(columns)]
        own.parameters[:] = [value] * (columns * sets)
        own.max_residual = 0.5
    return own


def asked(formula: str, own: TrainingRound, model: Fit.Model.ValueType = LOGISTIC) -> TrainQuery:
    return TrainQuery(model=model, formula=formula, round=own)


def question(query: TrainQuery, epsilon: float = 1.0) -> Question:
    return plan_training(query, clinic(), dataset_version=VERSION, parties=3, epsilon=epsilon, delta=1e-7)


def problem(query: TrainQuery) -> Problem:
    with pytest.raises(Problem) as caught:
        question(query)
    return caught.value


@pytest.mark.parametrize("number", [0, 1, 2, ROUNDS - 1])
@pytest.mark.parametrize(
    ("formula", "model"), [("sex ~ age", LOGISTIC), ("urgent ~ pain", LOGISTIC), ("stay ~ pain", POISSON)]
)
def test_every_round_is_a_plan_that_enclaves_accept(number: int, formula: str, model: Fit.Model.ValueType) -> None:
    plan = question(asked(formula, round_of(number), model)).plan
    check_plan(plan, clinic(), dataset_version=VERSION)
    assert [each.WhichOneof("kind") for each in plan.statistics] == ["model_vector"]
    assert plan.fit.round == round_of(number)
    assert training_notes(plan, clinic())


def test_all_rounds_together_cost_what_epsilon_buys_and_no_more() -> None:
    questions = [question(asked("sex ~ age", round_of(number))) for number in range(ROUNDS)]
    costs = [total_rho_units(each.plan) for each in questions]
    whole = zcdp.bought(1.0, 1e-7)[0]
    assert 0.999 * whole <= sum(costs) <= whole
    for number, each in enumerate(questions):
        # What the first says is still to be paid holds for all that come.
        assert each.rho_units >= sum(costs[number:])
        assert each.plans == ROUNDS - number
    assert zcdp.covers(1.0, zcdp.epsilon_of(sum(costs), 1e-7))


@given(st.integers(2000, 2**50), st.integers(6, 60))
def test_shares_of_rounds_add_up_to_no_more_than_there_is(rho_units: int, rounds: int) -> None:
    assert sum(rho_units_of_round(rho_units, each, rounds) for each in range(rounds)) <= rho_units


def test_classes_are_the_values_of_the_response_in_declared_order() -> None:
    def classes(formula: str) -> list[object]:
        values = question(asked(formula, round_of(0))).plan.fit.classes
        return [getattr(each, each.WhichOneof("kind") or "") for each in values]

    assert classes("sex ~ age") == ["f", "m"]
    assert classes("urgent ~ pain") == [False, True]
    assert classes("(LEAST(GREATEST(stay, 3), 4)) ~ pain") == [3, 4]
    three = question(
        asked("(CASE WHEN pain < 2 THEN 'a' WHEN pain < 5 THEN 'b' ELSE 'c' END) ~ stay", round_of(2, sets=2))
    )
    model = three.plan.statistics[0].model_vector.generalized_linear
    assert (model.family, model.classes) == (GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT, 3)


REFUSED: dict[str, tuple[TrainQuery, str, str, str]] = {
    "a response with many values": (asked("age ~ sex", round_of(0)), "not_supported", "formula", "1:1"),
    "a fraction as a count": (asked("sex ~ age", round_of(0), POISSON), "not_supported", "formula", "1:1"),
    "counts below 0": (asked("(stay - 5) ~ pain", round_of(0), POISSON), "not_supported", "formula", "1:1"),
    "counts that are too large": (
        asked("(stay * 1000) ~ pain", round_of(2) , POISSON), "not_supported", "formula", "1:1",
    ),
    "no constant": (asked("urgent ~ pain - 1", round_of(0)), "not_supported", "formula", "1:1"),
    "nothing but a constant": (asked("urgent ~ 1", round_of(0)), "formula", "formula", "1:1"),
    "the response on both sides": (asked("urgent ~ urgent", round_of(0)), "formula", "formula", "1:1"),
    "a column without bounds": (asked("urgent ~ weight", round_of(0)), "no_bounds", "formula", "1:10"),
    "no round": (TrainQuery(model=LOGISTIC, formula="urgent ~ pain"), "round", "round", ""),
    "a round after the last": (asked("urgent ~ pain", TrainingRound(number=9, rounds=8)), "round", "round", ""),
    "too few rounds": (asked("urgent ~ pain", TrainingRound(rounds=2)), "round", "round", ""),
    "parameters of another model": (asked("urgent ~ pain", round_of(3, columns=3)), "round", "round", ""),
    "parameters that are no numbers": (asked("urgent ~ pain", round_of(3, value=math.inf)), "round", "round", ""),
    "no scale": (
        asked("urgent ~ pain", TrainingRound(number=1, rounds=8, centres=[0], scales=[0])), "round", "round", "",
    ),
}  # fmt: skip
REFUSED["counts that are too large"][0].round.max_residual = 1e6


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_in_rounds_is_refused_with_place_and_hint(name: str) -> None:
    query, code, field, place = REFUSED[name]
    found = problem(query)
    assert (found.code, found.field) == (code, field), found.to_json()
    assert (found.position or "") == place, found.to_json()
    assert found.hint


def test_bounds_are_not_found_twice() -> None:
    with pytest.raises(Problem) as caught:
        plan_training(
            asked("urgent ~ pain", round_of(0)), clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7,
            auto_bounds=True,
        )  # fmt: skip
    assert (caught.value.kind, caught.value.field) == (Kind.REFUSED, "bounds")


def test_a_job_says_which_round_it_is() -> None:
    assert words_of(asked("urgent ~ pain", round_of(3))) == "TRAIN LogisticRegression urgent ~ pain (round 4 of 8)"


def test_units_at_several_providers_move_a_gradient_by_that_of_each() -> None:
    scattered = clinic()
    scattered.units_disjoint = False
    query = asked("urgent ~ pain", round_of(2))
    plan = plan_training(query, scattered, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7).plan
    once = question(query).plan
    assert delta2_squared(plan, plan.statistics[0]) == 9 * delta2_squared(once, once.statistics[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 1.0, -3.0, 50.0]), st.booleans())
def test_no_gradient_is_longer_than_its_norm(seed: int, parameter: float, counts: bool) -> None:
    """So that none is cut, which would make it depend on how well the model fits: a longer norm changes nothing."""
    draw = Random(seed)
    columns = {
        "pain": pa.array([draw.choice([0.0, 10.0, 99.0, draw.uniform(0, 10)]) for _ in range(20)]),
        "urgent": pa.array([draw.random() < 0.5 for _ in range(20)]),
        "stay": pa.array([draw.randrange(31) for _ in range(20)]),
    }
    table = pa.table({UNIT_COLUMN: pa.array(range(20)), **columns})
    own = round_of(4, value=parameter)
    # Far from the identity: most regressors are longer than the length that they are cut to.
    own.transform[:] = [1, 0, 3, 7]
    query = asked("stay ~ pain", own, POISSON) if counts else asked("urgent ~ pain", own)
    plan, longer = question(query).plan, Plan()
    longer.CopyFrom(plan)
    longer.statistics[0].model_vector.max_norm *= 4
    found, free = (
        DuckDBEngine().contribution(each, lambda _, names: table.select(list(names))) for each in (plan, longer)
    )
    # A grid step for each person, of what rounding may add to a length.
    assert all(abs(one - other) <= 20 for one, other in zip(found, free, strict=True))


def test_clusters_that_would_be_too_much_work_for_a_row_are_refused_in_the_first_round() -> None:
    """Before anything is spent, with what would do: 1,000 centres of 60 columns are twice too many numbers."""
    formula = "~ " + " + ".join(f"I(age + {place})" for place in range(60))

    def query(clusters: int) -> TrainQuery:
        own = TrainingRound(number=0, rounds=ROUNDS)
        return TrainQuery(model=Fit.MODEL_K_MEANS, formula=formula, components=clusters, round=own)

    found = problem(query(1000))
    assert (found.kind, found.code, found.position) == (Kind.REFUSED, "too_many_regressors", "1:1")
    most = int(found.message.split("; ")[1].split()[0])
    question(query(most))
    assert problem(query(most + 1)).code == "too_many_regressors"
