"""Models from the developer's side: what is asked, what comes back, and what it says of rows of one's own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, Value
from yingbi.cli.main import main
from yingbi.learning import LinearRegression, Model, Ridge
from yingbi.linear_model import LinearModel, design_column
from yingbi.receipt import Receipt
from yingbi.regression import Coefficient, Regression

from gateway.planning.training import plan_training

FORMULA = "age ~ sex"


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        trains(gateway)
        yield gateway


def trains(gateway: FakeGateway, formula: str = FORMULA, alpha: float | None = None) -> None:
    """4,000 women of 40 on average and 6,000 men of 50, without noise."""
    asked = TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula=formula, alpha=alpha)
    declaration = gateway._dataset().declaration
    gateway.plan = plan_training(
        asked, declaration, dataset_version=b"\x01" * 32, parties=3, epsilon=1.0, delta=scene.DELTA
    ).plan
    # Units; sex as -1 and 1; age less 50, over 50; the product; and the squares, of a spread of 10 years.
    age_square = 4000 * (0.2**2 + 0.2**2) + 6000 * 0.2**2
    gateway.opened = [
        round(each * 2**16) for each in (10_000, 2_000, 4000 * -0.2, 4000 * 0.2, (age_square - 5_000) * 2)
    ]


def dataset() -> yingbi.Dataset:
    return yingbi.connect().dataset("clinic")


def test_a_model_comes_back_with_its_receipt_and_its_card(gateway: FakeGateway, tmp_path: Path) -> None:
    model = dataset().train(LinearRegression(FORMULA), epsilon=1.0)
    assert isinstance(model, Model)
    assert [row[0] for row in model.table.rows] == ["(Intercept)", "sex[m]"]
    assert [row[1] for row in model.table.rows] == pytest.approx([40, 10])
    assert model.card["r_squared"] == pytest.approx(96 / 496, rel=1e-3)
    assert "numbers: 2 coefficients" in str([str(check) for check in model.receipt.verify()])
    assert model.words[-1] == f"fingerprint {model.fingerprint}"
    assert model.card["epsilon"] == 1.0
    assert model.card["dataset_version"] == "01" * 32
    told = model.card["predicted_noise_errors"]
    assert isinstance(told, dict)
    assert isinstance(model.fitted, LinearModel)
    for row, name in zip(model.fitted.regression.coefficients, told, strict=True):
        assert told[name] == pytest.approx(row.noise_error, rel=0.5)
    json.dumps(model.to_json(), allow_nan=False)
    # Offline, from the receipt alone.
    model.receipt.save(tmp_path / "receipt.json")
    assert Receipt.load(tmp_path / "receipt.json").table() == model.table


def test_a_job_that_trained_is_a_model_whoever_asks_later(gateway: FakeGateway) -> None:
    with yingbi.connect() as zone:
        job = zone.dataset("clinic").training(LinearRegression(FORMULA)).submit(1.0).wait()
        assert zone.job(job.id).answer().to_json()["model"] == job.answer().to_json()["model"]


@pytest.mark.parametrize("asked", [LinearRegression("age ~ sex "), Ridge(FORMULA), LinearRegression("age ~ other")])
def test_another_model_than_was_asked_for_is_not_signed(gateway: FakeGateway, asked: LinearRegression) -> None:
    with pytest.raises(Problem) as caught:
        dataset().train(asked, epsilon=1.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_variables_that_the_formula_does_not_name_are_not_signed(gateway: FakeGateway) -> None:
    gateway.plan.fit.columns[0].factors[0].variable = "height"
    with pytest.raises(Problem) as caught:
        dataset().train(LinearRegression(FORMULA), epsilon=1.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_a_query_is_not_answered_by_a_model(gateway: FakeGateway) -> None:
    with pytest.raises(Problem) as caught:
        dataset().sql("SELECT COUNT(*) FROM patients").run(1.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_a_preview_tells_the_noise_of_coefficients_and_spends_nothing(gateway: FakeGateway) -> None:
    foreseen = dataset().training(LinearRegression(FORMULA)).preview(1.0)
    assert [column.name for column in foreseen.forecast.columns] == ["term", "coefficient"]
    errors = {(each.column, each.rows): each.std_error for each in foreseen.forecast.average_errors}
    assert errors["sex[m]", 1_000] == pytest.approx(10 * (errors["sex[m]", 10_000] or 0), rel=0.01)
    assert "± by size" in repr(foreseen)
    json.dumps(foreseen.to_json(), allow_nan=False)
    assert not gateway.jobs


def test_a_mock_is_the_same_model_of_made_up_rows(gateway: FakeGateway) -> None:
    training = dataset().training(LinearRegression(FORMULA))
    first, again = (training.mock(1.0, rows=3000, seed=4) for _ in range(2))
    assert first == again
    assert isinstance(first, LinearModel)
    # Made-up columns know nothing of each other.
    (constant, slope) = first.regression.coefficients
    assert abs(slope.value) <= 5 * (slope.std_error or 0)
    assert abs(constant.value - 50) <= 5 * (constant.std_error or 0)
    frame: dict[str, Sequence[Any]] = {"age": [30.0, 34.0, 50.0, 54.0] * 1000, "sex": ["f", "f", "m", "m"] * 1000}
    own = training.mock(1.0, seed=4, frame=frame)
    assert isinstance(own, LinearModel)
    for found, exact in zip(own.regression.coefficients, (32, 20), strict=True):
        assert abs(found.value - exact) <= 5 * (found.noise_error or 0)
    assert not gateway.jobs


def test_a_mock_of_rows_that_are_sql_is_refused(gateway: FakeGateway) -> None:
    with pytest.raises(Problem) as caught:
        dataset().training(LinearRegression(FORMULA, where="age > 3")).mock(1.0)
    assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "mock")


# The command line.


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr()[0])


def test_the_command_line_trains_previews_and_mocks(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("train", "clinic", FORMULA, "--epsilon", "1")
    assert run(capsys, *asked, "--preview")["columns"][1] == {"name": "coefficient", "kind": "coefficient"}
    assert run(capsys, *asked, "--mock")["mock"]
    assert not gateway.jobs
    trained = run(capsys, *asked)
    assert [row[0] for row in trained["rows"]] == ["(Intercept)", "sex[m]"]
    assert run(capsys, "result", trained["job"])["model"]["fingerprint"] == trained["model"]["fingerprint"]
    assert main(list(asked)) == 0
    assert trained["model"]["fingerprint"] in capsys.readouterr()[0].replace("\n", "")
    trains(gateway, alpha=2.5)
    assert run(capsys, *asked, "--model", "ridge", "--alpha", "2.5")["model"]["model"] == "Ridge"


@pytest.mark.parametrize(
    ("flags", "code", "field"),
    [
        (["--components", "1"], 2, "components"),
        (["--model", "tree"], 2, "model"),
        (["--alpha", "1"], 2, "alpha"),
        (["--bounds", "some"], 2, "bounds"),
    ],
)
def test_what_the_command_line_cannot_train_is_refused(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, field: str
) -> None:
    found = run(capsys, "train", "clinic", FORMULA, "--epsilon", "1", *flags, code=code)
    assert found["field"] == field
    assert not gateway.jobs


# What a model says of rows.


def fitted(*, intercept: bool = True, alpha: float | None = None) -> LinearModel:
    formula = "y ~ a + C(b) + a:C(b)"
    fit = Fit(model=Fit.MODEL_LINEAR_REGRESSION, formula=formula, intercept=intercept, alpha=alpha)
    for name, level in (("a", None), ("C(b)[x]", "x"), ("a:C(b)[x]", "x"), ("y", None)):
        column = fit.columns.add(name=name, half_range=1)
        if level is None or name.startswith("a"):
            column.factors.add(variable=name.partition(":")[0])
        if level is not None:
            column.factors.add(variable="b", level=Value(string_value=level))
    names = [*(["(Intercept)"] if intercept else []), *(column.name for column in fit.columns[:-1])]
    numbers = [0.5, 2.0, -1.0, 3.0][-len(names) :]
    found = tuple(Coefficient(name, number, 0.1, 0.2) for name, number in zip(names, numbers, strict=True))
    return LinearModel(fit, Regression(found, 100.0, 1.0, 0.5, 0.1, 1.0, 0.0, fit.alpha))


ROWS: dict[str, Sequence[Any]] = {"a": [1, 2.5, None, 4.0, "?"], "b": ["x", "z", "x", None, "x"], "more": range(5)}


def test_predictions_are_by_the_formula_and_nan_where_a_variable_is_missing() -> None:
    model = fitted()
    assert model.variables == ("a", "b")
    found = model.predict(ROWS)
    assert found[:2] == [0.5 + 2 - 1 + 3, 0.5 + 5]
    assert all(map(math.isnan, found[2:]))
    without = fitted(intercept=False).predict(ROWS)
    assert without[:2] == [2 - 1 + 3, 5]


def test_rows_that_lack_a_variable_are_refused_by_its_name() -> None:
    with pytest.raises(Problem, match="'b'") as caught:
        fitted().predict({"a": [1]})
    assert caught.value.code == "missing_column"


def test_columns_of_different_lengths_are_no_rows() -> None:
    with pytest.raises(Problem, match="a has 1, b has 2") as caught:
        fitted().predict({"a": [1], "b": ["x", "z"]})
    assert caught.value.code == "rows"


def test_a_model_of_made_up_rows_shows_itself_as_its_coefficients() -> None:
    assert repr(fitted()).splitlines()[:2] == ["y ~ a + C(b) + a:C(b)", "(Intercept) 0.50 ± 0.20"]


def test_a_formula_by_itself_is_no_model(gateway: FakeGateway) -> None:
    with pytest.raises(Problem, match="'age ~ sex' is no model to train") as caught:
        dataset().train(FORMULA, epsilon=1.0)  # type: ignore[call-overload]
    assert "LinearRegression" in (caught.value.hint or "")


def test_pandas_frames_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": ["x", "z"]})
    found = fitted().predict(frame)
    assert found[0] == 4.5
    assert math.isnan(found[1])
    dates = fitted().fit.columns[1]
    dates.factors[0].level.date_days = 18_262
    assert design_column(dates, {"b": ["2020-01-01", pd.Timestamp("2020-01-01").date(), "2020-01-02"]}) == [1, 1, 0]


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_an_estimator_is_scikit_learns_with_the_models_parameters(
    monkeypatch: pytest.MonkeyPatch, alpha: float | None
) -> None:
    """Against a stand-in, so that this needs no scikit-learn; the next test has the real one."""
    pytest.importorskip("pandas")
    made: dict[str, Any] = {}

    class Stand:
        def __init__(self, **given: Any) -> None:
            made.update(given)

    package, linear = ModuleType("sklearn"), ModuleType("sklearn.linear_model")
    linear.LinearRegression = linear.Ridge = Stand  # type: ignore[attr-defined]
    package.linear_model = linear  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", linear)
    found = fitted(alpha=alpha).estimator()
    assert made == {"fit_intercept": True, **({} if alpha is None else {"alpha": alpha})}
    assert (list(found.coef_), found.intercept_) == ([2, -1, 3], 0.5)
    assert list(found.feature_names_in_) == ["a", "C(b)[x]", "a:C(b)[x]"]
    assert found.n_features_in_ == 3


def test_scikit_learn_predicts_what_the_model_predicts() -> None:
    pytest.importorskip("sklearn")
    model = fitted()
    complete = {"a": ROWS["a"][:2], "b": ROWS["b"][:2]}
    assert list(model.estimator().predict(model.frame_of(complete))) == pytest.approx(model.predict(complete))


def test_without_scikit_learn_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(Problem) as caught:
        fitted().estimator()
    assert (caught.value.code, caught.value.kind) == ("scikit_learn_missing", Kind.UNAVAILABLE)
