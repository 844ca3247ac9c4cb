"""Naive Bayes and principal components from the developer's side: asked, answered, shown and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cli.main import main
from yingbi.models.naive_bayes import NaiveBayesModel
from yingbi.models.principal import PrincipalModel
from yingbi.models.specs import ModelSpec
from yingbi.receipt import Receipt

from gateway.planning.training import plan_training

BAYES, COMPONENTS = yingbi.GaussianNB("sex ~ age"), yingbi.PCA("~ age + sex", components=1)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield gateway


def dataset() -> yingbi.Dataset:
    return yingbi.connect().dataset("clinic")


def trains(gateway: FakeGateway, spec: ModelSpec) -> Any:
    """4,000 women of 40 ± 10 and 6,000 men of 50 ± 10, without noise."""
    asked: TrainQuery = spec.message
    declaration = gateway._dataset().declaration
    gateway.plan = plan_training(
        asked, declaration, dataset_version=b"\x01" * 32, parties=3, epsilon=1.0, delta=scene.DELTA
    ).plan
    gateway.opened = [cell for each in gateway.plan.statistics for cell in _cells(gateway.plan, each)]
    return gateway.plan


def _cells(plan: Plan, statistic: Any) -> list[int]:
    """By hand, for a person of age z and sex s: of 1, z, z², s and s·z, as the plan centres and scales them."""
    groups = [(4000, -0.2, -1.0), (6000, 0.0, 1.0)]
    shape, text = statistic.bounded_sum, str(statistic.bounded_sum.term)
    found = []
    for count, mean, sex in groups:
        square = count * (0.04 + mean * mean)
        if not statistic.HasField("bounded_sum"):
            exact = float(count)
        elif text.count("z1") == 2:
            exact = (square - shape.centre * count) / shape.half_range
        elif "z1" in text and "z2" in text:
            exact = count * mean * sex / shape.half_range
        else:
            exact = count * (mean if "z1" in text else sex) / shape.half_range
        found.append(exact)
    return [round(each * 2**16) for each in (found if plan.group_by else [sum(found)])]


def test_naive_bayes_comes_back_with_its_receipt_and_its_card(gateway: FakeGateway, tmp_path: Path) -> None:
    trains(gateway, BAYES)
    model = dataset().train(BAYES, epsilon=1.0)
    assert isinstance(model.fitted, NaiveBayesModel)
    assert model.fitted.labels == ["f", "m"]
    assert [row[2] for row in model.table.rows] == pytest.approx([0.4, 40, 0.6, 50], rel=1e-3)
    assert model.table.rows[1][3] == pytest.approx(10, rel=1e-2)
    assert model.predict({"age": [20, 80]}) == ["f", "m"]
    assert model.predict_proba({"age": [20]})[0][0] > 0.8
    assert "fingerprint is " + model.fingerprint in str([str(check) for check in model.receipt.verify()])
    assert model.card["model"] == "GaussianNB"
    told = model.card["predicted_noise_errors"]
    assert isinstance(told, dict)
    assert set(told) >= {"f, age mean", "m, age deviation"}
    json.dumps(model.to_json(), allow_nan=False)
    model.receipt.save(tmp_path / "receipt.json")
    assert Receipt.load(tmp_path / "receipt.json").table() == model.table
    with pytest.raises(Problem, match="GaussianNB has no transform") as caught:
        model.transform({"age": [1]})
    assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "not_of_this_model")


def test_principal_components_come_back_with_their_receipt_and_their_card(gateway: FakeGateway) -> None:
    trains(gateway, COMPONENTS)
    model = dataset().train(COMPONENTS, epsilon=1.0)
    assert isinstance(model.fitted, PrincipalModel)
    assert [row[:2] for row in model.table.rows[2:]] == [
        ("PC1", "(Variance)"), ("PC1", "(Share)"), ("PC1", "age"), ("PC1", "sex[m]"),
    ]  # fmt: skip
    # Of age the variance is 100 within and 24 between; of sex, 0 or 1, it is 0.24.
    assert model.fitted.covariance[0][0] == pytest.approx(124, rel=1e-3)
    assert model.fitted.covariance[1] == pytest.approx([2.4, 0.24], rel=1e-3)
    assert len(model.transform({"age": [40], "sex": ["f"]})[0]) == 1
    assert "fingerprint is " + model.fingerprint in str([str(check) for check in model.receipt.verify()])
    assert any("of the variance" in each for each in model.words)
    json.dumps(model.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (BAYES, lambda plan: setattr(plan.fit, "response", "age2")),
        (BAYES, lambda plan: setattr(plan.fit, "formula", "sex ~ height")),
        (COMPONENTS, lambda plan: setattr(plan.fit, "components", 2)),
        (COMPONENTS, lambda plan: setattr(plan.fit, "standardized", True)),
    ],
)
def test_another_model_than_was_asked_for_is_not_signed(gateway: FakeGateway, spec: ModelSpec, change: Any) -> None:
    change(trains(gateway, spec))
    with pytest.raises(Problem) as caught:
        dataset().train(spec, epsilon=1.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


@pytest.mark.parametrize("spec", [BAYES, COMPONENTS])
def test_a_preview_and_a_mock_cost_nothing(gateway: FakeGateway, spec: ModelSpec) -> None:
    trains(gateway, spec)
    training = dataset().training(spec)
    assert "± by size" in repr(training.preview(1.0))
    first, again = (training.mock(1.0, rows=2000, seed=4) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    frame: dict[str, Sequence[Any]] = {"age": [30.0, 34.0, 50.0, 54.0] * 1000, "sex": ["f", "f", "m", "m"] * 1000}
    own = training.mock(1.0, seed=4, frame=frame)
    if isinstance(own, NaiveBayesModel):
        for each, exact in zip(own.classes, (32, 52), strict=True):
            mean = each.spreads[0].mean
            assert abs(mean.value - exact) <= 5 * (mean.noise_error or 0)
    assert not gateway.jobs


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr()[0])


@pytest.mark.parametrize(
    ("spec", "flags", "name"),
    [
        (BAYES, ["--model", "naive-bayes"], "GaussianNB"),
        (COMPONENTS, ["--model", "pca", "--components", "1"], "PCA"),
    ],
)
def test_the_command_line_trains_previews_mocks_and_writes_onnx(
    gateway: FakeGateway,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    spec: ModelSpec,
    flags: list[str],
    name: str,
) -> None:
    pytest.importorskip("onnx")
    trains(gateway, spec)
    asked = ("train", "clinic", spec.formula, "--epsilon", "1", *flags)
    assert run(capsys, *asked, "--preview")["columns"][-1]["kind"] == "coefficient"
    assert run(capsys, *asked, "--mock")["model"] == name
    assert main([*asked, "--mock"]) == 0
    assert "made-up rows" in capsys.readouterr()[0]
    assert not gateway.jobs
    trained = run(capsys, *asked, "--onnx", str(tmp_path / "model.onnx"))
    assert trained["model"]["model"] == name
    assert (tmp_path / "model.onnx").stat().st_size > 100
    assert main(list(asked)) == 0
    assert trained["model"]["fingerprint"] in capsys.readouterr()[0].replace("\n", "")


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--components", "1"], "components"),
        (["--standardized"], "standardized"),
        (["--model", "naive-bayes", "--alpha", "1"], "alpha"),
        (["--model", "pca", "--onnx", "m.onnx", "--no-wait"], "no-wait"),
        (["--model", "pca", "--onnx", "no/such/folder/m.onnx"], "onnx"),
    ],
)
def test_what_the_command_line_cannot_train_is_refused(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], flags: list[str], field: str
) -> None:
    found = run(capsys, "train", "clinic", "sex ~ age", "--epsilon", "1", *flags, code=2)
    assert found["field"] == field
    assert not gateway.jobs
