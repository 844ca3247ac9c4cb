"""What an evaluation says of a model: the right numbers, and errors that cover what noise and sampling leave."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, r2_score, roc_auc_score
from yingbi.answer import PlanError, check_readable, table_of
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Evaluation as Told
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.evaluation import _check_plan, evaluate_query, noised
from yingbi.evaluation_mock import _parts, mocked, run_here
from yingbi.forecasts import predicted_errors
from yingbi.quality import Quality, expected, quality_of

from tests import evaluated as scene
from tests.onnx_models import linear, logistic, model, node, softmax

LOGISTIC = logistic([0.05, -0.02, 0.5], -2.0)
SOFTMAX = softmax([[-0.02, 0.03, 0.0], [0.07, 0.0, 0.03], [0.0, 0.0, 0.5]])
LINEAR = linear([0.1, 0.0, 2.0], 20.0)


def plan_of(file: bytes, task: str, *, epsilon: float = 1.0, **parts: Any) -> Plan:
    return scene.plan_of(scene.asked(file, task, **parts), epsilon=epsilon)


def frame(rows: int, seed: int = 0) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    age, bmi, male = random.uniform(0, 100, rows), random.normal(28, 6, rows), random.uniform(size=rows) < 0.5
    dead = random.uniform(size=rows) < 1 / (1 + np.exp(-(0.06 * age - 0.03 * bmi - 2)))
    status = np.where(dead, "dead", random.choice(["alive", "lost"], rows))
    bmi = np.clip(20 + 0.1 * age + 2 * male + random.normal(0, 3, rows), 10, 60)
    columns = {"age": age, "bmi": bmi, "male": male, "status": status, "status = 'dead'": dead}
    return {name: column.tolist() for name, column in columns.items()}


def cells(plan: Plan, file: bytes, rows: dict[str, list[Any]], task: str, **parts: Any) -> list[float]:
    return mocked(plan, scene.asked(file, task, **parts), file, rows)


def exactly(plan: Plan, opened: Sequence[float]) -> Quality:
    return quality_of(plan, [round(each) for each in opened])


def test_a_binary_models_numbers_are_those_of_its_scores() -> None:
    rows = frame(20_000)
    plan = plan_of(LOGISTIC, "binary", by="male", bins=100)
    found = exactly(plan, cells(plan, LOGISTIC, rows, "binary", by="male", bins=100))
    truth = np.array(rows["status = 'dead'"])
    scores = scene.plainly(LOGISTIC, np.array([rows["age"], rows["bmi"], rows["male"]], float).T)[:, 0]
    said = {name: each.value for name, each in found.everybody.measures.items()}
    assert said["people"] == 20_000
    assert said["true"] == pytest.approx(truth.mean())
    assert said["accuracy"] == pytest.approx(((scores >= 0.5) == truth).mean())
    assert said["sensitivity"] == pytest.approx((scores[truth] >= 0.5).mean())
    assert said["specificity"] == pytest.approx((scores[~truth] < 0.5).mean())
    assert said["precision"] == pytest.approx(truth[scores >= 0.5].mean())
    assert said["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=2e-3)
    assert said["brier"] == pytest.approx(brier_score_loss(truth, scores), abs=1e-3)
    assert said["no score"] == 0
    assert [group.name for group in found.groups] == ["everybody", "male = False", "male = True"]
    men = np.array(rows["male"])
    assert found.groups[2].measures["auc"].value == pytest.approx(roc_auc_score(truth[men], scores[men]), abs=2e-3)
    assert sum(group.measures["people"].value or 0 for group in found.groups[1:]) == 20_000
    (_, _, none), (_, above, _) = found.everybody.confusion
    assert none.value == 0
    assert above.value == pytest.approx((scores[truth] >= 0.5).sum())
    first, *_, last = found.everybody.roc
    assert (first.x.value, first.y.value, last.x.value, last.y.value) == (0, 0, 1, 1)
    for point in found.everybody.calibration:
        assert point.x.value == pytest.approx(point.at, abs=0.05)
    assert len(found.everybody.precision_recall) == len(found.everybody.roc)
    json.dumps([group.to_json() for group in found.groups], allow_nan=False)


def test_several_classes_have_a_confusion_matrix_and_confidence() -> None:
    rows = frame(5_000)
    plan = plan_of(SOFTMAX, "multiclass")
    found = exactly(plan, cells(plan, SOFTMAX, rows, "multiclass")).everybody
    said = scene.plainly(SOFTMAX, np.array([rows["age"], rows["bmi"], rows["male"]], float).T).argmax(axis=1)
    truth = np.array([["alive", "dead", "lost"].index(each) for each in rows["status"]])
    assert found.measures["accuracy"].value == pytest.approx((said == truth).mean())
    assert found.measures["recall dead"].value == pytest.approx((said[truth == 1] == 1).mean())
    for actual in range(3):
        row = [each.value for each in found.confusion[actual]]
        assert row == [*(((truth == actual) & (said == each)).sum() for each in range(3)), 0]
    assert found.calibration
    assert not found.roc


def test_errors_of_numbers_are_exact_within_their_range() -> None:
    rows = frame(5_000)
    parts: dict[str, Any] = {"inputs": "age, age, male"}
    plan = plan_of(LINEAR, "regression", **parts)
    found = exactly(plan, cells(plan, LINEAR, rows, "regression", **parts)).everybody.measures
    said = scene.plainly(LINEAR, np.array([rows["age"], rows["age"], rows["male"]], float).T)[:, 0]
    truth = np.array(rows["bmi"])
    error = truth - said
    assert found["bias"].value == pytest.approx(error.mean(), abs=1e-3)
    assert found["mean absolute error"].value == pytest.approx(abs(error).mean(), rel=1e-3)
    assert found["root mean square error"].value == pytest.approx(math.sqrt((error**2).mean()), rel=1e-3)
    assert found["r squared"].value == pytest.approx(r2_score(truth, said), abs=1e-3)


@pytest.mark.parametrize(
    ("file", "task", "parts", "names"),
    [
        (LOGISTIC, "binary", {}, ["accuracy", "auc", "sensitivity", "precision", "brier", "log loss"]),
        (SOFTMAX, "multiclass", {}, ["accuracy", "recall dead", "precision dead"]),
        (
            LINEAR,
            "regression",
            {"inputs": "age, age, male"},
            ["bias", "mean absolute error", "root mean square error", "r squared"],
        ),
    ],
    ids=["binary", "multiclass", "regression"],
)
def test_95_percent_of_intervals_cover_what_is_true_of_the_rows_and_of_all_people(
    file: bytes, task: str, parts: dict[str, Any], names: list[str]
) -> None:
    """Of the rows with noise alone; of all people, whom the rows are drawn from, with both errors."""
    plan = plan_of(file, task, epsilon=0.5, **parts)
    of_people = contributions(plan, file, frame(4_000, seed=99), task, **parts)
    truth = exactly(plan, of_people.sum(axis=0)).everybody.measures
    draws, random, drawn = 150, Random(5), np.random.default_rng(5)
    covered = {name: [0, 0] for name in names}
    for _ in range(draws):
        opened = drawn.multinomial(3_000, [1 / 4_000] * 4_000) @ of_people
        of_rows = exactly(plan, opened).everybody.measures
        said = quality_of(plan, noised(plan, opened, random)).everybody.measures
        for name in names:
            value, own, exact = known(said[name].value), known(said[name].noise_error), known(of_rows[name].value)
            covered[name][0] += abs(value - exact) <= 1.96 * own
            covered[name][1] += abs(value - known(truth[name].value)) <= 1.96 * known(said[name].std_error)
    for name, counts in covered.items():
        for count in counts:
            # At 95 %, fewer than 133 of 150 have a probability of a thousandth.
            assert count >= 133, (name, counts)


def known(number: float | None) -> float:
    assert number is not None
    return number


def contributions(plan: Plan, file: bytes, rows: dict[str, list[Any]], task: str, **parts: Any) -> Any:
    """What each person adds to each cell, a line for each."""
    asked = scene.asked(file, task, **parts)
    columns = [[float(value) for value in rows[name.strip()]] for name in asked.inputs.split(",")]
    said, truth = run_here(file, columns, "y"), rows[asked.response]
    found = np.zeros((len(truth), len(expected(plan, 1).opened)))
    for row, true in enumerate(truth):
        for cell, part in _parts(plan.evaluation, 0, true, said[row]):
            found[row, cell] += part * scene.SCALE
    return found


def test_with_no_more_people_than_noise_nothing_is_told() -> None:
    plan = plan_of(LOGISTIC, "binary", epsilon=0.01)
    found = quality_of(plan, noised(plan, [0.0] * plan.statistics[0].range_counts.branching, Random(1)))
    assert found.everybody.measures["auc"].value is None
    empty = exactly(plan, [0.0] * plan.statistics[0].range_counts.branching)
    assert [each.value for each in empty.everybody.measures.values()][1:] == [None] * (
        len(empty.everybody.measures) - 1
    )


def test_errors_are_foretold_without_data() -> None:
    asked: list[tuple[bytes, str, dict[str, Any]]] = [
        (LOGISTIC, "binary", {}),
        (SOFTMAX, "multiclass", {}),
        (LINEAR, "regression", {"inputs": "age, age, male"}),
    ]
    for file, task, parts in asked:
        plan = plan_of(file, task, by="male", **parts)
        check_readable(plan)
        foreseen = predicted_errors(plan)
        errors = {(each.column, each.rows): each.std_error for each in foreseen.average_errors}
        name = "bias" if task == "regression" else "accuracy"
        assert known(errors[name, 1_000]) > 50 * known(errors[name, 100_000])
        assert expected(plan, 1000).everybody.measures["people"].value == pytest.approx(1000, rel=1e-3)


def test_the_table_of_an_answer_has_every_measure_of_every_group() -> None:
    plan = plan_of(LOGISTIC, "binary", by="male", bins=20)
    opened = noised(plan, cells(plan, LOGISTIC, frame(3000), "binary", by="male", bins=20), Random(1))
    table = table_of(plan, opened)
    assert [column.name for column in table.columns] == ["group", "measure", "value"]
    assert {row[0] for row in table.rows} == {"everybody", "male = False", "male = True"}
    assert len(table.rows) == len(table.std_errors) == len(table.intervals) == 30


def test_a_vector_or_a_plan_that_is_none_is_refused() -> None:
    plan = plan_of(LOGISTIC, "binary")
    with pytest.raises(PlanError):
        quality_of(plan, [1, 2, 3])
    for change in (
        lambda p: setattr(p.evaluation, "bins", 7),
        lambda p: p.evaluation.ClearField("task"),
        lambda p: setattr(p.evaluation, "upper", math.nan),
        lambda p: setattr(p.evaluation, "bins", 10**6),
        lambda p: p.evaluation.by.add(name="x", values=[{"bool_value": True}] * 2),
        lambda p: setattr(p.statistics[0].range_counts, "levels", 2),
    ):
        other = Plan()
        other.CopyFrom(plan)
        change(other)
        with pytest.raises(PlanError):
            check_readable(other)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_damaged_evaluation_is_a_table_or_refused(data: st.DataObject) -> None:
    file, task = data.draw(st.sampled_from([(LOGISTIC, "binary"), (SOFTMAX, "multiclass"), (LINEAR, "regression")]))
    plan = plan_of(file, task, by="male")
    opened = [data.draw(st.integers(-(2**61), 2**61))] * len(expected(plan, 1).opened)
    told = plan.evaluation
    for field in data.draw(st.lists(st.sampled_from(["lower", "upper", "error", "bins", "task", "key", "sigma"]))):
        number = data.draw(st.floats() | st.sampled_from([0.0, 5e-324, 1e308, -1e308, 1e100]))
        match field:
            case "lower" | "upper" | "error":
                setattr(told, field, number)
            case "bins":
                told.bins = data.draw(st.integers(0, 2**32 - 1))
            case "task":
                told.task = data.draw(st.sampled_from(Told.Task.values()))
            case "key":
                told.by.add(name="x", values=[Value(int64_value=1)] * data.draw(st.integers(0, 3)))
            case "sigma":
                plan.statistics[0].sigma = data.draw(st.integers(0, 2**63))
    try:
        table = table_of(plan, opened)
    except PlanError:
        return
    assert len(table.rows) == len(table.std_errors)


# What is asked.


def test_the_output_that_fits_the_task_is_read() -> None:
    asked = evaluate_query(LOGISTIC, inputs=["age", "bmi", "male"], response="status = 'dead'", task="binary")
    assert (asked.output, asked.width, asked.inputs) == ("y", 1, "age, bmi, male")
    with pytest.raises(Problem, match="none of its outputs fits"):
        evaluate_query(LOGISTIC, inputs=["age", "bmi", "male"], response="status", task="multiclass")
    with pytest.raises(Problem, match="takes 3 numbers"):
        evaluate_query(LOGISTIC, inputs=["age"], response="status = 'dead'", task="binary")
    with pytest.raises(Problem, match="no output"):
        evaluate_query(LOGISTIC, inputs=["age", "bmi", "male"], response="x", task="binary", output="z")
    with pytest.raises(Problem, match="no task"):
        evaluate_query(LOGISTIC, inputs=["age", "bmi", "male"], response="x", task="guess")


def test_a_model_that_mixes_rows_is_refused_before_anything_is_asked() -> None:
    file = model([node("ReduceMean", ["x"], ["y"], axes=[0])])
    with pytest.raises(Problem) as caught:
        evaluate_query(file, inputs=["age", "bmi", "male"], response="x", task="binary")
    assert caught.value.code == "model"
    assert "over the rows" in caught.value.message


@pytest.mark.parametrize("field", ["sha256", "task", "response", "output", "by", "classes", "lower"])
def test_a_plan_for_something_else_is_not_signed(field: str) -> None:
    asked = scene.asked(SOFTMAX, "multiclass", by="male")
    plan = scene.plan_of(asked)
    _check_plan(plan, asked)
    match field:
        case "sha256":
            plan.evaluation.model.sha256 = bytes(32)
        case "task":
            plan.evaluation.task = Told.TASK_BINARY
        case "response":
            plan.evaluation.response = "male"
        case "output":
            plan.evaluation.model.output = "z"
        case "by":
            del plan.evaluation.by[:]
        case "classes":
            asked.classes.extend(plan.evaluation.classes[::-1])
        case "lower":
            plan.evaluation.lower = -1
    with pytest.raises(Problem, match="plan"):
        _check_plan(plan, asked)


def test_the_mock_leaves_out_and_keeps_what_the_enclaves_do() -> None:
    rows = {**frame(5000), "age": [None] * 2000 + [math.nan] * 500 + [50.0] * 2500}
    plan = plan_of(LOGISTIC, "binary")
    assert sum(cells(plan, LOGISTIC, rows, "binary")) == 2500 * scene.SCALE
    kept = plan_of(LOGISTIC, "binary", keep_nulls=True)
    opened = cells(kept, LOGISTIC, rows, "binary", keep_nulls=True)
    assert exactly(kept, opened).everybody.measures["no score"].value == 0.5
    with pytest.raises(Problem, match="no column"):
        cells(plan, LOGISTIC, {"age": [1.0]}, "binary")
