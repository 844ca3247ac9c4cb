"""The median over blocks: from outcomes through noised counts on a tree to a value that says how sure it is."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import Cell, PlanError, table_of
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import BlockOutput, BlockTree, Plan
from yingbi.forecasts import predicted_errors
from yingbi.programs import _check_program, read_outputs
from yingbi.quantiles import Question, Tree, consistent_leaves, rank_deviations, with_total

from enclave_sim.engine.programs import grid_steps
from enclave_sim.plan.sensitivity import delta2_squared, output_width, width
from gateway.planning.programs import plan_program, program_notes, rank_error
from tests.attacks.neighbours import clinic

BLOCKS, PARTIES = 200, 3
OUTPUTS = ("age: median float[0,128]", "share: float[0,1]")
LEAF = 0.5


def plan(epsilon: float = 1.0, blocks: int = BLOCKS) -> Plan:
    asked = ProgramQuery(sha256=bytes(32), outputs=read_outputs(OUTPUTS), blocks=blocks)
    made = plan_program(asked, clinic(), dataset_version=bytes(32), parties=PARTIES, epsilon=epsilon, delta=1e-7).plan
    _check_program(made, asked)
    return made


def opened(made: Plan, outcomes: Sequence[Sequence[float] | None], noise: random.Random | None = None) -> list[int]:
    """The cells over all providers, with the noise of all their shares."""
    outputs = made.statistics[0].block_outputs.outputs
    cells = [0] * width(made.statistics[0])
    for outcome in outcomes:
        for cell, step in grid_steps(outcome, outputs, made.fraction_bits):
            cells[cell] += step
    sigma = made.statistics[0].sigma * math.sqrt(PARTIES)
    return [cell + round(noise.gauss(0, sigma)) if noise else cell for cell in cells]


def number(cell: Cell) -> float:
    assert isinstance(cell, float)
    return cell


def without_noise(made: Plan) -> Plan:
    silent = Plan()
    silent.CopyFrom(made)
    silent.statistics[0].sigma = 0
    return silent


@given(st.lists(st.floats(-50, 200), min_size=4 * PARTIES, max_size=4 * PARTIES))
def test_without_noise_it_is_the_median_of_the_clipped_outcomes(ages: list[float]) -> None:
    """Within the leaf that it lies in; the mean beside it is not touched by it."""
    made = without_noise(plan(blocks=4))
    table = table_of(made, opened(made, [(age, 0.25) for age in ages]))
    clipped = sorted(min(max(age, 0.0), 128.0) for age in ages)
    low, high = clipped[len(ages) // 2 - 1], clipped[len(ages) // 2]
    assert low - LEAF <= number(table.rows[0][0]) <= high + LEAF
    assert table.rows[0][1] == pytest.approx(0.25, abs=1e-4)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), min_size=1, max_size=9))
def test_a_block_counts_once_on_every_level_whatever_it_returns(values: list[float | None]) -> None:
    outputs = [
        BlockOutput(lower=-1, upper=3, absent=1, tree=BlockTree(branching=3, levels=2)),
        BlockOutput(lower=0, upper=1, absent=0),
    ]
    for value in values:
        added = dict(grid_steps(None if value is None else (value, 0.5), outputs, 4))
        assert [sum(1 for cell in added if cell in level) for level in (range(3), range(3, 12), range(12, 13))] == [
            1
        ] * 3
        assert all(step == 16 for cell, step in added.items() if cell < 12)
    assert sum(map(output_width, outputs)) == 13


def test_one_block_moves_two_nodes_of_each_level() -> None:
    """The bound is reached: from one end of the range to the other, and the mean by its whole range."""
    made = plan()
    cells = [opened(made, [outcome]) for outcome in ((0.0, 0.0), (128.0, 1.0))]
    moved = sum((a - b) ** 2 for a, b in zip(*cells, strict=True))
    assert moved == delta2_squared(made, made.statistics[0])
    assert moved == (2 * 4 + 1) << 32


def test_its_interval_holds_and_its_error_is_that_of_the_noise() -> None:
    """Blocks whose outcomes lie close together, as a statistic's do, in a wide range."""
    source, made = random.Random(3), plan(epsilon=4.0)
    ages = [source.gauss(60, 6) for _ in range(BLOCKS * PARTIES)]
    exact = statistics.median(ages)
    found = [table_of(made, opened(made, [(age, 0.0) for age in ages], source)) for _ in range(150)]
    values = [number(each.rows[0][0]) for each in found]
    intervals = [each.intervals[0][0] or (math.nan, math.nan) for each in found]
    assert sum(low <= exact <= high for low, high in intervals) >= 0.93 * len(found)
    stated = statistics.fmean(each.std_errors[0][0] or math.nan for each in found)
    assert stated == pytest.approx(statistics.pstdev(values), rel=0.4)
    assert stated < 3


def test_where_noise_hides_it_the_interval_is_the_range_and_there_is_no_error() -> None:
    made = plan(epsilon=0.1)
    table = table_of(made, opened(made, [(60.0, 0.0)] * BLOCKS * PARTIES, random.Random(1)))
    assert table.std_errors[0][0] is None
    assert table.intervals[0][0] == (0, 128)


def test_counts_add_up_to_the_known_number_of_blocks_and_vary_as_is_said() -> None:
    tree, source = Tree(0, 1, 3, 3), random.Random(5)
    nodes = sum(3**level for level in (1, 2, 3))
    draws = [with_total(consistent_leaves(tree, [source.gauss(0, 1) for _ in range(nodes)]), 0) for _ in range(4000)]
    assert all(abs(math.fsum(leaves)) < 1e-9 for leaves in draws)
    for edge, deviation in enumerate(rank_deviations(3, 3, None)):
        below = [math.fsum(leaves[:edge]) for leaves in draws]
        assert statistics.pstdev(below) == pytest.approx(deviation, rel=0.06, abs=1e-9)


def test_the_preview_says_by_how_many_blocks_noise_moves_it() -> None:
    made = plan()
    question = Question(Tree(0, 128, 4, 4), 0.5, total=BLOCKS * PARTIES)
    of_node = made.statistics[0].sigma * math.sqrt(PARTIES) / 2**made.fraction_bits
    assert rank_error(made) == pytest.approx(of_node * question._deviations[128])
    assert any("age is told in steps of 0.5" in note for note in program_notes(made, clinic()))
    assert predicted_errors(made).std_errors[0][0] is None


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_the_preview_says_how_many_blocks_it_takes(epsilon: float) -> None:
    """With that many a median has an error, and with a few fewer it has none."""
    rough = plan(epsilon, blocks=4)
    [said] = [note for note in program_notes(rough, clinic()) if "Noise hides age" in note]
    least = int(said.split("ask for ")[1].split()[0])
    enough, few = plan(epsilon, blocks=least), plan(epsilon, blocks=math.floor(0.97 * least) - 1)
    assert not any("hides" in note for note in program_notes(enough, clinic()))
    for made, is_told in ((enough, True), (few, False)):
        outcomes = [(60.0, 0.0)] * PARTIES * made.program.blocks
        assert (table_of(made, opened(made, outcomes)).std_errors[0][0] is not None) == is_told


def test_a_mean_is_not_read_off_a_tree_nor_a_median_off_a_sum() -> None:
    median, mean = plan(), plan()
    median.outputs[0].measure.block_median.output = 1
    mean.outputs[1].measure.block_mean.output = 0
    for made in (median, mean):
        with pytest.raises(PlanError):
            table_of(made, [0] * width(made.statistics[0]))


def test_medians_are_asked_for_in_words() -> None:
    [output] = read_outputs("age: median float[18, 100] = 50")
    assert output == ProgramOutput(name="age", lower=18, upper=100, absent=50, median=True)
    assert not read_outputs("median: float[0,1]")[0].median
