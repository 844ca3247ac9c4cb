"""Quantiles from noisy trees: consistent, unbiased, and as sure as they say."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.quantiles import Question, Tree, consistent_leaves, rank_deviations, total_deviation

SHAPES = [(2, 1), (2, 4), (3, 2), (4, 3), (7, 1)]
shapes = st.sampled_from(SHAPES)
shares = st.floats(0, 1)


def width(branching: int, levels: int) -> int:
    return sum(branching**level for level in range(1, levels + 1))


def nodes_of(leaves: Sequence[float], branching: int) -> list[float]:
    """Every node's count, exactly."""
    levels = [list(leaves)]
    while len(levels[-1]) > branching:
        last = levels[-1]
        levels.append([sum(last[place : place + branching]) for place in range(0, len(last), branching)])
    return [count for level in reversed(levels) for count in level]


def weights_of(branching: int, levels: int) -> list[list[float]]:
    """The estimate is linear: for each node, what one more in it adds to each leaf."""
    tree, size = Tree(0, 1, branching, levels), width(branching, levels)
    return [consistent_leaves(tree, [float(place == node) for place in range(size)]) for node in range(size)]


@given(shapes, st.data())
def test_consistent_counts_stay_as_they_are(shape: tuple[int, int], data: st.DataObject) -> None:
    """Unbiased: of a linear estimate that is the same as keeping exact counts."""
    tree = Tree(0, 1, *shape)
    exact = data.draw(st.lists(st.integers(0, 1000), min_size=tree.leaves, max_size=tree.leaves))
    assert consistent_leaves(tree, nodes_of(exact, tree.branching)) == pytest.approx(exact, abs=1e-8)


@settings(max_examples=40)
@given(shapes, st.data())
def test_the_estimate_is_the_least_squares_one(shape: tuple[int, int], data: st.DataObject) -> None:
    """Residuals are orthogonal to every consistent vector: to the path of each leaf."""
    branching, levels = shape
    tree = Tree(0, 1, *shape)
    size = width(*shape)
    noisy = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=size, max_size=size))
    fitted = nodes_of(consistent_leaves(tree, noisy), branching)
    for leaf in range(tree.leaves):
        start, residual = 0, 0.0
        for level in range(1, levels + 1):
            node = start + leaf // branching ** (levels - level)
            residual += noisy[node] - fitted[node]
            start += branching**level
        assert residual == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_leaf_and_no_sum_is_less_sure_than_without_the_upper_levels(shape: tuple[int, int]) -> None:
    weights = weights_of(*shape)
    leaves = shape[0] ** shape[1]
    for leaf in range(leaves):
        assert sum(node[leaf] ** 2 for node in weights) <= 1 + 1e-12
    for end in range(leaves + 1):
        assert sum(sum(node[:end]) ** 2 for node in weights) <= end + 1e-12


@settings(max_examples=30)
@given(shapes, shares)
def test_rank_deviations_are_those_of_the_linear_map(shape: tuple[int, int], share: float) -> None:
    weights = weights_of(*shape)
    told = rank_deviations(*shape, share)
    assert len(told) == shape[0] ** shape[1] + 1
    for edge, deviation in enumerate(told):
        exact = math.sqrt(sum((sum(node[:edge]) - share * sum(node)) ** 2 for node in weights))
        assert deviation == pytest.approx(exact, abs=1e-9)
    assert total_deviation(Tree(0, 1, *shape)) == pytest.approx(math.sqrt(sum(sum(node) ** 2 for node in weights)))


@pytest.mark.parametrize(("branching", "levels", "rows"), [(8, 2, 400), (8, 2, 5000), (3, 4, 2000), (20, 1, 3000)])
def test_intervals_hold_in_95_of_100_trials_or_more(branching: int, levels: int, rows: int) -> None:
    """Also with few rows, gaps and heaps, where the rows inside a leaf are spread in no even way."""
    draw = random.Random(rows + branching)
    tree, deviation = Tree(0, 100, branching, levels), 12.0
    values = sorted(draw.choice((draw.gauss(30, 4), 61.0, 90.0, 90.5)) for _ in range(rows))
    leaves = [0.0] * tree.leaves
    for value in values:
        leaves[tree.leaf(value)] += 1
    exact = nodes_of(leaves, branching)
    held = dict.fromkeys((0.1, 0.5, 0.9), 0)
    trials = 400
    for _ in range(trials):
        settled = consistent_leaves(tree, [node + draw.gauss(0, deviation) for node in exact])
        for share in held:
            found = Question(tree, share).answer(settled, deviation)
            assert found is not None
            held[share] += found.interval[0] <= values[round(share * rows)] <= found.interval[1]
    assert all(count / trials >= 0.93 for count in held.values())


@given(shapes, shares, st.booleans(), st.floats(0, 100), st.data())
def test_every_answer_lies_within_its_interval_and_the_bounds(
    shape: tuple[int, int], share: float, integral: bool, deviation: float, data: st.DataObject
) -> None:
    tree = Tree(-3.5, 12.5, *shape)
    leaves = data.draw(st.lists(st.floats(-50, 500), min_size=tree.leaves, max_size=tree.leaves))
    found = Question(tree, share, integral).answer(leaves, deviation)
    if found is not None:
        assert tree.lower <= found.interval[0] <= found.value <= found.interval[1] <= tree.upper
        assert found.std_error is None or found.std_error >= 0
        assert not integral or found.value.is_integer()


@given(st.lists(st.integers(0, 15), min_size=1, max_size=40), shares)
def test_without_noise_the_leaf_of_the_quantile_is_found(values: list[int], share: float) -> None:
    tree = Tree(-0.5, 15.5, 4, 2)
    leaves = [float(values.count(value)) for value in range(16)]
    found = Question(tree, share, integral=True).answer(leaves, 0.0)
    assert found is not None
    assert sum(value < found.value for value in values) <= share * len(values) + 1e-9
    assert sum(value <= found.value for value in values) >= share * len(values) - 1e-9


def test_an_interval_in_leaves_without_whole_numbers_stays_within_the_bounds() -> None:
    leaves = [0.0] * 64
    leaves[0] = 1.0
    found = Question(Tree(-3.5, 12.5, 4, 3), 0.0, integral=True).answer(leaves, 0.0)
    assert found is not None
    assert -3.5 <= found.interval[0] <= found.value <= found.interval[1]


def test_inside_a_leaf_rows_are_spread_evenly() -> None:
    found = Question(Tree(0, 10, 2, 1), 0.5).answer([0.0, 40.0], 0.001)
    assert found is not None
    assert found.value == pytest.approx(7.5)


def test_between_two_heaps_the_middle_is_told() -> None:
    found = Question(Tree(0, 4, 4, 1), 0.5).answer([10.0, 0.0, 0.0, 10.0], 0.0)
    assert found is not None
    assert found.value == 2.0


def test_whole_numbers_share_a_leaf_evenly() -> None:
    tree = Tree(-0.5, 9.5, 2, 1)
    for share, value in [(0.0, 5.0), (0.19, 5.0), (0.21, 6.0), (0.99, 9.0), (1.0, 9.0)]:
        found = Question(tree, share, integral=True).answer([0.0, 100.0], 0.0)
        assert found is not None
        assert found.value == value


def test_a_sure_whole_number_has_no_error() -> None:
    leaves = [0.0] * 16
    leaves[5] = 10_000.0
    found = Question(Tree(-0.5, 15.5, 4, 2), 0.5, integral=True).answer(leaves, 5.0)
    assert found == (5.0, 0.0, (5.0, 5.0))


def test_of_no_rows_there_is_no_quantile() -> None:
    assert Question(Tree(0, 10, 2, 1), 0.5).answer([3.0, -3.0], 1.0) is None


def test_rows_lost_in_noise_have_the_whole_range() -> None:
    found = Question(Tree(0, 10, 2, 1), 0.5).answer([1.0, 1.0], 10.0)
    assert found == (5.0, None, (0, 10))
