"""A model of one's own from the developer's side: asked for, tried on made-up rows, and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import yingbi
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import EvaluateQuery
from yingbi.api.v1.plan_pb2 import Evaluation as Told
from yingbi.cli.main import main
from yingbi.evaluation import ModelQuality, noised
from yingbi.quality import expected
from yingbi.receipt import Receipt

from gateway.planning.evaluation import plan_evaluation
from tests.onnx_models import logistic, model, node

FILE = logistic([0.05], -2.5)
SAID: dict[str, Any] = {"inputs": ["age"], "response": "age > 40", "task": "binary", "by": ["sex"]}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    made_up = scene.scene()
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        asked = EvaluateQuery(
            sha256=hashlib.sha256(FILE).digest(),
            task=Told.TASK_BINARY,
            inputs="age",
            response="age > 40",
            by="sex",
            output="y",
            width=1,
        )
        declaration = gateway._dataset().declaration
        gateway.plan = plan_evaluation(
            asked, declaration, dataset_version=b"\x01" * 32, parties=3, epsilon=1.0, delta=scene.DELTA
        ).plan
        gateway.opened = noised(gateway.plan, expected(gateway.plan, 10_000).opened, Random(1))
        yield gateway


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(FILE)
    return path


def test_a_models_quality_comes_back_with_its_receipt(gateway: FakeGateway, file: Path, tmp_path: Path) -> None:
    found = yingbi.connect().dataset("clinic").evaluate(file, epsilon=1.0, **SAID)
    assert isinstance(found, ModelQuality)
    assert found.model_sha256 == hashlib.sha256(FILE).hexdigest()
    assert [group.name for group in found.groups] == ["everybody", "sex = f", "sex = m"]
    people = found.everybody.measures["people"]
    assert people.value == pytest.approx(10_000, abs=6 * (people.noise_error or 0))
    assert found.everybody.roc
    assert "model " + found.model_sha256 in repr(found)
    json.dumps(found.to_json(), allow_nan=False)
    assert [check.name for check in found.receipt.verify()]
    found.receipt.save(tmp_path / "receipt.json")
    assert Receipt.load(tmp_path / "receipt.json").table() == found.table


def test_the_preview_foretells_errors_and_the_mock_runs_the_model_here(gateway: FakeGateway, file: Path) -> None:
    question = yingbi.connect().dataset("clinic").evaluation(file, **SAID)
    assert {each.column for each in question.preview(1.0).forecast.average_errors} >= {"accuracy", "auc"}
    rows: dict[str, Any] = {
        "age": [20.0, 45.0, 60.0, 30.0] * 500,
        "age > 40": [False, True, True, False] * 500,
        "sex": ["f", "m"] * 1000,
    }
    accuracy = question.mock(1.0, frame=rows, seed=1).everybody.measures["accuracy"]
    # At 45 the score is below a half.
    assert accuracy.value == pytest.approx(0.75, abs=6 * (accuracy.noise_error or 0))
    with pytest.raises(Problem, match="no column"):
        question.mock(1.0, seed=1)


def test_the_command_shows_the_same(gateway: FakeGateway, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "clinic", str(file), "--inputs", "age", "--response", "age > 40", "--task", "binary"]
    asked += ["--by", "sex", "--epsilon", "1"]
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["group"] == "everybody"
    assert main([*asked, "--preview", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == hashlib.sha256(FILE).hexdigest()
    assert main(asked) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main([*asked, "--scores", "one", "--json"]) == 2


def test_a_model_that_is_refused_or_not_the_plans_is_not_asked(gateway: FakeGateway) -> None:
    clinic = yingbi.connect().dataset("clinic")
    mixing = model([node("ReduceMean", ["x"], ["y"], axes=[0])], columns=1)
    with pytest.raises(Problem) as caught:
        clinic.evaluate(mixing, epsilon=1.0, **SAID)
    assert caught.value.code == "model"
    with pytest.raises(Problem) as caught:
        clinic.evaluate(logistic([1.0]), epsilon=1.0, **SAID)
    assert caught.value.code == "plan_differs"
    with pytest.raises(Problem) as caught:
        clinic.sql("SELECT COUNT(*) FROM people").run(1.0)
    assert caught.value.code == "plan_differs"
    with pytest.raises(Problem) as caught:
        clinic.evaluation("no such file", **SAID)
    assert caught.value.code == "file"
    assert not gateway.jobs
