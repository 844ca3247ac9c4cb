"""Rows with a model's predictions: the sums are those of a plain evaluation, and a place in a batch changes nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from yingbi.api.models.check import check_model
from yingbi.api.v1.plan_pb2 import Model

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.predictions import (
    BATCH_ROWS,
    LIGHT_BATCH_ROWS,
    Predict,
    batch_rows,
    evaluated_sums,
    places,
    predictions,
    read,
)
from enclave_sim.engine.protocol import Cancelled
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import delta2_squared
from enclave_sim.plan.validation import check_plan
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests import evaluated as scene
from tests.onnx_models import forest, linear, logistic, model, node, softmax, weights

MODEL = logistic([0.05, -0.02, 0.5], -1.5)
KEY = bytes(range(32))


def running(file: bytes, width: int = 1) -> Predict:
    checked = check_model(file)
    return scene.running(checked.canonical, width, [(each.width, each.kind) for each in checked.inputs])


@pytest.mark.parametrize("most_rows", [1, 4])
def test_a_binary_evaluation_counts_persons_by_truth_and_score(most_rows: int) -> None:
    table = scene.people(300, most_rows=most_rows)
    plan = scene.plan_of(scene.asked(MODEL, "binary", by="male"))
    check_plan(plan, scene.declaration(), dataset_version=scene.VERSION)
    sums = evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(MODEL))
    exact = scene.binary_cells(plan, MODEL, table, groups=[False, True])
    # Each person's part is rounded to a step of the grid.
    assert np.array(sums) / scene.SCALE == pytest.approx(exact, abs=300 / scene.SCALE)
    assert max(exact) > 1
    slow = evaluated_sums(plan, ReferenceEngine(), scene.opening({"people": table}), running(MODEL))
    assert sums == slow


def test_parts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scene.people(2000, most_rows=4)
    plan = scene.plan_of(scene.asked(MODEL, "binary"))
    whole = evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(MODEL))
    monkeypatch.setattr("enclave_sim.engine.predictions.PART_ROWS", 300)
    assert evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(MODEL)) == whole


def test_several_classes_and_their_confidence() -> None:
    file = softmax([[0.01, -0.01, 0.02], [0.03, 0.01, -0.05], [0.5, 0.1, -0.4]])
    table = scene.people(200)
    plan = scene.plan_of(scene.asked(file, "multiclass"))
    check_plan(plan, scene.declaration(), dataset_version=scene.VERSION)
    sums = evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(file, 3))
    cells, bins = [0] * (3 * 4 + 2 * (plan.evaluation.bins + 1)), plan.evaluation.bins
    for row in table.to_pylist():
        if row["age"] is not None and row["status"] != "unknown":
            said = scene.plainly(file, [[row["age"], row["bmi"], row["male"]]])[0]
            truth, predicted = ["alive", "dead", "lost"].index(row["status"]), int(said.argmax())
            cells[truth * 4 + predicted] += scene.SCALE
            cells[12 + (truth == predicted) * (bins + 1) + min(int(said.max() * bins), bins - 1)] += scene.SCALE
    assert sums == cells


def test_errors_of_numbers() -> None:
    file = linear([0.1, 0.0, 2.0], 20.0)
    table = scene.people(200)
    plan = scene.plan_of(scene.asked(file, "regression", inputs="age, age, male"))
    check_plan(plan, scene.declaration(), dataset_version=scene.VERSION)
    sums = np.array(evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(file))) / scene.SCALE
    rows = [row for row in table.to_pylist() if row["age"] is not None]
    said = scene.plainly(file, [[row["age"], row["age"], row["male"]] for row in rows])[:, 0]
    truth = np.array([row["bmi"] for row in rows])
    error, z = np.clip((truth - said) / 25, -1, 1), np.clip((truth - 35) / 25, -1, 1)
    exact = [
        len(rows),
        error.sum(),
        (2 * abs(error) - 1).sum(),
        (2 * error**2 - 1).sum(),
        z.sum(),
        (2 * z * z - 1).sum(),
    ]
    assert sums == pytest.approx(exact, abs=0.01)


def test_what_is_no_number_has_a_place_of_its_own_and_rows_with_nulls_are_left_out_or_given() -> None:
    file = model(
        [node("Log", ["x"], ["z"]), node("ReduceSum", ["z", "a"], ["y"], keepdims=1)], [weights("a", [1], np.int64)]
    )
    table = scene.people(300)
    for keep in (False, True):
        plan = scene.plan_of(scene.asked(file, "binary", keep_nulls=keep, bins=10))
        sums = evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), running(file))
        missing = table["age"].null_count
        assert sum(sums) == (300 if keep else 300 - missing) * scene.SCALE
        # Of male = 0 the logarithm is not finite; and of NaN.
        women = sum(not row["male"] and row["age"] is not None for row in table.to_pylist())
        assert sums[10] + sums[21] >= women * scene.SCALE


def test_rows_may_come_from_a_sub_query_whose_order_is_by_texts_and_nulls() -> None:
    table = scene.people(400, most_rows=4)
    status = table["status"].to_pylist()
    table = table.set_column(4, "status", [[None if number % 5 == 0 else text for number, text in enumerate(status)]])
    rows = "(SELECT id, status, AVG(age) AS age, MIN(bmi) AS bmi FROM people GROUP BY id, status) AS p"
    query = scene.asked(MODEL, "binary", rows=rows, inputs="age, bmi, 1", response="age > 50", bins=10)
    plan = scene.plan_of(query)
    check_plan(plan, scene.declaration(), dataset_version=scene.VERSION)
    opener = scene.opening({"people": table})
    sums = evaluated_sums(plan, DuckDBEngine(), opener, running(MODEL), key=KEY)
    assert sums == evaluated_sums(plan, ReferenceEngine(), opener, running(MODEL), key=KEY)
    people = {row[UNIT_COLUMN] for row in table.to_pylist() if row["age"] is not None}
    assert sum(sums) / scene.SCALE == pytest.approx(len(people), abs=0.1)


def test_a_model_that_fails_predicts_nothing_and_the_sums_are_there() -> None:
    table = scene.people(100)
    plan = scene.plan_of(scene.asked(MODEL, "binary", bins=10))
    sums = evaluated_sums(plan, DuckDBEngine(), scene.opening({"people": table}), lambda rows, /: None)
    assert [at for at, value in enumerate(sums) if value] == [10, 21]


def test_a_cancelled_evaluation_stops() -> None:
    plan = scene.plan_of(scene.asked(MODEL, "binary"))
    opener = scene.opening({"people": scene.people(10)})
    with pytest.raises(Cancelled):
        evaluated_sums(plan, DuckDBEngine(), opener, running(MODEL), cancelled=lambda: True)


BATCHES = pytest.mark.parametrize("batch", [BATCH_ROWS, LIGHT_BATCH_ROWS])


def test_how_long_batches_are_is_of_the_model_alone() -> None:
    assert batch_rows(check_model(MODEL).work) == LIGHT_BATCH_ROWS
    assert batch_rows(check_model(forest(100, 6, 3)).work) == BATCH_ROWS


@BATCHES
def test_places_of_a_unit_are_its_own_whoever_else_is_there(batch: int) -> None:
    units = np.sort(np.random.default_rng(1).integers(0, 500, 2000))
    found = places(units, KEY, batch)
    without = units != 17
    assert (places(units[without], KEY, batch) == found[without]).all()
    assert 0.8 * batch < len(set(found.tolist())) <= batch
    assert (places(units, bytes(32), batch) != found).any()


@BATCHES
def test_a_place_is_drawn_by_a_rows_unit_and_its_number_within_it_and_each_is_as_likely(batch: int) -> None:
    units = np.array([3, 3, 3, 7, 8, 8, 2**31 - 1])
    numbers = [0, 1, 2, 0, 0, 1, 0]
    drawn = [
        _aes(unit.to_bytes(8, "little") + number.to_bytes(8, "little"))
        for unit, number in zip(units.tolist(), numbers, strict=True)
    ]
    found = places(units, KEY, batch)
    assert found.tolist() == [int.from_bytes(each[:2], "little") % batch for each in drawn]
    assert (places(units.astype(np.int32), KEY, batch) == found).all()
    assert (1 << 16) % batch == 0


def _aes(block: bytes) -> bytes:
    return Cipher(algorithms.AES256(KEY), modes.ECB()).encryptor().update(block)


PLACED = model(
    # What a row is told where kernels treat the ends of a buffer otherwise than its middle, magnified.
    [
        node("Exp", ["x"], ["e"]),
        node("Gather", ["e", "order"], ["r"], axis=1),
        node("ReduceSum", ["e", "a"], ["s"], keepdims=1),
        node("ReduceSum", ["r", "a"], ["t"], keepdims=1),
        node("Sub", ["s", "t"], ["d"]),
        node("Mul", ["d", "huge"], ["y"]),
    ],
    [weights("a", [1], np.int64), weights("order", [2, 0, 1, 4, 3], np.int64), weights("huge", 1e30)],
    columns=5,
)


@BATCHES
def test_kernels_do_treat_places_in_another_way_so_that_rows_as_they_come_would_tell_who_is_there(batch: int) -> None:
    given = np.zeros((1, batch, 5))
    given[0] = np.random.default_rng(3).normal(size=5)
    said = running(PLACED)(given)
    assert said is not None
    if len(set(said.ravel().tolist())) == 1:
        pytest.skip("on this processor one row is told the same at every place")
    assert np.ptp(said) > 1e20


@pytest.mark.parametrize(
    "file", [MODEL, PLACED, softmax([[0.1, 0.2], [0.3, -0.4], [1.0, 0.5]])], ids=["logistic", "placed", "softmax"]
)
@BATCHES
def test_a_persons_prediction_is_the_same_to_the_bit_whoever_else_is_there(file: bytes, batch: int) -> None:
    checked = check_model(file)
    (width,) = checked.outputs.values()
    random = np.random.default_rng(3)
    units = np.sort(random.integers(0, 300, 1000))
    rows = random.normal(size=(1000, checked.width))
    predict = running(file, width)
    everybody = predictions(rows, units, predict, width, KEY, batch)
    for unit in (0, 150, int(units[-1])):
        others = units != unit
        alone = predictions(rows[others], units[others], predict, width, KEY, batch)
        assert alone.tobytes() == everybody[others].tobytes()


@pytest.mark.parametrize(
    ("file", "inputs"), [(MODEL, "age, bmi, male"), (PLACED, "age, bmi, male, age, bmi")], ids=["logistic", "placed"]
)
@BATCHES
def test_a_person_moves_the_sums_by_what_is_claimed_and_by_their_own_rows_alone(
    file: bytes, inputs: str, batch: int
) -> None:
    """Also with a model that tells places apart, and whoever comes before or after."""
    table = scene.people(200, most_rows=4)
    plan = scene.plan_of(scene.asked(file, "binary", by="male", inputs=inputs, bins=20))
    units = table[UNIT_COLUMN].to_numpy()

    def sums(kept: Any) -> Any:
        opener = scene.opening({"people": table.filter(pa.array(kept))})
        return np.array(evaluated_sums(plan, DuckDBEngine(), opener, running(file), batch=batch, key=KEY))

    everybody = sums(units >= 0)
    for unit in sorted(set(units.tolist()))[::40]:
        own = everybody - sums(units != unit)
        assert math.sqrt(float((own.astype(float) ** 2).sum())) <= math.sqrt(delta2_squared(plan, plan.statistics[0]))
        assert own.tolist() == sums(units == unit).tolist()


def test_a_unit_of_very_many_rows_takes_no_prediction_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model is given at once is bounded, so that it is never refused for its size."""
    checked, sizes = check_model(MODEL), list[int]()
    predict = running(MODEL)

    def watched(rows: Any, /) -> Any:
        sizes.append(rows.size)
        return predict(rows)

    random = np.random.default_rng(4)
    units = np.sort(np.concatenate([np.arange(50), np.full(5000, 20)]))
    rows = random.normal(size=(len(units), checked.width))
    whole = predictions(rows, units, predict, 1, KEY)
    monkeypatch.setattr("enclave_sim.engine.predictions.MOST_NUMBERS", 4 * BATCH_ROWS * checked.width)
    assert predictions(rows, units, watched, 1, KEY).tobytes() == whole.tobytes()
    assert len(sizes) > 3
    assert max(sizes) <= 4 * BATCH_ROWS * checked.width


def test_what_a_model_says_at_once_is_bounded_like_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number in and many out: a call's size is of the wider of both, whoever has how many rows."""
    monkeypatch.setattr("enclave_sim.engine.predictions.MOST_NUMBERS", 4 * BATCH_ROWS * 64)
    calls: list[int] = []

    def watched(rows: Any, /) -> Any:
        calls.append(rows.shape[0])
        return np.repeat(rows, 64, axis=2)

    units = np.sort(np.concatenate([np.arange(50), np.full(5000, 20)]))
    rows = np.random.default_rng(4).normal(size=(len(units), 1))
    assert np.array_equal(predictions(rows, units, watched, 64, KEY), np.repeat(rows, 64, axis=1))
    assert max(calls) <= 4 < sum(calls)


def test_the_largest_is_read_with_its_number_and_nothing_of_what_is_not_finite() -> None:
    said = np.array([[0.2, 0.5, 0.5], [np.nan, 1.0, 0.0], [np.inf, 0.0, 0.0], [3.0, 1.0, 2.0]])
    found = read(Model(reading=Model.READING_LARGEST, width=3), said)
    assert found["predicted"].tolist()[::3] == [1, 0]
    assert found["confidence"].tolist()[::3] == [0.5, 3.0]
    assert all(np.isnan(numbers[1:3]).all() for numbers in found.values())
    number = read(Model(reading=Model.READING_NUMBER, width=3, column=1), said)["prediction"]
    assert number.tolist() == [0.5, 1.0, 0.0, 1.0]
