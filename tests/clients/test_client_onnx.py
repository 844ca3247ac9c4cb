"""ONNX files of models: a runtime that knows nothing of Yingbi says what the models say."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from random import Random
from typing import Any

import made_people as made  # type: ignore[import-not-found]
import numpy as np
import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, TrainingRound
from yingbi.generalized_linear import GeneralizedLinearRule, State
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.in_rounds import round_kind
from yingbi.models.kinds import fitted_of
from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
from yingbi.models.onnx_export import onnx_bytes, write_onnx
from yingbi.models.round_specs import ModelInRounds
from yingbi.rounds import Released, followed

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

WHO = made.people(400, 1)


def model(kind: Fit.Model.ValueType, formula: str, **asked: Any) -> Any:
    plan = made.plan(kind, formula, **asked)
    return fitted_of(plan, made.opened(plan, WHO, Random(2)))


def told(of: Any, columns: list[str]) -> dict[str, made.Floats]:
    session = onnxruntime.InferenceSession(onnx_bytes(of), providers=["CPUExecutionProvider"])
    rows = made.matrix(WHO, columns).astype(np.float32)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": rows}), strict=True))


@pytest.mark.parametrize("alpha", [None, 20.0])
def test_a_line_is_predicted(alpha: float | None) -> None:
    found = model(Fit.MODEL_LINEAR_REGRESSION, "a ~ b + d", alpha=alpha)
    numbers = told(found, ["b", "d"])["variable"]
    np.testing.assert_allclose(numbers[:, 0], found.predict(WHO), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("formula", "columns"), [("species ~ a + b + c", ["a", "b", "c"]), ("d ~ b + c", ["b", "c"])])
def test_classes_and_their_probabilities_are_predicted(formula: str, columns: list[str]) -> None:
    """Also of columns that are far from 0 beside their spread, or tiny."""
    found = model(made.BAYES, formula)
    # What float32 holds of the rows, which is what the file is given.
    rows = {name: made.matrix(WHO, [name])[:, 0].astype(np.float32).astype(float).tolist() for name in columns}
    answers = told(found, columns)
    np.testing.assert_allclose(answers["probabilities"], found.predict_proba(rows), atol=1e-5)
    assert [str(each) for each in answers["label"]] == [
        str(int(each)) if isinstance(each, bool) else str(each) for each in found.predict(rows)
    ]


def in_rounds(kind: Fit.Model.ValueType, formula: str) -> GeneralizedModel:
    rule, released = GeneralizedLinearRule(), list[Released]()
    state: State | None = None
    own: TrainingRound | None = rule.first(6)
    while own is not None:
        plan = made.plan(kind, formula, epsilon=50.0, round=own)
        released.append(Released.of(plan, made.opened(plan, WHO, Random(3))))
        state = rule.after(state, released[-1])
        own = rule.next(state)
    return GeneralizedModel(followed(rule, released).state)


@pytest.mark.parametrize("formula", ["d ~ a + b", "species ~ a + b"])
def test_odds_of_classes_are_predicted(formula: str) -> None:
    found = in_rounds(Fit.MODEL_LOGISTIC_REGRESSION, formula)
    answers, chances, classes = told(found, ["a", "b"]), found.predict_proba(WHO), found.predict(WHO)
    np.testing.assert_allclose(answers["probabilities"], chances, atol=1e-3)
    for label, own, chance in zip(answers["label"], classes, chances, strict=True):
        assert max(chance) < 0.51 or str(label) == str(int(own) if isinstance(own, bool) else own)


def test_mean_counts_are_predicted() -> None:
    found = in_rounds(Fit.MODEL_POISSON_REGRESSION, "(a + 3) ~ d")
    counts = told(found, ["d"])["variable"]
    np.testing.assert_allclose(counts[:, 0], found.predict(WHO), rtol=1e-4)


def of_spec(spec: ModelInRounds) -> Any:
    kind, released = round_kind(spec.model), list[Released]()
    rule, state = kind.rule(spec.training), None
    own: TrainingRound | None = rule.first(6)
    while own is not None:
        plan = made.plan(spec.model, spec.formula, epsilon=50.0, round=own)
        released.append(Released.of(plan, made.opened(plan, WHO, Random(4))))
        state = rule.after(state, released[-1])
        own = rule.next(state)
    return kind.model(state)


@pytest.mark.parametrize(
    ("formula", "columns"),
    [("species ~ a + b", ["a", "b"]), ("d ~ a + c", ["a", "c"]), ("b ~ a + d", ["a", "d"])],
)
@pytest.mark.parametrize("hidden", [(4,), (5, 3)])
def test_networks_are_run(formula: str, columns: list[str], hidden: tuple[int, ...]) -> None:
    check_same(of_spec(NeuralNetwork(formula, hidden=hidden, rounds=6)), columns)


@pytest.mark.parametrize(("formula", "columns"), [("d ~ a + b", ["a", "b"]), ("b ~ a + c", ["a", "c"])])
def test_what_bins_add_is_added(formula: str, columns: list[str]) -> None:
    check_same(of_spec(ExplainableBoosting(formula, rounds=6)), columns)


def test_bins_of_a_category_go_by_its_values_numbers() -> None:
    found = of_spec(ExplainableBoosting("b ~ a + species", rounds=6))
    session = onnxruntime.InferenceSession(onnx_bytes(found), providers=["CPUExecutionProvider"])
    rows = {"a": np.array(WHO["a"]).astype(np.float32).astype(float).tolist(), "species": WHO["species"]}
    frame = found.frame_of(rows).to_numpy().astype(np.float32)
    numbers = session.run(["variable"], {"X": frame})[0][:, 0]
    np.testing.assert_allclose(numbers, found.predict(rows), rtol=1e-5)
    assert len({round(float(each), 3) for each in numbers}) > 3


def check_same(found: Any, columns: list[str]) -> None:
    """Also outside of the bounds, at their ends, and where a value is not there."""
    kept = {name: [-1e30, 1e30, *WHO[name], *map(float, made.BOUNDS.get(name, (0, 1))), math.nan] for name in columns}
    rows = {name: np.array(each, dtype=np.float32).astype(float).tolist() for name, each in kept.items()}
    if "d" in rows:
        rows["d"] = [None if math.isnan(each) else bool(each > 0) for each in rows["d"]]
    session = onnxruntime.InferenceSession(onnx_bytes(found), providers=["CPUExecutionProvider"])
    frame = found.frame_of(rows).to_numpy().astype(np.float32)
    answers = dict(zip([each.name for each in session.get_outputs()], session.run(None, {"X": frame}), strict=True))
    if not found.classes:
        np.testing.assert_allclose(answers["variable"][:, 0], found.predict(rows), rtol=1e-5)
        assert np.isnan(answers["variable"][-1]).all()
        return
    chances = found.predict_proba(rows)
    np.testing.assert_allclose(answers["probabilities"], chances, atol=1e-5)
    for label, own, chance in zip(answers["label"], found.predict(rows), chances, strict=True):
        if max(chance) > 0.51:
            assert str(label) == str(int(own) if isinstance(own, bool) else own)


@pytest.mark.parametrize("standardized", [False, True])
def test_components_are_transformed(standardized: bool) -> None:
    found = model(made.COMPONENTS, "~ a + b + d", components=2, standardized=standardized)
    np.testing.assert_allclose(told(found, ["a", "b", "d"])["variable"], found.transform(WHO), rtol=1e-4, atol=1e-4)


def test_the_file_says_which_model_it_is(tmp_path: Path) -> None:
    found = model(made.BAYES, "species ~ a + C(d)")
    write_onnx(found, tmp_path / "model.onnx")
    read = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(read, full_check=True)
    metadata = {each.key: each.value for each in read.metadata_props}
    assert metadata["fingerprint"] == found.fingerprint
    assert metadata["formula"] == "species ~ a + C(d)"
    assert json.loads(metadata["classes"]) == list(made.SPECIES)
    assert json.loads(metadata["columns"]) == ["a", "C(d)[True]"]
    assert read.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 2


def test_a_row_without_a_value_has_no_probability() -> None:
    found = model(made.BAYES, "species ~ a + b")
    session = onnxruntime.InferenceSession(onnx_bytes(found), providers=["CPUExecutionProvider"])
    probabilities = session.run(["probabilities"], {"X": np.array([[np.nan, 2000.0]], dtype=np.float32)})[0]
    assert np.isnan(probabilities).all()


def test_a_constant_alone_has_no_file() -> None:
    with pytest.raises(Problem) as caught:
        onnx_bytes(model(Fit.MODEL_LINEAR_REGRESSION, "a ~ 1"))
    assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "no_onnx")


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model(Fit.MODEL_LINEAR_REGRESSION, "a ~ b")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(Problem) as caught:
        onnx_bytes(found)
    assert (caught.value.code, caught.value.kind) == ("onnx_missing", Kind.UNAVAILABLE)
