"""Models with options, and searches among them, from the developer's side: prices, rounds, receipts, command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yingbi
from hypothesis import given
from hypothesis import strategies as st
from test_client_training_rounds import RoundsGateway, gateway  # type: ignore[import-not-found]
from yingbi import stages
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.cli.main import main
from yingbi.models.network_specs import NeuralNetwork
from yingbi.models.round_specs import LogisticRegression, ModelInRounds, PoissonRegression
from yingbi.receipt import Receipt
from yingbi.rounds_model import RoundsModel
from yingbi.search import Search, SearchResult, part_of
from yingbi.search_receipt import SearchReceipt

__all__ = ["gateway"]

EPSILON = 5.0
TRIED = [LogisticRegression("sex ~ age", rounds=6, alpha=alpha) for alpha in (0.0, 100_000.0)]


def searching(models: Any = TRIED) -> Search:
    return yingbi.connect().dataset("clinic").searching(models)


def trained(spec: ModelInRounds, **options: Any) -> RoundsModel:
    return yingbi.connect().dataset("clinic").training(spec).run(EPSILON, **options)


# Options, in the order in which a developer meets them.


@pytest.mark.usefixtures("gateway")
def test_options_are_in_the_card_and_in_what_the_job_says(tmp_path: Path) -> None:
    spec = LogisticRegression("sex ~ age", rounds=6, alpha=2.0, class_weight={"m": 3.0}, score=True)
    lines: list[str] = []
    model = trained(spec, say=lines.append)
    assert len(model.jobs) == len(lines) == 7
    assert "round 7 of 7: on the rows it was trained on: accuracy 0.5" in lines[-1]
    card = model.card
    assert (card["alpha"], card["class_weights"]) == (2.0, [1.0, 3.0])
    assert isinstance(card["score"], dict)
    assert 0.5 < card["score"]["accuracy"] < 0.6
    json.dumps(model.to_json(), allow_nan=False)
    model.receipt.save(tmp_path / "receipt.json")
    checks = Receipt.load(tmp_path / "receipt.json").verify()
    assert "accuracy 0.5" in str(checks[-1])


def test_a_score_is_priced_and_the_whole_is_no_dearer(gateway: RoundsGateway) -> None:
    training = yingbi.connect().dataset("clinic").training(LogisticRegression("sex ~ age", rounds=6, score=True))
    foreseen = training.preview(EPSILON)
    assert "5.0% to measure how well it fits" in foreseen.notes[-1]
    told = foreseen.to_json()["rho_of_rounds"]
    assert isinstance(told, list)
    assert len(told) == foreseen.rounds == 7
    assert told[-1] == pytest.approx(0.05 * sum(told), rel=1e-3)
    model = training.run(EPSILON)
    assert sum(each.rho_units for each in gateway.signed) == model.rho_units <= foreseen.rho_units
    assert zcdp.covers(EPSILON, zcdp.epsilon_of(model.rho_units, model.plan.delta))


def test_who_stops_early_has_a_score_and_pays_for_no_other_round(gateway: RoundsGateway) -> None:
    eager = LogisticRegression("sex ~ age", rounds=12, early_stop=True, score=True)
    model = trained(eager)
    assert 7 <= len(gateway.signed) < 13
    assert model.score is not None
    assert model.rho_units == sum(each.rho_units for each in gateway.signed)
    assert model.receipt.verify()


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize(
    "spec",
    [
        LogisticRegression("sex ~ age", rounds=6, class_weight="balanced", alpha=1.0, score=True),
        NeuralNetwork("sex ~ age", rounds=8, hidden=(4,), class_weight="balanced", score=True),
    ],
)
def test_a_mock_has_the_same_options(spec: ModelInRounds) -> None:
    found = yingbi.connect().dataset("clinic").training(spec).mock(EPSILON, rows=600, seed=1)
    state = found.state
    assert state.score is not None  # type: ignore[union-attr]
    assert 0.3 < state.score.measures[0].value < 0.9  # type: ignore[union-attr]
    assert len(state.balance.weights) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["alpha", "class_weights"])
def test_a_plan_without_the_options_that_were_asked_is_not_signed(gateway: RoundsGateway, field: str) -> None:
    gateway.forgets = field
    with pytest.raises(Problem) as caught:
        trained(LogisticRegression("sex ~ age", rounds=6, alpha=2.0, class_weight={"m": 3.0}))
    assert (caught.value.code, gateway.signed) == ("plan_differs", [])


# Searches.


def test_all_candidates_together_cost_what_was_offered(gateway: RoundsGateway) -> None:
    course = searching()
    foreseen = course.preview(EPSILON)
    assert "2 candidates, 14 rounds" in foreseen.notes[0]
    assert not gateway.signed
    lines: list[str] = []
    found = course.run(EPSILON, say=lines.append)
    spent = sum(each.rho_units for each in gateway.signed)
    assert spent == found.rho_units <= foreseen.rho_units
    whole = zcdp.bought(EPSILON, found.best.plan.delta)[0]
    assert 0.99 * whole < spent <= whole
    plans = [job.receipt.dossier.plan for model in found.models for job in model.jobs]
    assert zcdp.covers(EPSILON, stages.implied_epsilon(plans[0].delta, *plans))
    assert lines[0].startswith("alpha=0.0 (1 of 2): round 1 of 7")
    assert len(lines) == 14


@given(st.floats(0.01, 100), st.integers(2, 50), st.sampled_from([1e-9, 1e-6, 1e-3]))
def test_parts_add_up_to_no_more_than_the_whole(epsilon: float, candidates: int, delta: float) -> None:
    try:
        part = part_of(epsilon, delta, candidates)
    except Problem as problem:  # too little to be divided among so many
        if problem.code != "epsilon":
            raise
        return
    assert candidates * zcdp.bought(part, delta)[0] <= zcdp.bought(epsilon, delta)[0]
    assert candidates * zcdp.bought(part, delta)[0] >= 0.99 * zcdp.bought(epsilon, delta)[0]


@pytest.fixture
def found(gateway: RoundsGateway) -> SearchResult:
    result: SearchResult = searching().run(EPSILON)
    return result


def test_the_winner_has_the_least_noised_loss(found: SearchResult) -> None:
    """A penalty as large leaves hardly a slope, of data that have one."""
    assert found.names == ("alpha=0.0", "alpha=100000.0")
    assert found.place == 0
    assert found.scores[0].loss.value < found.scores[1].loss.value
    assert found.best.predict({"age": [20, 80]}) == ["f", "m"]
    assert "ahead of the next by" in found.words[-1]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_the_receipt_of_a_search_verifies_every_candidate_and_names_the_winner(
    found: SearchResult, tmp_path: Path
) -> None:
    file = tmp_path / "search.json"
    found.receipt.save(file)
    read = Receipt.load(file)
    assert isinstance(read, SearchReceipt)
    assert read.table() == found.best.table
    checks = [str(each) for each in read.verify()]
    assert sum(model.fingerprint in each for each in checks for model in found.models) == 2
    assert "candidate 1 has the least noised loss" in checks[-1]


def _without_score(document: Any) -> None:
    del document["search"][1]["rounds"][-1]


def _one_alone(document: Any) -> None:
    del document["search"][1]


def _reordered(document: Any) -> None:
    rounds = document["search"][0]["rounds"]
    rounds[3], rounds[4] = rounds[4], rounds[3]


def test_a_search_that_somebody_cut_short_does_not_verify(found: SearchResult, tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    for spoil in (_without_score, _one_alone, _reordered):
        document: Any = found.receipt.to_json()
        spoil(document)
        file.write_text(json.dumps(document))
        with pytest.raises(Problem) as caught:
            Receipt.load(file).verify()
        assert caught.value.kind == Kind.BAD_EVIDENCE, spoil


def test_a_budget_that_holds_some_candidates_alone_is_asked_nothing(gateway: RoundsGateway) -> None:
    gateway.jobs |= {f"earlier-{number}": job_pb2.Job() for number in range(5)}
    with pytest.raises(Problem) as caught:
        searching().run(10.0)
    assert (caught.value.code, gateway.signed) == ("over_budget", [])


def test_a_search_that_broke_goes_on_where_it_ended(gateway: RoundsGateway) -> None:
    gateway.fails_in = 6
    with pytest.raises(Problem, match=r"alpha=0.0 \(1 of 2\).*6 of 7 rounds") as caught:
        searching().run(EPSILON, request_id="mine")
    assert "--request-id mine" in str(caught.value.hint)
    gateway.fails_in, before = -1, len(gateway.jobs)
    searching().run(EPSILON, request_id="mine")
    assert len(gateway.jobs) == before + 1 + 7


@pytest.mark.parametrize(
    "models",
    [
        TRIED[:1],
        [TRIED[0], LogisticRegression("sex ~ age", where="age > 50")],
        [TRIED[0], LogisticRegression("(age > 50) ~ sex")],
        [TRIED[0], yingbi.LinearRegression("sex ~ age")],
        TRIED * 26,
    ],
)
def test_what_cannot_be_compared_is_not_asked(gateway: RoundsGateway, models: Any) -> None:
    with pytest.raises(Problem) as caught:
        searching(models)
    assert (caught.value.code, gateway.signed) == ("candidates", [])


def test_classes_beside_numbers_are_refused_by_the_preview(gateway: RoundsGateway) -> None:
    older = "(CASE WHEN age > 50 THEN 1 ELSE 0 END) ~ sex"
    with pytest.raises(Problem, match="classes and others numbers") as caught:
        searching([LogisticRegression(older, rounds=6), PoissonRegression(older, rounds=6)]).run(EPSILON)
    assert (caught.value.code, gateway.signed) == ("candidates", [])


# The command line.

TRAIN = ["train", "clinic", "sex ~ age", "--rounds", "6", "--epsilon", "5", "--json"]


def test_the_command_line_has_the_options(gateway: RoundsGateway, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "logistic", "--alpha", "2", "--class-weight", "m=3", "--score"]
    assert main([*TRAIN, *options]) == 0
    card = json.loads(capsys.readouterr().out)["model"]
    assert (card["alpha"], card["class_weights"]) == (2.0, [1.0, 3.0])
    assert card["score"]["accuracy"] > 0.5
    assert main([*TRAIN, "--model", "network", "--hidden", "4,3", "--class-weight", "balanced", "--preview"]) == 0
    assert list(gateway.plan.fit.round.network.hidden) == [4, 3]
    assert gateway.plan.fit.class_weights.balanced


def test_the_command_line_searches(gateway: RoundsGateway, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tried = ["--model", "logistic", "--try", "alpha=0,100000"]
    assert main([*TRAIN, *tried, "--preview"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == 14
    assert not gateway.signed
    file = tmp_path / "search.json"
    assert main([*TRAIN[:-1], *tried, "--save-receipt", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "log loss" in shown
    assert "alpha=100000.0" in shown
    assert main(["receipt", "verify", str(file)]) == 0
    assert "least noised loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--model", "logistic", "--hidden", "4"],
        ["--model", "network", "--hidden", "4,x"],
        ["--model", "boosting", "--class-weight", "balanced"],
        ["--model", "logistic", "--class-weight", "m"],
        ["--model", "kmeans", "--score"],
        ["--model", "logistic", "--try", "alpha"],
        ["--model", "logistic", "--try", "alpha=0,a"],
        ["--model", "logistic", "--try", "bounds=1,2"],
        ["--model", "boosting", "--try", "alpha=1,2"],
        ["--model", "logistic", "--try", "alpha=0,1", "--mock"],
        ["--model", "linear", "--try", "alpha=0,1"],
    ],
)
def test_options_that_do_not_go_with_a_model_are_refused(
    gateway: RoundsGateway, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    command = [each for each in TRAIN if each not in ("--rounds", "6")] if "linear" in wrong else TRAIN
    assert main([*command, *wrong]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "usage"
    assert not gateway.signed
