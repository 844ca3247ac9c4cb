"""k-means, from the gateway's plans through the engine and noise to centres: without a zone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import made_people as made  # type: ignore[import-not-found]
import numpy as np
import pyarrow as pa
import pytest
import yingbi
from yingbi.answer import check_readable
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.forecasts import predicted_errors
from yingbi.models.clusters import ClusterState, KMeansModel, KMeansRule, quasi_random, row_vector
from yingbi.rounds import Released, check_round, followed

from enclave_sim.engine.duckdb_engine import DuckDBEngine

BLOBS = np.array([[-0.6, -0.5], [0.6, -0.4], [0.0, 0.5]])
"""Centres in scaled columns."""
SPREAD = 0.06
FORMULA = "~ a + b"


def blobs(count: int, seed: int, *, rows: int = 1) -> dict[str, list[object]]:
    """People around three places, with so many rows each."""
    draw = np.random.default_rng(seed)
    where = np.repeat(draw.choice(3, count, p=[0.5, 0.3, 0.2]), rows)
    z = BLOBS[where] + SPREAD * draw.normal(size=(len(where), 2))
    (a, b) = (made.BOUNDS[name] for name in "ab")
    return {
        **made.people(count, seed, rows=rows),
        "a": ((a[0] + a[1]) / 2 + (a[1] - a[0]) / 2 * np.clip(z[:, 0], -1, 1)).tolist(),
        "b": ((b[0] + b[1]) / 2 + (b[1] - b[0]) / 2 * np.clip(z[:, 1], -1, 1)).tolist(),
    }


def asked(own: TrainingRound, *, clusters: int = 3, epsilon: float = 1.0, rows: int = 1) -> Plan:
    spec = yingbi.KMeans(FORMULA, rounds=own.rounds, clusters=clusters)
    message = spec.message(own)
    found: Plan = made.plan(message.model, FORMULA, epsilon=epsilon, rows=rows, round=own, components=clusters)
    return found


def trained(
    who: dict[str, list[object]], seed: int | None = 0, *, rounds: int = 8, clusters: int = 3, epsilon: float = 1.0,
    rows: int = 1,
) -> list[Released]:  # fmt: skip
    """What all rounds release; without noise where there is no seed."""
    rule, draw = KMeansRule(), None if seed is None else Random(seed)
    released: list[Released] = []
    state: ClusterState | None = None
    own: TrainingRound | None = rule.first(rounds)
    while own is not None:
        plan = asked(own, clusters=clusters, epsilon=epsilon, rows=rows)
        check_readable(plan)
        released.append(Released.of(plan, made.opened(plan, who, draw)))
        state = rule.after(state, released[-1])
        own = rule.next(state)
    return released


def model_of(released: Sequence[Released]) -> KMeansModel:
    """As whoever has the receipts makes it."""
    return KMeansModel(followed(KMeansRule(), released).state)


def scaled(model: KMeansModel) -> made.Floats:
    return np.array([each.centre for each in model.state.clusters])


def far_from(model: KMeansModel, places: made.Floats) -> float:
    """The largest distance of a place to the nearest centre."""
    return float(np.sqrt(((places[:, None] - scaled(model)[None]) ** 2).sum(axis=2)).min(axis=1).max())


def test_places_around_which_people_are_become_centres() -> None:
    model = model_of(trained(blobs(4000, 1), epsilon=2.0))
    assert far_from(model, BLOBS) < 0.02
    sizes = sorted(each.value for each in model.sizes)
    assert sizes == pytest.approx([800, 1200, 2000], rel=0.15)
    assert model.state.inertia == pytest.approx(2 * SPREAD**2, rel=0.2)
    # In the units of the data.
    nearest = min(range(3), key=lambda place: abs(scaled(model)[place] - BLOBS[2]).sum())
    assert [each.value for each in model.centres[nearest]] == pytest.approx([1.0, 2020.0], abs=0.5)


def test_without_noise_a_step_is_lloyds() -> None:
    """Where nobody is further than R from a centre, a centre becomes the mean of those who are nearest to it."""
    who = blobs(500, 2)
    rule, rounds = KMeansRule(), trained(who, None, epsilon=1000.0)
    z = (made.matrix(who, "ab") - [1.0, 2010.0]) / [4.0, 20.0]
    before: ClusterState = followed(rule, rounds[:-1]).state
    after: ClusterState = followed(rule, rounds).state
    old = np.array([each.centre for each in before.clusters])
    labels = ((z[:, None] - old[None]) ** 2).sum(axis=2).argmin(axis=1)
    for place, each in enumerate(after.clusters):
        np.testing.assert_allclose(each.centre, z[labels == place].mean(axis=0), atol=2e-3)
        assert each.units == pytest.approx((labels == place).sum(), abs=0.1)


def test_a_person_with_many_rows_counts_once() -> None:
    one, many = (model_of(trained(blobs(600, 3, rows=rows), None, rows=rows, epsilon=50.0)) for rows in (1, 4))
    assert many.units == pytest.approx(one.units, abs=1)


def test_errors_are_those_that_many_releases_of_the_last_round_show() -> None:
    who = blobs(3000, 4)
    rounds = trained(who, None, epsilon=1.0)
    before = followed(KMeansRule(), rounds[:-1]).state
    plan, rule, draw, sums = rounds[-1].plan, KMeansRule(), Random(5), made.opened(rounds[-1].plan, who)
    exact = rule.after(before, rounds[-1])
    noised = [rule.after(before, Released.of(plan, made.noised(plan, sums, draw))) for _ in range(60)]
    inside = [
        abs(found - true) <= 1.96 * (own.error or 0.0)
        for each in noised
        for own, centre in zip(each.clusters, exact.clusters, strict=True)
        for found, true in zip(own.centre, centre.centre, strict=True)
    ]
    assert 0.92 <= np.mean(inside) <= 0.98
    told = np.median([own.error or 0.0 for each in noised for own in each.clusters])
    foretold = dict.fromkeys("ab", 0.0) | {
        each.column: each.std_error or 0.0 for each in predicted_errors(plan).average_errors if each.rows == 1000
    }
    # Clusters of 1,000 persons that fill the range; these are narrower, and their noise is less.
    assert 0.05 <= told * 4.0 / (foretold["a"] / 3) <= 1.5


def test_the_first_centres_are_the_same_for_everybody_and_apart() -> None:
    points = np.array([quasi_random(place, 2) for place in range(16)])
    assert points.min() >= 0
    assert points.max() < 1
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))[~np.eye(16, dtype=bool)]
    assert distances.min() > 0.1
    assert [tuple(each) for each in points] == [quasi_random(place, 2) for place in range(16)]


def test_a_centre_with_nobody_around_it_is_put_where_most_are() -> None:
    """Six centres for three places: were empty ones left alone, some would never have had anybody."""
    model = model_of(trained(blobs(6000, 6), epsilon=4.0, clusters=6, rounds=10))
    assert sum(each.error is not None for each in model.state.clusters) >= 5
    assert far_from(model, BLOBS) < 3 * SPREAD


def test_centres_that_noise_hides_claim_nothing() -> None:
    model = model_of(trained(blobs(60, 7), epsilon=0.2, clusters=5))
    hidden = [place for place, each in enumerate(model.state.clusters) if each.error is None]
    assert hidden
    assert all(one.std_error is None for place in hidden for one in model.centres[place])
    assert "nobody whom noise lets be seen" in " ".join(model.words)


def test_a_rows_vector_is_the_engines() -> None:
    """What rehearsals do in Python, for people with one row each."""
    who = blobs(50, 8)
    own = TrainingRound(number=2, rounds=8, parameters=BLOBS.ravel().tolist(), max_residual=0.1)
    plan = asked(own)
    z = (made.matrix(who, "ab") - [1.0, 2010.0]) / [4.0, 20.0]
    expected = np.sum([row_vector(plan, row) for row in z.tolist()], axis=0)
    engine = DuckDBEngine().contribution(plan, lambda _, names: pa.table(who).select(list(names)))
    np.testing.assert_allclose(np.array(engine) / 2**16, expected, atol=1e-3)


def test_no_row_is_longer_than_the_norm_that_is_paid_for() -> None:
    """So nobody is cut; the enclaves' proof does not need it."""
    plan = asked(TrainingRound(number=1, rounds=8, parameters=BLOBS.ravel().tolist(), max_residual=0.3))
    draw = np.random.default_rng(9)
    longest = max(math.hypot(*row_vector(plan, row)) for row in draw.uniform(-1, 1, (2000, 2)).tolist())
    assert longest <= plan.statistics[0].model_vector.max_norm / 2**16 <= longest * 1.0001


def test_the_estimator_and_the_model_agree() -> None:
    pytest.importorskip("sklearn")
    who = blobs(300, 10)
    model = model_of(trained(who))
    estimator, frame = model.estimator(), model.frame_of(who)
    assert estimator.predict(frame).tolist() == model.predict(who)
    np.testing.assert_allclose(estimator.transform(frame), model.transform(who), atol=1e-9)
    assert model.predict({"a": [None], "b": [2000]}) == [None]


def test_an_onnx_runtime_says_the_same() -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from yingbi.models.onnx_export import onnx_bytes

    who = blobs(300, 11)
    model = model_of(trained(who))
    session = onnxruntime.InferenceSession(onnx_bytes(model), providers=["CPUExecutionProvider"])
    labels, distances = session.run(None, {"X": made.matrix(who, "ab").astype(np.float32)})
    assert labels.tolist() == model.predict(who)
    np.testing.assert_allclose(distances, model.transform(who), atol=1e-3)


def test_rounds_that_do_not_follow_are_no_model() -> None:
    rounds = trained(blobs(500, 12))
    model = model_of(rounds)
    assert model.fingerprint == model_of(rounds).fingerprint
    with pytest.raises(PlanError, match="does not follow"):
        model_of([rounds[0], *rounds[2:]])
    changed = Plan()
    changed.CopyFrom(rounds[2].plan)
    for numbers in (changed.fit.round.parameters, changed.statistics[0].model_vector.nearest_centre.centres):
        numbers[0] += 0.25
    with pytest.raises(PlanError, match="does not follow"):
        model_of([*rounds[:2], Released(changed, rounds[2].values, rounds[2].deviation)])


FORGED: dict[str, Callable[[Plan], object]] = {
    "no clusters": lambda p: p.fit.ClearField("components"),
    "other clusters": lambda p: setattr(p.fit, "components", 2),
    "other centres": lambda p: p.fit.round.parameters.__setitem__(0, 0.5),
    "another distance": lambda p: setattr(p.fit.round, "max_residual", 9.0),
    "a term too many": lambda p: p.statistics[0].model_vector.terms.add(),
    "another vector": lambda p: p.statistics[0].model_vector.second_moments.SetInParent(),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_round_is_a_plan_error(name: str) -> None:
    plan = asked(TrainingRound(number=1, rounds=8, parameters=BLOBS.ravel().tolist(), max_residual=1.0))
    check_round(plan)
    FORGED[name](plan)
    with pytest.raises(PlanError):
        check_round(plan)


@pytest.mark.parametrize(
    ("given", "field"),
    [({"clusters": 0}, "clusters"), ({"clusters": 2000}, "clusters"), ({"rounds": 3}, "rounds"),
     ({"early_stop": True}, "early_stop")],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(given: dict[str, int], field: str) -> None:
    with pytest.raises(Problem) as caught:
        yingbi.KMeans(FORMULA, **given)  # type: ignore[arg-type]
    assert (caught.value.kind, caught.value.field) == (Kind.MALFORMED, field)


@pytest.mark.parametrize(
    ("own", "clusters", "code"),
    [
        (TrainingRound(number=0, rounds=8), 0, "clusters"),
        (TrainingRound(number=0, rounds=3), 3, "round"),
        (TrainingRound(number=1, rounds=8), 3, "round"),
        (TrainingRound(number=0, rounds=8, parameters=[0.0]), 3, "round"),
        (TrainingRound(number=1, rounds=8, parameters=[math.nan] * 6, max_residual=1), 3, "round"),
        (TrainingRound(number=1, rounds=8, parameters=[0.0] * 6, max_residual=-1), 3, "round"),
    ],
)
def test_the_gateway_refuses_rounds_that_mean_nothing(own: TrainingRound, clusters: int, code: str) -> None:
    with pytest.raises(Problem) as caught:
        made.plan(Fit.MODEL_K_MEANS, FORMULA, round=own, components=clusters)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize(
    ("formula", "place"), [("d ~ a", "1:1"), ("~ a - 1", "1:1"), ("~", "1:2"), ("~ missing", "1:3")]
)
def test_the_gateway_refuses_formulas_with_their_place(formula: str, place: str) -> None:
    with pytest.raises(Problem) as caught:
        made.plan(Fit.MODEL_K_MEANS, formula, round=TrainingRound(number=0, rounds=8), components=3)
    assert (caught.value.field, caught.value.position) == ("formula", place)
