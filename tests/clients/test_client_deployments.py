"""Deployments from the client's side: a model's canonical form, where its parameters come from, and files of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.deployment_pb2 import (
    MODEL_KIND_LOGISTIC,
    MODEL_KIND_MULTINOMIAL,
    MODEL_KIND_POISSON,
    DeployedModel,
    DeploymentTerms,
    LinearPredictor,
    ModelForm,
    PredictionInput,
    Provenance,
)
from yingbi.api.v1.deployment_pb2 import Deployment as Message
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, FitFactor, Value
from yingbi.cli.deployments import _columns, _csv_text, _read_csv, _rows_a_day
from yingbi.cli.main import main
from yingbi.deployments import Deployment, Parameters, parameters_of
from yingbi.learning import Model
from yingbi.linear_model import fitted_of
from yingbi.predictions import Predictions
from yingbi.receipt import Receipt
from yingbi.trust import Trust

from enclave_sim.predicting import predict
from gateway.planning.training import plan_training

SALT = bytes(range(32))


def column(name: str, variable: str, level: Value | None = None, width: float = 100.0) -> FitColumn:
    return FitColumn(
        name=name,
        factors=[FitFactor(variable=variable, level=level)],
        centre=0,
        half_range=width,
        lower=-1,
        upper=1,
    )


FORM = ModelForm(
    kind=MODEL_KIND_LOGISTIC,
    columns=[column("age", "age"), column("sex[m]", "sex", Value(string_value="m")), column("old", "old")],
    response="dies",
)


class Gateway:
    """What the SDK needs of one, to look at a deployment."""

    def __init__(self, trust: Trust) -> None:
        self.profile = type("Profile", (), {"trust": trust, "token": "operator-token"})()
        self.approved: list[str] = []

    def approve_deployment(self, name: str, signed: object) -> Message:
        self.approved.append(name)
        return Message()


def trained() -> tuple[Receipt, Parameters, Trust]:
    """A model of a made-up zone, and what it is deployed as."""
    zone = scene.scene()
    asked = TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="age ~ sex")
    from client_gateway import FakeGateway  # type: ignore[import-not-found]

    declaration = FakeGateway(zone)._dataset().declaration
    plan = plan_training(
        asked, declaration, dataset_version=b"\x01" * 32, parties=3, epsilon=1.0, delta=scene.DELTA
    ).plan
    opened = [round(each * 2**16) for each in (10_000, 2_000, -800, 800, -2_200)]
    trust = Trust(zone.ca.pem, scene.MEASUREMENT.hex(), scene.POLICY.hex(), allow_simulation=True)
    receipt = Receipt(scene.receipt_of(zone, plan, opened, "job-1"), trust)
    return receipt, parameters_of(fitted_of(plan, opened)), trust


def shown(
    parameters: Parameters, receipt: Receipt, trust: Trust, salt: bytes = SALT, jobs: Sequence[str] = ("job-1",)
) -> Deployment:
    """A deployment of these parameters that says it is of this receipt."""
    terms = DeploymentTerms(
        deployment="age-1", form=parameters.form, model_digest=rules.model_digest(parameters.sealable(SALT)), jobs=jobs
    )
    message = Message(provenance=Provenance(receipt=receipt.message, salt=salt))
    message.terms.body = rules.canonical(terms)
    gateway: Any = Gateway(trust)
    return Deployment(message, gateway)


def test_what_an_operator_approves_follows_from_the_release_that_is_shown() -> None:
    receipt, parameters, trust = trained()
    honest = shown(parameters, receipt, trust)
    assert "job job-1 released" in honest.check()
    honest.approve()
    assert honest.gateway.approved == ["age-1"]  # type: ignore[attr-defined]


def test_other_parameters_than_the_release_has_are_not_approved() -> None:
    receipt, parameters, trust = trained()
    moved = parameters.predictors[0].coefficients[0] * (1 + 1e-9)
    other = Parameters(parameters.form, (LinearPredictor(intercept=40, coefficients=[moved]),))
    lies = [shown(other, receipt, trust), shown(parameters, receipt, trust, salt=bytes(32))]
    for lie in lies:
        with pytest.raises(Problem) as refused:
            # Not even where approval without a receipt is asked for: one that is shown has to hold.
            lie.approve(without_receipt=True)
        assert refused.value.code == "other_parameters"
        assert lie.gateway.approved == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("jobs", [[], ["job-2"], ["job-1", "job-2"]])
def test_terms_that_name_other_jobs_than_the_release_are_not_approved(jobs: list[str]) -> None:
    """By the jobs that they name, enclaves know which stops a model is under."""
    receipt, parameters, trust = trained()
    lie = shown(parameters, receipt, trust, jobs=jobs)
    with pytest.raises(Problem) as refused:
        lie.approve()
    assert refused.value.code == "other_jobs"
    assert lie.gateway.approved == []  # type: ignore[attr-defined]


def test_a_receipt_that_does_not_verify_proves_nothing() -> None:
    receipt, parameters, trust = trained()
    forged = shown(parameters, receipt, trust)
    forged.message.provenance.receipt.signatures[0].signature = bytes(64)
    with pytest.raises(Problem) as refused:
        forged.approve()
    assert refused.value.kind is Kind.BAD_EVIDENCE
    assert refused.value.code.startswith("receipt_")


def test_the_salt_hides_the_parameters_and_nothing_else_does() -> None:
    _, parameters, _ = trained()
    assert rules.model_digest(parameters.sealable(SALT)) != rules.model_digest(parameters.sealable(bytes(32)))
    assert rules.model_digest(parameters.sealable(SALT)) == rules.model_digest(parameters.sealable(SALT))


def answers(kind: Any, *predictors: LinearPredictor, classes: tuple[str, ...] = ()) -> list[float]:
    form = ModelForm(kind=kind, columns=[column("x", "x")], response="y", classes=classes)
    design = rules.numbers_to_bytes([1.0, -1000.0, math.nan])
    return rules.numbers_of_bytes(predict(DeployedModel(form=form, predictors=predictors), design, None))


def test_links() -> None:
    one = LinearPredictor(intercept=1, coefficients=[2])
    found = answers(MODEL_KIND_LOGISTIC, one)
    assert found[:2] == pytest.approx([1 / (1 + math.exp(-3)), 1 / (1 + math.exp(199))])
    assert math.isnan(found[2])
    assert answers(MODEL_KIND_POISSON, one)[:2] == pytest.approx([math.exp(3), math.exp(-199)])
    other = LinearPredictor(intercept=0, coefficients=[0])
    found = answers(MODEL_KIND_MULTINOMIAL, one, other, classes=("a", "b"))
    assert found[:2] == pytest.approx([math.exp(3) / (1 + math.exp(3)), 1 / (1 + math.exp(3))])
    assert all(map(math.isnan, found[4:]))
    # A predictor that overflows is the largest there is, and no error.
    huge = LinearPredictor(intercept=1e308, coefficients=[1e308])
    assert answers(MODEL_KIND_LOGISTIC, huge)[0] == 1
    assert math.isfinite(answers(MODEL_KIND_POISSON, huge)[0])


@pytest.mark.parametrize(
    "broken",
    [
        Parameters(FORM, ()),
        Parameters(FORM, (LinearPredictor(coefficients=[1, 2]),)),
        Parameters(FORM, (LinearPredictor(coefficients=[1, 2, math.inf]),)),
        Parameters(ModelForm(kind=9, columns=FORM.columns), (LinearPredictor(coefficients=[1, 2, 3]),)),  # type: ignore[arg-type]
        Parameters(ModelForm(kind=MODEL_KIND_LOGISTIC), (LinearPredictor(),)),
        Parameters(
            ModelForm(kind=MODEL_KIND_LOGISTIC, columns=[column("x", "x", width=math.inf)]),
            (LinearPredictor(coefficients=[1]),),
        ),
        Parameters(
            ModelForm(kind=MODEL_KIND_MULTINOMIAL, columns=[column("x", "x")], classes=["a"]),
            (LinearPredictor(coefficients=[1]),),
        ),
    ],
)
def test_what_is_no_model_is_not_sealed(broken: Parameters) -> None:
    with pytest.raises(Problem) as refused:
        broken.sealable(SALT)
    assert refused.value.code == "deployment"


def test_a_trained_model_deploys_its_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    receipt, _, _ = trained()
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("yingbi.deployments.deploy", lambda *said, **terms: asked.append((*said, terms)))
    job: Any = SimpleNamespace(gateway="gateway", receipt=receipt)
    Model(job).deploy(name="age-1", limit=5)
    assert asked == [("gateway", receipt, "age-1", {"limit": 5})]


@pytest.mark.parametrize("columns", [1, 100, 500])
def test_the_longest_order_fits_what_a_gateway_takes(columns: int) -> None:
    form = ModelForm(columns=[column(f"x{number}", "x") for number in range(columns)])
    rows = rules.most_rows(form)
    assert rows >= 2_000
    given = PredictionInput(reply_key=bytes(DEFAULT.encryption_key_bytes), design=bytes(8 * rows * columns))
    assert len(rules.padded(rules.canonical(given))) + rules.SEAL_BYTES <= rules.MAX_SEALED


@given(st.binary(max_size=20_000))
def test_padding_is_taken_off_again_and_leaves_a_power_of_two(data: bytes) -> None:
    made = rules.padded(data)
    assert rules.unpadded(made) == data
    assert len(made) >= rules.LEAST_BYTES
    assert len(made) & (len(made) - 1) == 0


@given(st.binary(max_size=200))
def test_what_was_never_padded_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="padded"):
        rules.unpadded(data)


def test_cells_of_a_file_are_numbers_where_the_model_has_numbers(tmp_path: Path) -> None:
    terms = DeploymentTerms(form=FORM)
    message = Message()
    message.terms.body = rules.canonical(terms)
    gateway: Any = None
    file = tmp_path / "rows.csv"
    file.write_text("id,age,sex,old\n007,50,m,true\n8,,f,no\n", encoding="utf-8-sig")
    header, cells = _read_csv(file)
    found = _columns(Deployment(message, gateway), header, cells)
    assert found == {"id": ["007", "8"], "age": [50.0, None], "sex": ["m", "f"], "old": [1.0, "no"]}
    said = Predictions(("predicted_dies",), ((0.25,), (math.nan,)), ())
    assert _csv_text(header, cells, said) == "id,age,sex,old,predicted_dies\n007,50,m,true,0.25\n8,,f,no,\n"
    file.write_text("a,b\n1\n")
    with pytest.raises(Problem) as refused:
        _read_csv(file)
    assert (refused.value.code, refused.value.position) == ("file", "2:1")


@pytest.mark.parametrize("answer", [False, typer.Abort()])
def test_nothing_is_withdrawn_by_who_does_not_confirm(
    answer: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def confirm(*_: object, **__: object) -> bool:
        if isinstance(answer, BaseException):
            raise answer
        return False

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    # No zone is asked: there is none.
    monkeypatch.setenv("YINGBI_ZONE", "/nowhere")
    assert main(["deployments", "withdraw", "bmi-1"]) == 3
    assert capsys.readouterr().err == "error: bmi-1 stays as it was.\n"


@pytest.mark.parametrize("text", ["", "/day", "10/hour", "-1/day", "1.5", "²"])
def test_a_limit_is_a_number_of_rows_a_day(text: str) -> None:
    assert _rows_a_day("1000/day") == _rows_a_day("1000") == 1000
    with pytest.raises(Problem):
        _rows_a_day(text)
