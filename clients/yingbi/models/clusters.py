"""k-means from what rounds release: where to begin, each step, and the centres with their errors. Pure.

Round 0 releases means and squares of the scaled columns. The first centres are made of these: points of a sequence that
fills space evenly (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018), as quantiles of a normal
distribution with those means and variances. They are the same for everybody who has the receipt; drawn from rows they
would have to be paid for.

Every further round has, of each centre c with the n persons who are nearest to it, n/2, Σ u·(z − c)/|z − c| and
Σ u²/4, u being min(1, |z − c|/R) (NearestCentre in plan.proto). The centre moves by R/n times the second, and no
further than R. R is what the root mean square distance to the mean was in round 0, and then twice that to the nearest
centre where that is less: the noise of a centre is R·σ/n, and few persons are further than that from theirs; those pull
as if they were at R.

A centre whose n is within three times its noise of 0 is nobody's. While there are rounds to come for it, it is put
beside the centre with the largest Σ u², which both leave to opposite sides, by half the root mean square distance.

Errors are of first order: of the noise of the last step, and of sampling as if the persons of a cluster were drawn
around its centre, equally far in all directions. Which centres were found is in neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from yingbi.api import zcdp
from yingbi.api.training import rho_units_of_round
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.display import cell_text, error_text
from yingbi.extras import learn_extra
from yingbi.linear_model import Columns
from yingbi.models.lines import (
    FitLine,
    digits,
    fingerprint_of,
    frame_of,
    is_complete,
    number_json,
    variables_of,
)
from yingbi.models.lines import rows_of as design_rows
from yingbi.regression import Coefficient
from yingbi.rounds import Released
from yingbi.uncertain import Z

if TYPE_CHECKING:
    import pandas as pd

Point = tuple[float, ...]

SIZE = "(Size)"
SEEN = 3.0
"""Times its noise that the number of a cluster's persons must be above 0."""
LAST_MOVES = 2
"""Rounds that a centre which is put elsewhere is to have."""
_LENGTH = math.sqrt(21) / 4


@dataclass(frozen=True)
class Cluster:
    """A centre in scaled columns, and what the last round said of it."""

    centre: Point
    units: float = 0.0
    inertia: float = 0.0
    """Σ of squared distances to where the centre was in the last round, each of R² at most."""
    error: float | None = None
    """Of each coordinate, of noise; None where nobody is seen to be there."""


@dataclass(frozen=True)
class ClusterState:
    """What is known after some rounds."""

    fit: Fit
    """Of the last round's plan."""
    units: float
    units_error: float
    clusters: tuple[Cluster, ...]
    max_distance: float
    """R of the next round."""
    moved: float = 0.0
    """Root mean square of what the centres moved by in the last round, by persons."""
    inertia_error: float = 0.0
    """Of `inertia`, of noise."""

    @property
    def is_told(self) -> bool:
        """Whether there are units enough beside the noise to tell anything."""
        return self.units > Z * self.units_error

    @property
    def inertia(self) -> float:
        """The mean squared distance of a person to the nearest centre, in scaled columns."""
        return max(0.0, math.fsum(each.inertia for each in self.clusters)) / max(self.units, 1.0)


class KMeansRule:
    """A `yingbi.rounds.Rule`."""

    def first(self, rounds: int) -> TrainingRound:
        return TrainingRound(number=0, rounds=rounds)

    def after(self, state: ClusterState | None, released: Released) -> ClusterState:
        try:
            return _began(released) if state is None else _stepped(state, released)
        except (OverflowError, ZeroDivisionError, ValueError) as error:
            raise PlanError("the rounds give a model that is not finite") from error

    def next(self, state: ClusterState) -> TrainingRound | None:
        done = state.fit.round
        if done.number + 1 >= done.rounds:
            return None
        found = TrainingRound(number=done.number + 1, rounds=done.rounds, max_residual=state.max_distance)
        found.parameters[:] = [each for cluster in state.clusters for each in cluster.centre]
        return found


def quasi_random(place: int, columns: int) -> Point:
    """A point of the unit cube, from 0 on: each is far from those before it."""
    golden = 2.0
    for _ in range(60):
        golden = (1 + golden) ** (1 / (columns + 1))
    return tuple((0.5 + (place + 1) / golden ** (column + 1)) % 1.0 for column in range(columns))


def _began(released: Released) -> ClusterState:
    fit, values, noise = released.plan.fit, released.values, released.deviation
    count = len(fit.columns)
    units = max(values[0], noise)
    ends = [(column.lower, column.upper) for column in fit.columns]
    means = [_within(value / units, *own) for value, own in zip(values[1 : 1 + count], ends, strict=True)]
    least = max(noise / units, 1e-6)
    variances = [
        min(max(value / units - mean * mean, least), 1.0)
        for value, mean in zip(values[1 + count :], means, strict=True)
    ]
    spread, normal = [math.sqrt(each) for each in variances], NormalDist()
    centres = (
        [
            _within(mean + size * normal.inv_cdf(_within(part, 1e-3, 1 - 1e-3)), *own)
            for mean, size, part, own in zip(means, spread, quasi_random(place, count), ends, strict=True)
        ]
        for place in range(fit.components)
    )
    clusters = tuple(Cluster(tuple(centre)) for centre in centres)
    return ClusterState(fit, values[0], noise, clusters, math.sqrt(math.fsum(variances)))


def _stepped(state: ClusterState, released: Released) -> ClusterState:
    fit, reach, noise = released.plan.fit, state.max_distance, released.deviation
    count = len(fit.columns)
    parts = [released.values[start : start + count + 2] for start in range(0, len(released.values), count + 2)]
    clusters = [_moved(fit, own, part, reach, noise) for own, part in zip(state.clusters, parts, strict=True)]
    seen = [each for each in clusters if each.error is not None]
    units = math.fsum(each.units for each in clusters)
    ways = zip(state.clusters, clusters, strict=True)
    squares = math.fsum(max(new.units, 0.0) * _square(old.centre, new.centre) for old, new in ways)
    inside = math.fsum(each.inertia for each in seen) / max(math.fsum(each.units for each in seen), 1.0)
    further = max(2 * math.sqrt(max(inside, 0.0)), reach / 4) if seen else reach
    if seen and fit.round.number + LAST_MOVES < fit.round.rounds:
        _seat(fit, clusters)
    error = 2 * noise * math.sqrt(len(clusters))
    moved = math.sqrt(squares / max(units, 1.0))
    # As of each cluster's sum of squares: one cell, and the number of units that all are divided by.
    square = 4 * reach * reach * noise * math.sqrt(len(clusters))
    mean = math.fsum(each.inertia for each in clusters) / max(units, 1.0)
    told = math.hypot(square, mean * error) / max(units, 1.0)
    return ClusterState(fit, units, error, tuple(clusters), min(reach, further), moved, told)


def _moved(fit: Fit, own: Cluster, part: Sequence[float], reach: float, noise: float) -> Cluster:
    units, inertia = 2 * part[0], 4 * reach * reach * part[-1]
    if units <= SEEN * 2 * noise:
        return Cluster(own.centre, units, max(inertia, 0.0))
    step = [reach * each / units for each in part[1:-1]]
    length = math.hypot(*step)
    shorter = min(1.0, reach / length) if length else 1.0
    ends = [(column.lower, column.upper) for column in fit.columns]
    centre = tuple(_within(at + each * shorter, *end) for at, each, end in zip(own.centre, step, ends, strict=True))
    # Of the sum, and of the number of persons, which the step is divided by.
    error = math.hypot(reach * noise, 2 * noise * length / math.sqrt(len(step))) / units
    return Cluster(centre, units, max(inertia, 0.0), error)


def _seat(fit: Fit, clusters: list[Cluster]) -> None:
    """Put centres that are nobody's beside those that have most around them; in place."""
    weights = [each.inertia if each.error is not None else -1.0 for each in clusters]
    for place, each in enumerate(clusters):
        if each.error is not None:
            continue
        largest = max(range(len(weights)), key=weights.__getitem__)
        host, weights[largest] = clusters[largest], weights[largest] / 4
        half = math.sqrt(host.inertia / max(host.units, 1.0)) / 2
        way = _direction(fit.round.number * len(clusters) + place, len(fit.columns))
        clusters[place] = Cluster(_beside(fit, host.centre, way, half), each.units, each.inertia)
        clusters[largest] = Cluster(_beside(fit, host.centre, way, -half), host.units, host.inertia, host.error)


def _direction(place: int, columns: int) -> Point:
    normal = NormalDist()
    drawn = [normal.inv_cdf(_within(each, 1e-3, 1 - 1e-3)) for each in quasi_random(place, columns)]
    length = math.hypot(*drawn) or 1.0
    return tuple(each / length for each in drawn) if any(drawn) else (1.0, *[0.0] * (columns - 1))


def _beside(fit: Fit, centre: Point, way: Point, far: float) -> Point:
    columns = zip(centre, way, fit.columns, strict=True)
    return tuple(_within(at + far * each, column.lower, column.upper) for at, each, column in columns)


def _within(value: float, lower: float, upper: float) -> float:
    return min(max(value, lower), upper)


def _square(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum((a - b) * (a - b) for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class KMeansModel:
    """Centres, and which of them rows of one's own are nearest to: no data of the zone is in it, but its numbers."""

    state: ClusterState

    @property
    def fit(self) -> Fit:
        return self.state.fit

    @property
    def formula(self) -> str:
        return self.fit.formula

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        return variables_of(self.fit.columns)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [each.name for each in self.fit.columns]

    @property
    def units(self) -> float:
        return self.state.units

    @cached_property
    def centres(self) -> tuple[tuple[Coefficient, ...], ...]:
        """In the units of the data; without errors where nobody is seen to be."""
        return tuple(tuple(self._coordinates(each)) for each in self.state.clusters)

    @property
    def sizes(self) -> tuple[Coefficient, ...]:
        """Persons of each cluster, as the last round counted them."""
        error = self.state.units_error / math.sqrt(len(self.state.clusters))
        return tuple(Coefficient(SIZE, each.units, error, error) for each in self.state.clusters)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        return fingerprint_of(
            {
                "model": Fit.Model.Name(self.fit.model),
                "formula": self.formula,
                "centres": [[digits(each.value)[:-7] for each in centre] for centre in self.centres],
            }
        )

    @property
    def lines(self) -> list[FitLine]:
        """Of each cluster its size and its centre."""
        return [
            FitLine((f"cluster {number}", each.name), (each,))
            for number, (size, centre) in enumerate(zip(self.sizes, self.centres, strict=True))
            for each in (size, *centre)
        ]

    @property
    def words(self) -> list[str]:
        """How near the centres are."""
        state = self.state
        empty = sum(each.error is None for each in state.clusters)
        lines = [
            f"{cell_text(state.units, state.units_error)} units; {error_text(math.sqrt(state.inertia))} from the "
            "nearest centre (root mean square, of columns scaled to [-1, 1])"
        ]
        if empty:
            lines.append(f"{empty} of {len(state.clusters)} centres have nobody whom noise lets be seen")
        return [*lines, f"fingerprint {self.fingerprint}"]

    def predict(self, rows: Columns) -> list[int | None]:
        """The nearest centre of each row, from 0; None where a variable has no value. Raises Problem as `rows_of`."""
        return [
            None if math.isnan(each[0]) else min(range(len(each)), key=each.__getitem__)
            for each in self.transform(rows)
        ]

    def transform(self, rows: Columns) -> list[list[float]]:
        """The distances to all centres, in columns scaled to [-1, 1]; NaN where a variable has no value."""
        found = []
        for row in design_rows(self.fit.columns, rows):
            z = [(x - column.centre) / column.half_range for x, column in zip(row, self.fit.columns, strict=True)]
            found.append(
                [math.sqrt(_square(z, each.centre)) if is_complete(row) else math.nan for each in self.state.clusters]
            )
        return found

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """The design's columns as a frame: what `estimator()` is asked with."""
        return frame_of(self.fit.columns, rows)

    def estimator(self) -> Any:
        """A fitted scikit-learn KMeans, behind a scaler that does what the bounds do, on `frame_of`'s columns.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, cluster, pipeline, preprocessing = learn_extra(_sklearn)
        columns, count = self.fit.columns, max(1, round(self.units))
        found = cluster.KMeans(n_clusters=len(self.state.clusters), n_init=1)
        found.cluster_centers_ = pd.DataFrame([list(each.centre) for each in self.state.clusters]).to_numpy().copy("C")
        found.n_features_in_, found._n_features_out = len(columns), len(self.state.clusters)
        found._n_threads, found.n_iter_ = 1, self.fit.round.number
        found.inertia_ = self.state.inertia * count
        scaler = preprocessing.StandardScaler()
        scaler.mean_ = pd.Series([each.centre for each in columns], dtype="float64").to_numpy()
        scaler.scale_ = pd.Series([each.half_range for each in columns], dtype="float64").to_numpy()
        scaler.var_, scaler.n_features_in_, scaler.n_samples_seen_ = scaler.scale_**2, len(columns), count
        scaler.feature_names_in_ = pd.Series(self.names, dtype=object).to_numpy()
        return pipeline.make_pipeline(scaler, found)

    def to_json(self) -> dict[str, object]:
        return {
            "model": "KMeans",
            "formula": self.formula,
            "columns": self.names,
            "clusters": [
                {"size": number_json(size), "centre": [number_json(each) for each in centre]}
                for size, centre in zip(self.sizes, self.centres, strict=True)
            ],
            "inertia": self.state.inertia,
            "inertia_noise_error": self.state.inertia_error,
            "units": self.units,
            "units_error": self.state.units_error,
            "rounds": self.fit.round.number + 1,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        numbers = (
            f"{line.keys[0]} {line.keys[1]} {cell_text(number.value, number.std_error)}"
            for line in self.lines
            for number in line.numbers
            if number is not None
        )
        return "\n".join([self.formula, *numbers])

    def _coordinates(self, cluster: Cluster) -> Iterator[Coefficient]:
        variance = cluster.inertia / max(cluster.units, 1.0) / len(self.names)
        for column, at in zip(self.fit.columns, cluster.centre, strict=True):
            value = column.centre + column.half_range * at
            if cluster.error is None:
                yield Coefficient(column.name, value, None, None)
                continue
            both = math.hypot(cluster.error, math.sqrt(variance / max(cluster.units, 1.0)))
            yield Coefficient(column.name, value, column.half_range * cluster.error, column.half_range * both)


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import cluster, pipeline, preprocessing

    return pd, cluster, pipeline, preprocessing


def expected_errors(plan: Plan, units: int) -> list[tuple[str, float]]:
    """Of each column the error of a centre's coordinate, of noise alone, as if columns were spread evenly.

    Clusters are taken to be equally large, and to be as wide as cells of the whole range.

    Raises:
        PlanError: the plan's price means nothing.
    """
    fit, rounds = plan.fit, plan.fit.round.rounds
    try:
        whole = zcdp.bought(plan.epsilon, plan.delta)[0]
    except zcdp.BadPrivacyParameter as error:
        raise PlanError("the plan's price means nothing") from error
    rho = rho_units_of_round(whole, rounds - 1, rounds) / zcdp.RHO_UNITS
    variance = math.fsum((each.upper - each.lower) ** 2 / 12 for each in fit.columns)
    reach = min(1.0, 2 * fit.components ** (-1 / len(fit.columns))) * math.sqrt(variance)
    shares = math.sqrt(plan.noise.parties / max(plan.noise.parties - plan.noise.curious, 1))
    noise = _LENGTH * plan.noise.parties_per_unit * shares / math.sqrt(2 * rho)
    return [(each.name, each.half_range * reach * noise * fit.components / units) for each in fit.columns]


def row_vector(plan: Plan, z: Sequence[float]) -> list[float]:
    """What a row of scaled columns makes in a round; for rehearsals."""
    own = plan.fit.round
    if own.number == 0:
        return [1.0, *z, *(each * each for each in z)]
    count = len(z)
    centres = [own.parameters[start : start + count] for start in range(0, len(own.parameters), count)]
    squares = [_square(z, each) for each in centres]
    nearest = squares.index(min(squares))
    length = math.sqrt(squares[nearest])
    inside = min(1.0, length / own.max_residual)
    away = [(a - b) / max(length, own.max_residual) for a, b in zip(z, centres[nearest], strict=True)]
    cells = [0.5, *away, 0.25 * inside * inside]
    return [each for place in range(len(centres)) for each in (cells if place == nearest else [0.0] * len(cells))]


def said(state: ClusterState) -> str:
    """One line about a round."""
    own = state.fit.round
    line = f"round {own.number + 1} of {own.rounds}"
    if not own.number:
        return f"{line}: means and spreads"
    inertia = cell_text(state.inertia, state.inertia_error)
    return f"{line}: objective {inertia} (inertia), centres moved by {error_text(state.moved)}"
