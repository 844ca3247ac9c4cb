"""A model in rounds from the developer's side: asking round after round, what breaks, and what comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_gateway  # type: ignore[import-not-found]
import client_scene as scene  # type: ignore[import-not-found]
import numpy as np
import pyarrow as pa
import pytest
import yingbi
from client_gateway import FakeGateway, serving
from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.api.templates import kind_of, phase_of, template_of
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.deployment_pb2 import MODEL_KIND_LOGISTIC, DeployedModel
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cli.main import main
from yingbi.deployments import _deployable, parameters_of
from yingbi.generalized_model import GeneralizedModel
from yingbi.jobs import Job
from yingbi.models.clusters import KMeansModel
from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
from yingbi.models.round_specs import LogisticRegression, ModelInRounds
from yingbi.receipt import Receipt
from yingbi.round_learning import TrainingInRounds
from yingbi.rounds_model import RoundsModel
from yingbi.training_receipt import TrainingReceipt
from yingbi_dashboard import job_pages
from yingbi_dashboard.job_pages import objective_line
from yingbi_dashboard.plan_picture import boxes_of

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.predicting import predict
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

SPEC = LogisticRegression("sex ~ age", rounds=6)
MESSAGES = Path(job_pages.__file__).parent / "messages"


def people() -> pa.Table:
    """6,000 people; the older are men more often: the odds are e^(0.05 (age - 50))."""
    draw = np.random.default_rng(3)
    age = draw.uniform(20, 80, 6000)
    men = draw.random(6000) < 1 / (1 + np.exp(-0.05 * (age - 50)))
    return pa.table({UNIT_COLUMN: np.arange(6000), "age": age, "sex": np.where(men, "m", "f")})


class RoundsGateway(FakeGateway):  # type: ignore[misc]
    """Plans rounds, and releases what people hold, without noise."""

    waits = False
    fails_in = -1
    tells_units = True
    plans_other_rounds = False
    more_clusters = 0
    forgets = ""

    def PreviewQuery(self, request: Any, context: Any) -> job_pb2.Preview:
        query, table = request.query, people()
        query.train.round.rounds += self.plans_other_rounds
        query.train.components += self.more_clusters
        if self.forgets:
            query.train.ClearField(self.forgets)
        self.plan = plan_training(
            query.train,
            self._dataset().declaration,
            dataset_version=b"\x01" * 32,
            parties=3,
            epsilon=query.epsilon,
            delta=scene.DELTA,
        ).plan
        exact = DuckDBEngine().contribution(self.plan, lambda _, columns: table.select(list(columns)))
        self.opened = exact if self.tells_units else [0] * len(exact)
        own = self.plan.fit.round.number
        self.ending = job_pb2.JOB_STATE_FAILED if own == self.fails_in else job_pb2.JOB_STATE_SUCCEEDED
        preview: job_pb2.Preview = super().PreviewQuery(request, context)
        preview.state = job_pb2.JOB_STATE_WAITING_FOR_APPROVAL if self.waits else job_pb2.JOB_STATE_PREVIEWED
        return preview


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoundsGateway]:
    made_up = scene.scene()
    monkeypatch.setattr(client_gateway, "FakeGateway", RoundsGateway)
    with serving(made_up) as (gateway, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield gateway


def training(spec: ModelInRounds = SPEC) -> TrainingInRounds:
    return yingbi.connect().dataset("clinic").training(spec)


def trained(**options: Any) -> RoundsModel:
    return training().run(5.0, **options)


def test_rounds_are_asked_one_after_another_and_make_a_model(gateway: RoundsGateway, tmp_path: Path) -> None:
    lines: list[str] = []
    model = trained(request_id="mine", say=lines.append)
    assert [each.request_id for each in gateway.signed] == [f"mine/round-{number}" for number in range(6)]
    assert [row[0] for row in model.table.rows] == ["(Intercept)", "age"]
    assert isinstance(model.fitted, GeneralizedModel)
    constant, slope = (each.value for each in model.fitted.coefficients)
    assert [row[1] for row in model.table.rows] == [constant, slope]
    assert slope == pytest.approx(0.05, abs=0.005)
    assert -constant / slope == pytest.approx(50, abs=2)
    assert model.predict({"age": [20, 80, math.nan]})[:2] == ["f", "m"]
    assert len(lines) == 6
    assert "round 6 of 6: objective" in lines[-1]
    assert "gradient" in lines[-1]
    assert "objective" not in lines[1]
    json.dumps(model.to_json(), allow_nan=False)
    assert model.card["jobs"] == [f"job-{number}" for number in range(1, 7)]
    # Offline, from the receipts alone.
    model.receipt.save(tmp_path / "receipts.json")
    read = Receipt.load(tmp_path / "receipts.json")
    assert isinstance(read, TrainingReceipt)
    assert read.table() == model.table
    assert model.fingerprint in str(model.receipt.verify()[-1])


def test_how_well_the_model_fits_before_each_step_is_in_card_receipts_and_console(gateway: RoundsGateway) -> None:
    """Of the last step's objective, all say the same; each step's own receipt is enough to tell it."""
    model = trained()
    told = model.fitted.state.objectives  # type: ignore[union-attr]
    losses = [each.loss.value for each in told]
    assert len(losses) == 4
    assert losses[0] == pytest.approx(math.log(2), abs=0.01)
    assert 0.55 < losses[-1] < losses[0] - 0.05
    assert model.card["objectives"] == [each.to_json() for each in told]
    assert told[-1].objective_words in str(model.receipt.verify()[-1])
    last = model.jobs[-1]
    assert any(told[-1].objective_words in str(check) for check in last.receipt.verify())
    line = objective_line(last.message)
    assert line is not None
    assert line.parts["log_loss"] in told[-1].objective_words
    for language in ("en", "zh"):
        messages = json.loads((MESSAGES / f"{language}.json").read_text())
        assert line.parts["log_loss"] in messages[line.key].format(**line.parts)
    assert objective_line(model.jobs[1].message) is None
    drawn = [line.key for box in boxes_of(last.message.plan) for line in box.lines]
    assert drawn.count("plan.model_vector") == drawn.count("plan.model_score") == 1
    assert objective_line(job_pb2.Job()) is None
    forged = job_pb2.Job()
    forged.receipt.body = b"\xff"
    assert objective_line(forged) is None


def test_a_model_in_rounds_is_deployed_from_the_receipts_of_all_of_them(gateway: RoundsGateway) -> None:
    """What an operator computes from them is what was sealed; the enclave then says what the model says."""
    model = trained()
    trust = model.job.gateway.profile.trust
    parameters, provenance = _deployable(model, trust)
    assert len(provenance.rounds) == 6
    shown = TrainingReceipt.of(list(provenance.rounds), trust)
    assert parameters_of(shown.model) == parameters
    assert parameters.form.kind == MODEL_KIND_LOGISTIC
    (own,) = parameters.predictors
    deployed = DeployedModel(form=parameters.form, predictors=[own])
    found = rules.numbers_of_bytes(predict(deployed, rules.numbers_to_bytes([25.0, 70.0]), None))
    assert found == pytest.approx([chances[1] for chances in model.predict_proba({"age": [25, 70]})])


def test_models_that_are_no_linear_predictor_are_not_deployed(gateway: RoundsGateway) -> None:
    clusters = training(yingbi.KMeans("~ age", rounds=6, clusters=2)).run(5.0)
    with pytest.raises(Problem) as refused:
        _deployable(clusters, clusters.job.gateway.profile.trust)
    assert refused.value.code == "not_deployable"


def test_all_rounds_together_cost_no_more_than_was_offered(gateway: RoundsGateway) -> None:
    foreseen = training().preview(5.0)
    assert not gateway.jobs
    model = trained()
    assert sum(each.rho_units for each in gateway.signed) == model.rho_units <= foreseen.rho_units
    assert model.rho_units > 0.999 * foreseen.rho_units
    assert "6 rounds" in foreseen.notes[-1]
    assert [each.column for each in foreseen.forecast.average_errors[::3]] == [
        "(Intercept)",
        "age",
        "(objective of each step)",
    ]


def test_a_budget_that_holds_some_rounds_alone_is_too_small(gateway: RoundsGateway) -> None:
    assert not training().preview(10.0).excess
    gateway.jobs |= {f"earlier-{number}": job_pb2.Job() for number in range(5)}
    assert "more than is left" in training().preview(10.0).excess


def test_receipts_that_somebody_reordered_or_left_out_do_not_verify(gateway: RoundsGateway, tmp_path: Path) -> None:
    document = trained().receipt.to_json()
    rounds = document["rounds"]
    assert isinstance(rounds, list)
    file = tmp_path / "receipts.json"
    for broken in ([*rounds[:2], *rounds[3:]], [*rounds, rounds[-1]]):
        file.write_text(json.dumps({"rounds": broken}))
        with pytest.raises(Problem, match="does not follow") as caught:
            Receipt.load(file).verify()
        assert (caught.value.kind, caught.value.code) == (Kind.BAD_EVIDENCE, "receipt_rounds")
    for none in ([], ["x"], {"a": 1}):
        file.write_text(json.dumps({"rounds": none}))
        with pytest.raises(Problem) as caught:
            Receipt.load(file)
        assert caught.value.code == "receipt_format"


def test_a_lost_round_says_what_is_charged_and_asking_again_goes_on_from_there(gateway: RoundsGateway) -> None:
    gateway.fails_in = 3
    with pytest.raises(Problem, match="3 of 6 rounds are done and charged") as caught:
        trained(request_id="mine")
    assert "--request-id mine" in str(caught.value.hint)
    gateway.fails_in, before = -1, len(gateway.jobs)
    trained(request_id="mine")
    # The failed round, once more, and the two that were left.
    assert len(gateway.jobs) == before + 3
    assert "mine/round-3/2" in gateway.by_request


def test_where_jobs_are_approved_the_rounds_are_asked_all_the_same(gateway: RoundsGateway) -> None:
    """The first one waits for whoever approves it, with those that follow or without."""
    gateway.waits = True
    assert len(trained().jobs) == 6
    assert len(gateway.signed) == 6


@pytest.mark.parametrize(
    "spec",
    [
        LogisticRegression("sex ~ age", rounds=6),
        yingbi.PoissonRegression("age ~ sex", rounds=6),
        yingbi.KMeans("~ age", rounds=6, clusters=2),
        NeuralNetwork("sex ~ age", hidden=(4,), rounds=6),
        ExplainableBoosting("sex ~ age", rounds=6),
    ],
)
def test_all_rounds_of_a_model_fit_one_standing_approval(gateway: RoundsGateway, spec: ModelInRounds) -> None:
    """One template, and in each of the three phases one clipping bound and one noise."""
    plans = [Plan.FromString(job.message.plan) for job in training(spec).run(5.0).jobs]
    assert {kind_of(plan) for plan in plans} == {job_pb2.StandingApproval.KIND_ROUNDS}
    assert len({template_of(plan) for plan in plans}) == 1
    assert len(plans) == 6
    assert len({phase_of(plan) for plan in plans}) == 3


def test_too_few_units_end_it_after_the_first_round(gateway: RoundsGateway) -> None:
    gateway.tells_units = False
    with pytest.raises(Problem) as caught:
        trained()
    assert (caught.value.code, len(gateway.signed)) == ("too_few_units", 1)


def test_a_gradient_of_noise_alone_may_end_it_early(gateway: RoundsGateway) -> None:
    eager = LogisticRegression("sex ~ age", rounds=12, early_stop=True)
    model = training(eager).run(5.0)
    assert 6 <= len(gateway.signed) < 12
    assert any("rounds were not asked" in line for line in model.words)
    assert model.receipt.verify()


def test_another_round_than_was_asked_for_is_not_signed(gateway: RoundsGateway) -> None:
    gateway.plans_other_rounds = True
    with pytest.raises(Problem) as caught:
        trained()
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_a_mock_is_the_same_model_of_made_up_rows(gateway: RoundsGateway) -> None:
    table = people()
    frame = {"age": table["age"].to_pylist(), "sex": table["sex"].to_pylist()}
    own = training().mock(5.0, seed=1, frame=frame)
    assert [len(each.measures) for each in own.state.objectives] == [2] * 4  # type: ignore[union-attr]
    assert isinstance(own, GeneralizedModel)
    assert own.coefficients[1].value == pytest.approx(0.05, abs=4 * (own.coefficients[1].std_error or 0))
    assert abs(own.coefficients[1].value - 0.05) < 0.02
    other = training().mock(5.0, rows=2000, seed=1)
    assert isinstance(other, GeneralizedModel)
    made_up = other.coefficients[1]
    assert abs(made_up.value) <= 5 * (made_up.std_error or 0)
    assert not gateway.jobs


CLUSTERS = yingbi.KMeans("~ age", rounds=6, clusters=2)


def test_clusters_are_found_round_after_round_and_follow_from_the_receipts(
    gateway: RoundsGateway, tmp_path: Path
) -> None:
    """Ages from 20 to 80, evenly, in two halves."""
    model, lines = yingbi.connect().dataset("clinic").training(CLUSTERS), list[str]()
    found = model.run(5.0, say=lines.append)
    assert isinstance(found.fitted, KMeansModel)
    assert [row[:2] for row in found.table.rows[:2]] == [("cluster 0", "(Size)"), ("cluster 0", "age")]
    ages = sorted(centre[0].value for centre in found.fitted.centres)
    assert ages == pytest.approx([35, 65], abs=2)
    assert "moved by" in lines[-1]
    older = max(range(2), key=lambda place: found.fitted.centres[place][0].value)  # type: ignore[union-attr]
    assert found.predict({"age": [80, 20]}) == [older, 1 - older]
    json.dumps(found.to_json(), allow_nan=False)
    found.receipt.save(tmp_path / "receipts.json")
    read = Receipt.load(tmp_path / "receipts.json")
    assert read.table() == found.table
    assert found.fingerprint in str(found.receipt.verify()[-1])
    with pytest.raises(Problem, match="KMeans has no predict_proba"):
        found.predict_proba({"age": [1]})


def test_clusters_are_foreseen_and_rehearsed_at_no_cost(gateway: RoundsGateway) -> None:
    asked = yingbi.connect().dataset("clinic").training(CLUSTERS)
    foreseen = asked.preview(5.0)
    assert "one step, and 4 further steps" in foreseen.notes[-1]
    assert "± by size" in repr(foreseen)
    json.dumps(foreseen.to_json(), allow_nan=False)
    ages = [[20.0, 24.0, 70.0, 74.0][place % 4] for place in range(4000)]
    mock = asked.mock(5.0, seed=1, frame={"age": ages})
    assert isinstance(mock, KMeansModel)
    assert sorted(centre[0].value for centre in mock.centres) == pytest.approx([22, 72], abs=2)
    assert not gateway.jobs


def test_another_number_of_clusters_than_was_asked_for_is_not_signed(gateway: RoundsGateway) -> None:
    gateway.more_clusters = 1
    with pytest.raises(Problem) as caught:
        yingbi.connect().dataset("clinic").training(CLUSTERS).run(5.0)
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


def test_the_command_line_finds_clusters(gateway: RoundsGateway, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "clinic", "~ age", "--model", "kmeans", "--clusters", "2", "--rounds", "6", "--epsilon", "5"]
    assert main([*command, "--mock"]) == 0
    assert "cluster 1" in capsys.readouterr()[0]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr()[0])["model"]["model"] == "KMeans"
    assert main([*command, "--early-stop", "--json"]) == 2
    assert main(["train", "clinic", "sex ~ age", "--clusters", "2", "--epsilon", "5", "--json"]) == 2


def test_one_round_alone_is_no_answer(gateway: RoundsGateway) -> None:
    model = trained(request_id="mine")
    with pytest.raises(Problem, match="round 3 of 6") as caught:
        Job(gateway.jobs["job-3"], model.job.gateway).answer()
    assert (caught.value.code, caught.value.details["request_id"]) == ("training_round", "mine")


def test_what_does_not_go_with_rounds_is_refused_before_anything_is_asked(
    gateway: RoundsGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Problem) as caught:
        LogisticRegression("sex ~ age", rounds=3)
    assert caught.value.code == "rounds"
    command = ["--json", "train", "clinic", "sex ~ age", "--epsilon", "5"]
    for wrong in (
        ["--model", "boosting", "--alpha", "1"],
        ["--rounds", "8"],
        ["--model", "poisson", "--no-wait"],
    ):
        assert main([*command, *wrong]) == 2
        assert json.loads(capsys.readouterr().out)["code"] == "usage"
    assert not gateway.signed


@pytest.mark.parametrize(
    "spec", [NeuralNetwork("sex ~ age", hidden=(4,), rounds=20), ExplainableBoosting("sex ~ age", rounds=6)]
)
def test_networks_and_additive_models_are_asked_and_verified_the_same_way(
    gateway: RoundsGateway, tmp_path: Path, spec: ModelInRounds
) -> None:
    foreseen = training(spec).preview(5.0)
    model = training(spec).run(5.0)
    assert model.rho_units <= foreseen.rho_units
    (young, old) = model.predict_proba({"age": [22, 78]})
    assert young[1] < 0.45 < 0.55 < old[1]
    json.dumps(model.to_json(), allow_nan=False)
    assert model.fingerprint in repr(model)
    model.receipt.save(tmp_path / "receipts.json")
    read = Receipt.load(tmp_path / "receipts.json")
    assert model.fingerprint in str(read.verify()[-1])
    table = people()
    frame = {"age": table["age"].to_pylist()[:500], "sex": table["sex"].to_pylist()[:500]}
    asked = len(gateway.jobs)
    assert training(spec).mock(5.0, seed=1, frame=frame).predict({"age": [50.0]})[0] in ("f", "m")
    assert len(gateway.jobs) == asked


@pytest.mark.parametrize("model", ["network", "boosting"])
def test_the_command_line_knows_networks_and_additive_models(
    gateway: RoundsGateway, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    command = ["--json", "train", "clinic", "sex ~ age", "--epsilon", "5", "--model", model]
    assert main([*command, "--preview"]) == 0
    foreseen = json.loads(capsys.readouterr().out)
    assert foreseen["rounds"] == {"network": 31, "boosting": 14}[model]
    what = {"network": "finds scales, one step, and 29", "boosting": "counts by bins, one step, and 12"}[model]
    assert any(f"{what} further steps" in note for note in foreseen["notes"])
    assert main([*command, "--rounds", "6"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["rounds"] == 6
    assert main([*command, "--early-stop"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["code"], told["field"]) == ("usage", "early-stop")
