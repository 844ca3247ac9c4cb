"""How good a model is, from the opened integers of its evaluation: numbers, and what noise and sampling leave of them.

Most measures are ratios a·c / b·c of sums over a table's cells c (the area under the ROC curve is a ratio of
products). Their errors are of first order: with g the gradient, noise of variance v in each cell makes v·Σ g². The
gradient is that at the noised cells, which makes it larger than at the true ones, by as much as the second order is.
Sampling: persons are drawn independently, and a person is in the cells with weights that add up to 1. As such a
measure f stays what it is where all cells are multiplied, Σ g·c = 0, and a person's part of Σ g·c has the square
Σ g²·(their weights) at most; so Σ g²·c bounds the variance. For persons with one row it is the variance (delta method).

Scores are known by their range alone: within one, they count as its middle, and two are in either order as often.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from yingbi.api.v1.plan_pb2 import Evaluation, Plan, Statistic
from yingbi.cells import Cell, PlanError, to_json, to_python

EVERYBODY = "everybody"
MAX_TABLE = 1024
MAX_NUMBER = 1e100
"""Of scores and errors, whose squares are numbers too."""
_CURVE = 25
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Measured:
    """A number with its errors: of noise alone, and of noise and sampling. None where nothing can be told."""

    value: float | None
    std_error: float | None
    noise_error: float | None

    def to_json(self) -> dict[str, object]:
        return {"value": self.value, "std_error": self.std_error, "noise_error": self.noise_error}


UNKNOWN = Measured(None, None, None)


@dataclass(frozen=True)
class Cells:
    """Persons by cells, as opened; `variance`: of each cell's noise."""

    counts: tuple[float, ...]
    variance: float

    def measured(self, value: float, gradient: Sequence[float]) -> Measured:
        """A measure with this gradient."""
        noise = self.variance * math.fsum(each * each for each in gradient)
        sampling = max(0.0, math.fsum(g * g * c for g, c in zip(gradient, self.counts, strict=True)))
        return Measured(value, math.sqrt(noise + sampling), math.sqrt(noise))

    def sum(self, weights: Sequence[float]) -> float:
        """Σ weight · count."""
        return math.fsum(w * c for w, c in zip(weights, self.counts, strict=True))

    def ratio(self, above: Sequence[float], below: Sequence[float]) -> Measured:
        """Σ above·c / Σ below·c; unknown where noise may have made all of the divisor."""
        divisor = self.sum(below)
        if divisor <= 2 * math.sqrt(self.variance * math.fsum(each * each for each in below)) or divisor <= 0:
            return UNKNOWN
        value = self.sum(above) / divisor
        return self.measured(value, [(a - value * b) / divisor for a, b in zip(above, below, strict=True)])

    def count(self, chosen: Sequence[float]) -> Measured:
        """How many persons are in the chosen cells."""
        found = self.sum(chosen)
        noise = math.sqrt(self.variance * math.fsum(each * each for each in chosen))
        return Measured(found, noise, noise)


@dataclass(frozen=True)
class Point:
    """Of a curve."""

    at: float
    """The threshold, or the middle of scores."""
    x: Measured
    y: Measured

    def to_json(self) -> dict[str, object]:
        return {"at": self.at, "x": self.x.to_json(), "y": self.y.to_json()}


@dataclass(frozen=True)
class Group:
    """A group's measures by name, in order; curves and the confusion matrix, where the task has them."""

    name: str
    measures: dict[str, Measured]
    roc: tuple[Point, ...] = ()
    """x: share of the false that are at or above the threshold, y: share of the true."""
    precision_recall: tuple[Point, ...] = ()
    """x: recall, y: precision."""
    calibration: tuple[Point, ...] = ()
    """x: scores (their middle), y: the share that is true, or right."""
    confusion: tuple[tuple[Measured, ...], ...] = ()
    """Persons by truth (rows) and prediction (columns, the last: no prediction)."""

    def to_json(self) -> dict[str, object]:
        curves = {name: [each.to_json() for each in getattr(self, name)] for name in _CURVES if getattr(self, name)}
        matrix = [[each.to_json() for each in row] for row in self.confusion]
        return {
            "group": self.name,
            "measures": {name: each.to_json() for name, each in self.measures.items()},
            **curves,
            **({"confusion": matrix} if matrix else {}),
        }


_CURVES = ("roc", "precision_recall", "calibration")


@dataclass(frozen=True)
class Quality:
    """What an evaluation says; `groups`: everybody first, then the values of each key."""

    plan: Plan
    opened: tuple[int, ...]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        told = self.plan.evaluation
        make = {
            Evaluation.TASK_BINARY: self._binary,
            Evaluation.TASK_MULTICLASS: self._classes,
            Evaluation.TASK_REGRESSION: self._errors,
        }[told.task]
        return tuple(make(name, chosen) for name, chosen in self._selections())

    @property
    def everybody(self) -> Group:
        """All rows together."""
        return self.groups[0]

    def _selections(self) -> Iterator[tuple[str, list[int]]]:
        """Names of groups, and which combinations of the keys' values they have."""
        keys = self.plan.evaluation.by
        all_ = list(itertools.product(*(range(len(key.values)) for key in keys)))
        yield EVERYBODY, list(range(len(all_)))
        for at, key in enumerate(keys):
            for place, value in enumerate(key.values):
                chosen = [number for number, each in enumerate(all_) if each[at] == place]
                yield f"{key.name} = {to_json(to_python(value))}", chosen

    def _table(self, statistic: int, chosen: Sequence[int], size: int) -> Cells:
        """One table of the plan, added up over these groups; `size`: cells of a group."""
        start = sum(map(self._width, self.plan.statistics[:statistic]))
        groups = [self.opened[start + group * size : start + (group + 1) * size] for group in chosen]
        step = 1 << self.plan.fraction_bits
        sigma = self.plan.statistics[statistic].sigma / step
        counts = tuple(sum(column) / step for column in zip(*groups, strict=True))
        return Cells(counts, len(chosen) * self.plan.noise.parties * sigma * sigma)

    def _width(self, statistic: Statistic) -> int:
        return statistic.range_counts.branching or groups_of(self.plan)

    def _binary(self, name: str, chosen: Sequence[int]) -> Group:
        told = self.plan.evaluation
        table = Scored(self._table(0, chosen, 2 * (told.bins + 1)), told.bins, told.lower, told.upper)
        middle = table.edge_near((told.lower + told.upper) / 2)
        return Group(
            name,
            table.measures(middle),
            table.roc(),
            table.precision_recall(),
            table.calibration(),
            table.confusion(middle),
        )

    def _classes(self, name: str, chosen: Sequence[int]) -> Group:
        told = self.plan.evaluation
        count = len(told.classes)
        table = self._table(0, chosen, count * (count + 1))
        width, cells = count + 1, range(count * (count + 1))

        def chosen_cells(test: Callable[[int, int], bool]) -> list[float]:
            return [float(test(cell // width, cell % width)) for cell in cells]

        everything = [1.0] * len(cells)
        measures = {
            "people": table.count(everything),
            "accuracy": table.ratio(chosen_cells(lambda truth, said: truth == said), everything),
        }
        for at, value in enumerate(told.classes):
            right, label = chosen_cells(lambda t, s, at=at: t == s == at), to_json(to_python(value))  # type: ignore[misc]
            measures[f"recall {label}"] = table.ratio(right, chosen_cells(lambda t, s, at=at: t == at))  # type: ignore[misc]
            measures[f"precision {label}"] = table.ratio(right, chosen_cells(lambda t, s, at=at: s == at))  # type: ignore[misc]
        measures["no prediction"] = table.ratio(chosen_cells(lambda t, s: s == count), everything)
        confidence = Scored(self._table(1, chosen, 2 * (told.bins + 1)), told.bins, told.lower, told.upper)
        found = [table.count([float(cell == own) for cell in cells]) for own in cells]
        matrix = tuple(tuple(found[truth * width : (truth + 1) * width]) for truth in range(count))
        return Group(name, measures, calibration=confidence.calibration(), confusion=matrix)

    def _errors(self, name: str, chosen: Sequence[int]) -> Group:
        return Group(name, error_measures(self.plan, [self._table(at, chosen, 1) for at in range(6)]))


@dataclass(frozen=True)
class Scored:
    """A table of truth (0, 1) by range of score, with a last place for no score."""

    cells: Cells
    bins: int
    lower: float
    upper: float

    @property
    def _size(self) -> int:
        return self.bins + 1

    def edge(self, place: int) -> float:
        """Where the range at this place begins."""
        return self.lower + (self.upper - self.lower) * place / self.bins

    def edge_near(self, threshold: float) -> int:
        """The place whose range begins nearest."""
        return min(range(self.bins + 1), key=lambda place: abs(self.edge(place) - threshold))

    def weights(self, weight: Callable[[int, int], float]) -> list[float]:
        """Of each cell, by truth and place; 0 where there is no score."""
        return [
            float(weight(truth, place)) if place < self.bins else 0.0
            for truth in range(2)
            for place in range(self._size)
        ]

    def measures(self, middle: int) -> dict[str, Measured]:
        """With those at or above the range `middle` said to be true."""
        everything, scored = [1.0] * (2 * self._size), self.weights(lambda truth, place: 1)
        of = self.cells
        is_right = self.weights(lambda truth, place: truth == (place >= middle))
        true, above = self.weights(lambda truth, place: truth), self.weights(lambda truth, place: place >= middle)
        both = self.weights(lambda truth, place: truth and place >= middle)
        false = self.weights(lambda truth, place: 1 - truth)
        below = self.weights(lambda truth, place: not truth and place < middle)
        found = {
            "people": of.count(everything),
            "true": of.ratio(self._truth(1), everything),
            "accuracy": of.ratio(is_right, everything),
            "auc": self.auc(),
            "sensitivity": of.ratio(both, true),
            "specificity": of.ratio(below, false),
            "precision": of.ratio(both, above),
            "no score": of.ratio(self._unscored(), everything),
        }
        if self.lower >= 0 and self.upper <= 1:
            found["brier"] = of.ratio(self.weights(lambda t, p: (self._middle(p) - t) ** 2), scored)
            found["log loss"] = of.ratio(self.weights(self._log_loss), scored)
        return found

    def auc(self) -> Measured:
        """How often a true one has a higher score than a false one, half of those in one range."""
        false, true = self.cells.counts[: self.bins], self.cells.counts[self._size : self._size + self.bins]
        negatives, positives = math.fsum(false), math.fsum(true)
        least = 2 * math.sqrt(self.cells.variance * self.bins)
        if negatives <= max(least, 0.0) or positives <= max(least, 0.0):
            return UNKNOWN
        below = [before + own / 2 for before, own in zip(_sums_before(false), false, strict=True)]
        above = [positives - before - own / 2 for before, own in zip(_sums_before(true), true, strict=True)]
        pairs = positives * negatives
        value = math.fsum(t * b for t, b in zip(true, below, strict=True)) / pairs
        of_false = [each / pairs - value / negatives for each in above]
        of_true = [each / pairs - value / positives for each in below]
        return self.cells.measured(value, [*of_false, 0.0, *of_true, 0.0])

    def roc(self) -> tuple[Point, ...]:
        """Sensitivity by the share of the false that are above, from the highest threshold to the lowest."""
        of, points = self.cells, []
        true, false = self.weights(lambda t, p: t), self.weights(lambda t, p: 1 - t)
        for at in reversed(self._thresholds()):
            x = of.ratio(self.weights(lambda t, p, at=at: (1 - t) * (p >= at)), false)  # type: ignore[misc]
            points.append(Point(self.edge(at), x, of.ratio(self.weights(lambda t, p, at=at: t * (p >= at)), true)))  # type: ignore[misc]
        return tuple(points)

    def precision_recall(self) -> tuple[Point, ...]:
        """Precision by recall, from the highest threshold to the lowest."""
        of, points = self.cells, []
        true = self.weights(lambda t, p: t)
        for at in reversed(self._thresholds()):
            both = self.weights(lambda t, p, at=at: t * (p >= at))  # type: ignore[misc]
            above = self.weights(lambda t, p, at=at: p >= at)  # type: ignore[misc]
            points.append(Point(self.edge(at), of.ratio(both, true), of.ratio(above=both, below=above)))
        return tuple(points)

    def calibration(self) -> tuple[Point, ...]:
        """Which share of those with scores in a range is true."""
        of, edges, points = self.cells, _spread(self.bins, 10), []
        for start, stop in itertools.pairwise(edges):
            here = self.weights(lambda t, p, a=start, b=stop: a <= p < b)  # type: ignore[misc]
            true = self.weights(lambda t, p, a=start, b=stop: t * (a <= p < b))  # type: ignore[misc]
            scores = self.weights(lambda t, p, a=start, b=stop: self._middle(p) * (a <= p < b))  # type: ignore[misc]
            middle = (self.edge(start) + self.edge(stop)) / 2
            points.append(Point(middle, of.ratio(scores, here), of.ratio(true, here)))
        return tuple(points)

    def confusion(self, middle: int) -> tuple[tuple[Measured, ...], ...]:
        """Persons by truth, and whether they are below the threshold, above it, or without a score."""
        rows = []
        for truth in range(2):
            below = self.weights(lambda t, p, truth=truth: t == truth and p < middle)  # type: ignore[misc]
            above = self.weights(lambda t, p, truth=truth: t == truth and p >= middle)  # type: ignore[misc]
            none = [float(cell == truth * self._size + self.bins) for cell in range(2 * self._size)]
            rows.append(tuple(self.cells.count(each) for each in (below, above, none)))
        return tuple(rows)

    def _thresholds(self) -> list[int]:
        return _spread(self.bins, _CURVE - 1)

    def _middle(self, place: int) -> float:
        return (self.edge(place) + self.edge(place + 1)) / 2

    def _log_loss(self, truth: int, place: int) -> float:
        middle = self._middle(place)
        # Above 0 however narrow the ranges are.
        return -math.log(max(middle if truth else 1 - middle, 1e-300))

    def _truth(self, wanted: int) -> list[float]:
        return [float(truth == wanted) for truth in range(2) for _ in range(self._size)]

    def _unscored(self) -> list[float]:
        return [float(place == self.bins) for _ in range(2) for place in range(self._size)]


def _spread(bins: int, parts: int) -> list[int]:
    """At most parts + 1 places from 0 to `bins`, about equally far apart."""
    count = min(bins, parts)
    return [round(bins * number / count) for number in range(count + 1)]


def _sums_before(values: Sequence[float]) -> list[float]:
    return [0.0, *itertools.accumulate(values)][: len(values)]


def error_measures(plan: Plan, sums: Sequence[Cells]) -> dict[str, Measured]:
    """Of the sums 1, e, |e|, e², z, z², as opened: persons, bias, errors and R².

    Noise is of first order; sampling is that of independent persons. Of the root mean square it is as of normal
    errors, and of R² as of a normal pair (Olkin and Finn, 1995), as higher moments are not measured.
    """
    told = plan.evaluation
    half = (told.upper - told.lower) / 2
    # Means of |e|, e² and z² are measured around the middle of [0, 1].
    centres = (0.0, 0.0, 0.5, 0.5, 0.0, 0.5)
    opened = [each.counts[0] for each in sums]

    def of(values: Sequence[float]) -> tuple[float, ...]:
        units = values[0]
        _, e, size, e_square, z, z_square = (
            (value if at in (0, 1, 4) else 0.5 * value + centre * units) / units
            for at, (value, centre) in enumerate(zip(values, centres, strict=True))
        )
        spread = max(z_square - z * z, 1e-12) * half * half
        mean_square = max(e_square, 0.0) * told.error**2
        return (e * told.error, size * told.error, math.sqrt(mean_square), 1 - mean_square / spread, math.sqrt(spread))

    units = opened[0]
    deviations = [math.sqrt(each.variance) for each in sums]
    names = ("bias", "mean absolute error", "root mean square error", "r squared", "response's deviation")
    if units <= 2 * deviations[0] or units < 1:
        return {"people": Measured(units, deviations[0], deviations[0]), **dict.fromkeys(names, UNKNOWN)}
    found = of(opened)
    noise = [0.0] * len(found)
    for at, deviation in enumerate(deviations):
        step = 0.01 * deviation + 1e-9
        up, down = (of([value + sign * step * (at == own) for own, value in enumerate(opened)]) for sign in (1, -1))
        for number, (high, low) in enumerate(zip(up, down, strict=True)):
            noise[number] += ((high - low) / (2 * step) * deviation) ** 2
    bias, absolute, root, r_squared, spread = found
    share = min(max(r_squared, 0.0), 1.0)
    sampling = (
        max(root**2 - bias**2, 0.0) / units,
        max(root**2 - absolute**2, 0.0) / units,
        root**2 / (2 * units),
        4 * share * (1 - share) ** 2 / units,
        spread**2 / (2 * units),
    )
    measures = {"people": Measured(units, deviations[0], deviations[0])}
    for name, value, own, drawn in zip(names, found, noise, sampling, strict=True):
        measures[name] = Measured(value, math.sqrt(own + drawn), math.sqrt(own))
    return measures


def quality_of(plan: Plan, opened: Sequence[int]) -> Quality:
    """What an evaluation says.

    Raises:
        PlanError: the plan is none, or the vector does not fit it.
    """
    check_evaluation(plan)
    sizes = [each.range_counts.branching or groups_of(plan) for each in plan.statistics]
    if len(opened) != sum(sizes):
        raise PlanError(f"the plan has {sum(sizes)} cells, and {len(opened)} integers were opened")
    return Quality(plan, tuple(opened))


def groups_of(plan: Plan) -> int:
    """Combinations of the values of the evaluation's keys."""
    return math.prod(len(key.values) for key in plan.evaluation.by)


def check_evaluation(plan: Plan) -> None:
    """Refuse (PlanError) a plan whose statistics are not what its evaluation says that they are, by their sizes."""
    told, groups = plan.evaluation, groups_of(plan)
    if len(told.by) > 8 or groups > MAX_TABLE or len(told.classes) > MAX_TABLE or told.bins > MAX_TABLE:
        raise PlanError("the evaluation is too large")
    numbers = (told.lower, told.upper, told.error)
    if not all(math.isfinite(each) and abs(each) <= MAX_NUMBER for each in numbers) or not told.lower < told.upper:
        raise PlanError("the evaluation has no range")
    count = len(told.classes)
    match told.task:
        case Evaluation.TASK_BINARY if told.bins:
            wanted = [groups * 2 * (told.bins + 1)]
        case Evaluation.TASK_MULTICLASS if told.bins and count >= 2:
            wanted = [groups * count * (count + 1), groups * 2 * (told.bins + 1)]
        case Evaluation.TASK_REGRESSION if math.isfinite(told.error) and told.error > 0:
            kinds = [each.WhichOneof("kind") for each in plan.statistics]
            keys = [len(key.values) for key in plan.group_by]
            if kinds != ["row_count"] + ["bounded_sum"] * 5 or keys != [len(key.values) for key in told.by]:
                raise PlanError("the evaluation's sums are not those of a model of numbers")
            return
        case _:
            raise PlanError("the evaluation is of no known task")
    sizes = [each.range_counts.branching for each in plan.statistics]
    if sizes != wanted or any(each.range_counts.levels != 1 for each in plan.statistics) or plan.group_by:
        raise PlanError("the evaluation's tables are not what they should be")


def rows_of(quality: Quality) -> list[tuple[Cell, Cell, Measured]]:
    """Group, name and number of every measure, as a table has them."""
    return [(group.name, name, each) for group in quality.groups for name, each in group.measures.items()]


def expected(plan: Plan, units: int) -> Quality:
    """What it would say of so many persons, evenly spread over the groups: half of them true, with scores that are
    right by chance alone as far as they say; for foretelling errors."""
    told, groups = plan.evaluation, groups_of(plan)
    step, cells = units * (1 << plan.fraction_bits) / groups, []
    match told.task:
        case Evaluation.TASK_BINARY:
            cells = _scored(told.bins) * groups
        case Evaluation.TASK_MULTICLASS:
            count = len(told.classes)
            of_truth = [[0.8 if t == s else 0.2 / (count - 1) for s in range(count)] for t in range(count)]
            one = [each / count for row in of_truth for each in (*row, 0.0)]
            cells = one * groups + _scored(told.bins) * groups
        case _:
            # Errors that are normal with a fifth of their range, responses with a third of theirs.
            size, square, spread = 0.2 * math.sqrt(2 / math.pi), 0.04, 1 / 9
            for value in (1.0, 0.0, 2 * (size - 0.5), 2 * (square - 0.5), 0.0, 2 * (spread - 0.5)):
                cells += [value] * groups
    return Quality(plan, tuple(round(each * step) for each in cells))


def _scored(bins: int) -> list[float]:
    middles = [(place + 0.5) / bins for place in range(bins)]
    return [*((1 - each) / bins for each in middles), 0.0, *(each / bins for each in middles), 0.0]
