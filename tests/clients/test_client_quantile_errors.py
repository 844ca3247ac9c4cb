"""The stated error of a quantile is the one that many runs show, and so is the one that a preview tells."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import made_plans as made  # type: ignore[import-not-found]
import pytest
from made_plans import formula, grid
from yingbi.answer import table_of
from yingbi.quantile_forecasts import DRAWS, draws_for, expected_error
from yingbi.quantiles import Quantile, Question, Tree, consistent_leaves

TREES = {"fine": Tree(0, 100, 16, 2), "coarse": Tree(0, 100, 8, 2), "flat": Tree(0, 100, 8, 1)}
SHARES = (0.1, 0.5, 0.9)
DEVIATION = 7.0
"""Of a node: about that of a median asked alone at ε = 1, δ = 1e-7, where a unit has one row."""
RUNS = 120

SPREADS: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda draw: draw.uniform(0, 100),
    "skewed": lambda draw: min(99.9, draw.expovariate(1 / 12)),
    "a heap in the middle": lambda draw: min(99.9, max(0.0, draw.gauss(45, 8))),
}


@dataclass(frozen=True)
class Runs:
    """The same rows, asked about many times."""

    true_error: float
    stated: Sequence[float]

    @property
    def ratio(self) -> float:
        """Of the stated error, in the mean square, to the true one."""
        return math.sqrt(statistics.mean(error**2 for error in self.stated)) / self.true_error


def runs(question: Question, counts: Sequence[float], deviation: float = DEVIATION, number: int = RUNS) -> Runs:
    answers = list(answered(question, counts, deviation, number))
    stated = [answer.std_error for answer in answers if answer.std_error is not None]
    return Runs(statistics.pstdev(answer.value for answer in answers), stated)


def answered(question: Question, counts: Sequence[float], deviation: float, number: int) -> Iterator[Quantile]:
    noise = random.Random(11)
    nodes = nodes_of(counts, question.tree.branching)
    for _ in range(number):
        noisy = [node + noise.gauss(0, deviation) for node in nodes]
        found = question.answer(consistent_leaves(question.tree, noisy), deviation)
        if found is not None:
            yield found


def nodes_of(leaves: Sequence[float], branching: int) -> list[float]:
    levels = [list(leaves)]
    while len(levels[-1]) > branching:
        last = levels[-1]
        levels.append([sum(last[place : place + branching]) for place in range(0, len(last), branching)])
    return [count for level in reversed(levels) for count in level]


def drawn(tree: Tree, spread: Callable[[random.Random], float], rows: int) -> list[float]:
    draw, counts = random.Random(rows), [0.0] * tree.leaves
    for _ in range(rows):
        counts[tree.leaf(spread(draw))] += 1
    return counts


@pytest.mark.parametrize("rows", [300, 10_000])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("tree", ["fine", "flat"])
def test_the_stated_error_is_the_true_one(tree: str, spread: str, rows: int) -> None:
    """Within a third where it is below 1 % of the range; above, a tail may be nearly empty, and it is up to twice."""
    counts = drawn(TREES[tree], SPREADS[spread], rows)
    for share in SHARES:
        found = runs(Question(TREES[tree], share), counts)
        assert 0.85 < found.ratio < (1.33 if found.true_error < 1 else 2), (share, found.true_error)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("rows", "deviation"), [(300, DEVIATION), (3_000, DEVIATION), (3_000, 0.5)])
def test_intervals_hold_however_small_noise_is_beside_a_range(spread: str, rows: int, deviation: float) -> None:
    """They cover the whole range that has the quantile."""
    tree = TREES["coarse"]
    counts = drawn(tree, SPREADS[spread], rows)
    below = list(itertools.accumulate(counts))
    for share in SHARES:
        leaf = next(place for place, count in enumerate(below) if count >= share * rows)
        answers = list(answered(Question(tree, share), counts, deviation, 200))
        held = [each.interval[0] <= tree.edge(leaf) and tree.edge(leaf + 1) <= each.interval[1] for each in answers]
        assert sum(held) >= 0.94 * len(held)


@pytest.mark.parametrize("rows", [200, 2_000])
def test_intervals_of_a_difference_of_two_medians_hold(rows: int) -> None:
    """With noise that is large beside a range, and with noise so small that where rows lie inside ranges decides."""
    tree, draw = Tree(0, 16, 4, 2), random.Random(8)
    plan = made.plan(
        [made.ranges(4, 2, 0, 16), made.ranges(4, 2, 0, 16)],
        [formula("SUBTRACT", made.quantile(0, 0.5), made.quantile(1, 0.5))],
    )
    deviation, held = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP, 0
    for _ in range(80):
        exact: list[float] = []
        cells: list[float] = []
        for _ in range(2):
            shape = draw.uniform(0.5, 4)
            values = sorted(16 * draw.random() ** shape for _ in range(rows))
            counts = [0.0] * tree.leaves
            for value in values:
                counts[tree.leaf(value)] += 1
            noisy = (node + draw.gauss(0, deviation) for node in nodes_of(counts, 4))
            exact.append((values[len(values) // 2 - 1] + values[len(values) // 2]) / 2)
            cells += noisy
        (ends,) = table_of(plan, grid(*cells)).intervals[0]
        held += ends is None or ends[0] <= exact[0] - exact[1] <= ends[1]
    assert held >= 75


@pytest.mark.parametrize("rows", [300, 1_000])
def test_the_stated_error_of_a_whole_number_is_the_true_one_within_a_half(rows: int) -> None:
    """Whole numbers jump: a true error of 0.3 is a rare step of 1. Above 1, as for any other quantile."""
    tree = Tree(-0.5, 99.5, 10, 2)
    counts = drawn(tree, SPREADS["a heap in the middle"], rows)
    for share in SHARES:
        found = runs(Question(tree, share, integral=True), counts)
        rms = found.ratio * found.true_error if found.true_error else max(found.stated)
        most = found.true_error + 0.5 if found.true_error < 1 else 2 * found.true_error
        assert 0.85 * found.true_error - 0.1 < rms < most, (share, found.true_error, rms)


@pytest.mark.parametrize("rows", [100, 1_000, 10_000])
@pytest.mark.parametrize("tree", TREES)
def test_a_preview_tells_what_many_runs_show_of_rows_that_are_spread_evenly(tree: str, rows: int) -> None:
    question = Question(TREES[tree], 0.5)
    counts = [rows / question.tree.leaves] * question.tree.leaves
    foretold = expected_error(question, rows, DEVIATION)
    assert foretold == pytest.approx(runs(question, counts, number=500).true_error, rel=0.1)


@pytest.mark.parametrize(("share", "within"), [(0.02, 0.1), (0.25, 0.1), (0.9, 0.1), (0.005, 0.3), (0.995, 0.3)])
def test_a_preview_tells_other_quantiles_too(share: float, within: float) -> None:
    """What MIN and MAX are answered by has long tails: one draw in a hundred makes most of the deviation."""
    question = Question(TREES["coarse"], share)
    counts = [2_000 / question.tree.leaves] * question.tree.leaves
    foretold = expected_error(question, 2_000, DEVIATION)
    assert foretold == pytest.approx(runs(question, counts, number=500).true_error, rel=within)


def test_a_preview_tells_whole_numbers() -> None:
    question = Question(Tree(-0.5, 99.5, 10, 2), 0.5, integral=True)
    foretold = expected_error(question, 1_000, DEVIATION)
    assert foretold == pytest.approx(runs(question, [10.0] * 100, number=500).true_error, rel=0.1)


def test_a_preview_says_the_same_each_time() -> None:
    question = Question(TREES["fine"], 0.5)
    assert expected_error(question, 1_000, DEVIATION) == expected_error(question, 1_000, DEVIATION)


def test_a_preview_tells_nothing_of_rows_that_are_lost_in_noise() -> None:
    assert expected_error(Question(TREES["fine"], 0.5), 100, 100.0) is None


def test_without_noise_there_is_no_error() -> None:
    assert expected_error(Question(TREES["fine"], 0.5), 1_000, 0.0) == 0


def test_a_preview_of_very_many_leaves_draws_less_and_at_last_not_at_all() -> None:
    """What a gateway plans must not keep whoever asks for a preview busy for long."""
    assert draws_for(1_000) == DRAWS
    assert draws_for(10**9) < 50
    question = Question(Tree(0, 1, 10, 4), 0.5)
    assert expected_error(question, 100_000, DEVIATION, draws_for(10**9)) == pytest.approx(
        question.answer([10.0] * 10_000, DEVIATION).std_error  # type: ignore[union-attr]
    )
