"""Windows over the rows of an answer: DuckDB's numbers for the released values, with errors that tell rows apart."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import duckdb
import made_plans as made  # type: ignore[import-not-found]
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import formula, grid
from yingbi import plan_reader
from yingbi.answer import PlanError, Table, columns_of, table_of
from yingbi.api.v1.plan_pb2 import Formula, Frame, Measure, OutputOrdering, Plan, Value, Window
from yingbi.display import answer_rows, forecast_rows
from yingbi.forecasts import predicted_errors

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
COUNT = made.count(0)
BY_KEY, BY_COUNT = OutputOrdering(key=0), OutputOrdering(formula=made.part(COUNT))
SO_FAR = Frame(end=0, peers=True)
WHOLE = Frame()


def window(
    function: str,
    *operands: Formula | Measure | float,
    partition: Sequence[int] = (),
    order: Sequence[OutputOrdering] = (),
    frame: Frame | None = None,
    offset: int = 0,
) -> Formula:
    return Formula(
        window=Window(
            function=Window.Function.Value(f"FUNCTION_{function}"),
            operands=[made.part(each) for each in operands],
            partition_by=partition,
            order_by=order,
            frame=frame,
            offset=offset,
        )
    )


TOTAL = window("SUM", COUNT, frame=WHOLE)
SHARE = formula("DIVIDE", COUNT, TOTAL)


def counted(
    *shown: Formula | Measure | int, keys: Sequence[str] = ("abcd",), sets: Sequence[Sequence[int]] = ()
) -> Plan:
    plan: Plan = made.plan([made.rows()], list(shown), keys=keys, sets=sets)
    return plan


def column(table: Table, index: int) -> list[object]:
    return [row[index] for row in table.rows]


# Values: the same as DuckDB's over the released values.

FRAMES = {
    "": (None, None, False),
    "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW": (None, 0, False),
    "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING": (-2, 1, False),
    "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING": (-3, -2, False),
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING": (0, None, False),
    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING": (None, None, False),
    "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW": (None, 0, True),
    "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING": (0, None, True),
    "RANGE BETWEEN CURRENT ROW AND CURRENT ROW": (0, 0, True),
}
ROOT = formula("SQUARE_ROOT", COUNT)
FUNCTIONS: dict[str, Callable[..., Formula]] = {
    "RANK()": lambda **over: window("RANK", **over),
    "DENSE_RANK()": lambda **over: window("DENSE_RANK", **over),
    "PERCENT_RANK()": lambda **over: window("PERCENT_RANK", **over),
    "CUME_DIST()": lambda **over: window("CUMULATIVE_DISTRIBUTION", **over),
    "ROW_NUMBER()": lambda **over: window("ROW_NUMBER", **over),
    "NTILE(3)": lambda **over: window("TILE", offset=3, **over),
    "LAG(root)": lambda **over: window("LAG", ROOT, offset=1, **over),
    "LEAD(root, 2, -n)": lambda **over: window("LEAD", ROOT, formula("NEGATE", COUNT), offset=2, **over),
    "FIRST_VALUE(root)": lambda **over: window("FIRST", ROOT, **over),
    "LAST_VALUE(root)": lambda **over: window("LAST", ROOT, **over),
    "COUNT(*)": lambda **over: window("COUNT_ROWS", **over),
    "COUNT(root)": lambda **over: window("COUNT", ROOT, **over),
    "SUM(root)": lambda **over: window("SUM", ROOT, **over),
    "AVG(root)": lambda **over: window("MEAN", ROOT, **over),
    "MIN(root)": lambda **over: window("MINIMUM", ROOT, **over),
    "MAX(root)": lambda **over: window("MAXIMUM", ROOT, **over),
}
UNFRAMED = list(FUNCTIONS)[:8]
OF_TIES = [*list(FUNCTIONS)[:4], *list(FUNCTIONS)[10:]]
"""What rows that are equal in the order have in common, the sums and counts among them over frames of equals only."""


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-2, 6), min_size=12, max_size=12),
    st.sampled_from(list(FRAMES)),
    st.sampled_from(["", "PARTITION BY g", "PARTITION BY g, h"]),
    st.sampled_from(["", "DESC", "ASC NULLS FIRST"]),
)
def test_numbers_are_those_of_duckdb(
    database: duckdb.DuckDBPyConnection, counts: list[int], frame: str, partition: str, direction: str
) -> None:
    """Ordered by a number with ties and NULL and, where ties would leave something open, by the keys."""
    start, end, peers = FRAMES[frame]
    of_frame = Frame(start=start, end=end, peers=peers) if frame else SO_FAR
    keys = [0, 1][: len(partition.split(","))] if partition else []
    by_root = OutputOrdering(formula=ROOT, descending=direction == "DESC", nulls_first="FIRST" in direction)
    shown, written = [], []
    for name, make in FUNCTIONS.items():
        has_ties = name in OF_TIES and (peers or not frame or name in UNFRAMED)
        order = [by_root] if has_ties else [by_root, OutputOrdering(key=1), OutputOrdering(key=0)]
        shown.append(make(partition=keys, order=order, **({} if name in UNFRAMED else {"frame": of_frame})))
        rest = ("" if has_ties else ", h, g") + ("" if name in UNFRAMED else f" {frame}")
        written.append(f"{name} OVER ({partition} ORDER BY root {direction}{rest})")
    ours = table_of(counted(0, 1, *shown, keys=["abc", "wxyz"]), grid(*counts)).rows
    theirs = _asked(database, counts, written)
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert list(our_row) == pytest.approx(list(their_row)), written


def _asked(database: duckdb.DuckDBPyConnection, counts: Sequence[int], written: Sequence[str]) -> list[tuple[object]]:
    groups = [(g, h) for g in "abc" for h in "wxyz"]
    values = [
        f"('{g}', '{h}', {n}, {math.sqrt(n) if n >= 0 else 'NULL'})" for (g, h), n in zip(groups, counts, strict=True)
    ]
    database.execute("CREATE OR REPLACE TABLE released (g VARCHAR, h VARCHAR, n DOUBLE, root DOUBLE)")
    database.execute(f"INSERT INTO released VALUES {', '.join(values)}")
    return database.execute(f"SELECT g, h, {', '.join(written)} FROM released ORDER BY g, h").fetchall()


def test_without_an_order_all_rows_are_equal() -> None:
    shown = [window("RANK"), window("ROW_NUMBER"), window("SUM", COUNT, frame=SO_FAR)]
    table = table_of(counted(*shown), grid(1, 2, 3, 4))
    assert [column(table, index) for index in range(3)] == [[1, 1, 1, 1], [1, 2, 3, 4], [10, 10, 10, 10]]


def test_windows_see_what_having_kept_and_qualify_sees_windows() -> None:
    plan = counted(0, TOTAL, window("RANK", order=[BY_COUNT]))
    plan.presentation.having.CopyFrom(formula("GREATER", COUNT, 1))
    plan.presentation.qualify.CopyFrom(formula("LESS_OR_EQUAL", window("RANK", order=[BY_COUNT]), 2))
    plan.presentation.order_by.add(output=2, descending=True)
    assert table_of(plan, grid(7, 1, 5, 3)).rows == (("c", 15, 2), ("d", 15, 1))
    plan.presentation.limit = 1
    assert table_of(plan, grid(7, 1, 5, 3)).rows == (("c", 15, 2),)


def test_qualify_that_is_null_keeps_no_row() -> None:
    plan = counted(0)
    plan.presentation.qualify.CopyFrom(formula("GREATER", window("LAG", COUNT, order=[BY_KEY], offset=1), 0))
    assert table_of(plan, grid(1, 1, 1, 1)).rows == (("b",), ("c",), ("d",))


def test_rows_may_be_ordered_by_a_window_and_by_a_key() -> None:
    plan = counted(0)
    plan.presentation.order_by.add(formula=window("TILE", order=[BY_COUNT], offset=2))
    plan.presentation.order_by.add(key=0, descending=True)
    assert column(table_of(plan, grid(4, 1, 3, 2)), 0) == ["d", "b", "c", "a"]


def test_totals_are_a_partition_of_their_own() -> None:
    plan = counted(0, 1, window("SUM", COUNT, partition=[0], frame=WHOLE), keys=["ab", "xy"], sets=[[0, 1], []])
    assert column(table_of(plan, grid(1, 2, 3, 4)), 2) == [3, 3, 7, 7, 10]


# Errors.


def test_the_cells_of_different_rows_are_independent() -> None:
    shown = [
        TOTAL,
        window("SUM", COUNT, order=[BY_KEY], frame=SO_FAR),
        formula("SUBTRACT", COUNT, window("LAG", COUNT, order=[BY_KEY], offset=1)),
        window("MEAN", COUNT, frame=WHOLE),
        formula("SUBTRACT", TOTAL, COUNT),
    ]
    errors = table_of(counted(*shown), grid(40, 30, 20, 10)).std_errors
    assert [row[0] for row in errors] == pytest.approx([ERROR * 2] * 4)
    assert [row[1] for row in errors] == pytest.approx([ERROR * math.sqrt(row) for row in (1, 2, 3, 4)])
    assert [row[2] for row in errors] == [None, *[pytest.approx(ERROR * math.sqrt(2))] * 3]
    assert [row[3] for row in errors] == pytest.approx([ERROR / 2] * 4)
    # The total less this row is the sum of the three others.
    assert [row[4] for row in errors] == pytest.approx([ERROR * math.sqrt(3)] * 4)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_a_share_knows_that_its_row_is_part_of_the_total(hundreds: list[int]) -> None:
    cells = [1000.0 * each for each in hundreds]
    table = table_of(counted(SHARE, keys=["abcde"[: len(cells)]]), grid(*cells))
    total = sum(cells)
    for cell, error in zip(cells, table.std_errors, strict=True):
        own, others = 1 - cell / total, cell / total
        expected = ERROR / total * math.sqrt(own**2 + (len(cells) - 1) * others**2)
        assert error[0] == pytest.approx(expected)


def test_the_share_of_the_only_row_is_certain() -> None:
    plan = counted(SHARE)
    plan.presentation.having.CopyFrom(formula("GREATER", COUNT, 500))
    table = table_of(plan, grid(1000, 2, 3, 4))
    assert (table.rows, table.std_errors) == (((1,),), ((0,),))


def test_intervals_of_shares_hold_as_often_as_they_say() -> None:
    drawn = random.Random("shares")
    true = [600, 300, 200, 100]
    plan, held = counted(SHARE), 0
    for _ in range(500):
        cells = [cell + drawn.gauss(0, ERROR) for cell in true]
        ends = table_of(plan, grid(*cells)).intervals
        held += sum(low <= cell / 1200 <= high for cell, ((low, high),) in zip(true, ends, strict=True))  # type: ignore[misc]
    assert 0.93 < held / 2000 < 0.97


def test_a_total_row_has_the_noise_of_the_rows_that_it_adds_up() -> None:
    """The whole less its parts is 0 for sure; half of parts and whole together is the whole again."""
    less_last = formula("SUBTRACT", COUNT, window("LAG", COUNT, order=[BY_KEY], offset=1))
    plan = counted(0, SHARE, less_last, keys=["ab"], sets=[[0], []])
    table = table_of(plan, grid(1000, 500))
    assert column(table, 1) == pytest.approx([1 / 3, 1 / 6, 1 / 2])
    assert table.std_errors[2][1] == pytest.approx(0, abs=1e-12)
    # The whole less "b" is "a".
    assert table.rows[2][2] == 1000
    assert table.std_errors[2][2] == pytest.approx(ERROR)


@pytest.mark.parametrize(("sets", "expected"), [([], math.sqrt(2)), ([[0], []], 2)])
def test_quantiles_of_rows_depend_on_each_other_only_where_rows_share_groups(
    sets: list[list[int]], expected: float
) -> None:
    """How much then is not known, so their errors are added."""
    median = made.quantile(0, 0.5)
    more = formula("SUBTRACT", median, window("LAG", median, order=[BY_KEY], offset=1))
    plan = made.plan([made.ranges(2, 1, 0, 10)], [median, more], keys=["ab"], sets=sets)
    table = table_of(plan, grid(5000, 5000, 5000, 5000))
    assert table.std_errors[1][1] == pytest.approx(expected * float(table.std_errors[0][0] or 0))


def test_a_sum_of_averages_is_of_first_order_and_unknown_where_one_is() -> None:
    mean = made.mean(1, 0)
    plan = made.plan([made.non_null(), made.total(0, 100)], [mean, window("SUM", mean, frame=WHOLE)], keys=["ab"])
    table = table_of(plan, grid(9000, 9000, 90, -90))
    assert table.std_errors[0][1] == pytest.approx(math.hypot(*(float(row[0] or 0) for row in table.std_errors)))
    table = table_of(plan, grid(9000, 10, 90, -1))
    assert table.std_errors[1] == (None, None)
    assert table.rows[0][1] is not None


def test_the_only_number_of_a_frame_stays_what_it_is() -> None:
    mean = made.mean(1, 0)
    shown = [mean, window("SUM", mean, partition=[0], frame=WHOLE), window("FIRST", mean, frame=WHOLE)]
    table = table_of(made.plan([made.non_null(), made.total(0, 100)], shown, keys=["a"]), grid(900, 10))
    assert table.intervals[0][0] == table.intervals[0][1] == table.intervals[0][2]


def test_extremes_have_the_image_of_the_intervals() -> None:
    table = table_of(counted(window("MAXIMUM", COUNT, frame=WHOLE)), grid(10, 4000, 3000, 20))
    assert table.rows[0][0] == 4000
    assert table.std_errors[0][0] == pytest.approx(ERROR)
    assert table.intervals[0][0] == pytest.approx((4000 - 1.959964 * ERROR, 4000 + 1.959964 * ERROR), rel=1e-6)


def test_what_counts_rows_is_whole_and_has_no_error() -> None:
    shown = [window("RANK", order=[BY_COUNT]), window("COUNT_ROWS", frame=WHOLE), window("PERCENT_RANK")]
    plan = counted(*shown, formula("MULTIPLY", window("RANK", order=[BY_COUNT]), 2))
    assert [each.kind for each in columns_of(plan)] == ["rank", "rank", "rank", "formula"]
    table = table_of(plan, grid(4, 3, 2, 1))
    assert table.rows[0] == (4, 4, 0, 8)
    assert all(type(cell) is int for cell in table.rows[0][:2])
    assert table.std_errors[0] == (None, None, None, None)
    assert [each.is_estimate for each in table.columns] == [False, False, False, True]
    assert answer_rows(table)[0] == ["4", "4", "0", "8 ± ?"]


def test_numbers_of_too_many_rows_have_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What that would take grows with the square of the rows."""
    plan = counted(TOTAL, window("MINIMUM", COUNT, order=[BY_KEY], frame=SO_FAR), keys=["abcdefgh"])
    whole = table_of(plan, grid(*range(8)))
    assert whole.std_errors[0][0] == pytest.approx(ERROR * math.sqrt(8))
    monkeypatch.setattr(plan_reader, "MAX_NOISES", 8 * 4 * 7)
    table = table_of(plan, grid(*range(8)))
    assert table.rows == whole.rows
    assert table.std_errors[0][0] is None
    assert [row[1] is None for row in table.std_errors] == [False] * 3 + [True] * 5


# Previews.


def test_a_preview_tells_what_needs_no_answer() -> None:
    by_key = window("SUM", COUNT, order=[BY_KEY], frame=SO_FAR)
    by_count = window("SUM", COUNT, order=[BY_COUNT], frame=SO_FAR)
    plan = counted(0, TOTAL, by_key, by_count, SHARE, window("RANK", order=[BY_COUNT]))
    foretold, answered = predicted_errors(plan), table_of(plan, grid(4, 3, 2, 1))
    for before, after in zip(foretold.std_errors, answered.std_errors, strict=True):
        assert before == (None, after[1], after[2], None, None, None)
    assert forecast_rows(foretold)[0][3:] == ["± ?", "± ?", "–"]
    assert {entry.column for entry in foretold.average_errors} == {"c3", "c4"}


def test_a_preview_does_not_know_which_rows_having_keeps() -> None:
    plan = counted(TOTAL)
    plan.presentation.having.CopyFrom(formula("GREATER", COUNT, 1))
    assert predicted_errors(plan).std_errors[0] == (None,)


# Keys that are shown as something else.


def labelled() -> Plan:
    plan = counted(0, 0, COUNT, keys=["ab"], sets=[[0], []])
    plan.outputs[1].labels.extend([Value(float64_value=0.5), Value(float64_value=1.5)])
    return plan


def test_a_key_is_shown_as_its_label() -> None:
    assert table_of(labelled(), grid(1, 2)).rows == (("a", 0.5, 1), ("b", 1.5, 2), (None, None, 3))


def test_a_preview_shows_labels_too() -> None:
    foretold = predicted_errors(labelled())
    assert foretold.groups == (("a", 0.5), ("b", 1.5), (None, None))
    assert foretold.keys == (0, 1, None)
    assert [row[:2] for row in forecast_rows(foretold)] == [["a", "0.5"], ["b", "1.5"], ["–", "–"]]


# Plans that somebody forged.


def forged(change: Callable[[Plan], object]) -> Plan:
    plan = counted(0, SHARE, window("LAG", COUNT, order=[BY_KEY], offset=1))
    plan.presentation.qualify.CopyFrom(formula("LESS", window("RANK", order=[BY_COUNT]), 3))
    change(plan)
    return plan


FORGED: dict[str, Callable[[Plan], object]] = {
    "an unknown function": lambda p: setattr(p.outputs[2].formula.window, "function", 17),
    "no function": lambda p: p.outputs[2].formula.window.ClearField("function"),
    "no operand": lambda p: p.outputs[2].formula.window.ClearField("operands"),
    "too many operands": lambda p: p.outputs[2].formula.window.operands.extend([made.part(1)] * 2),
    "a key that is not there": lambda p: p.outputs[2].formula.window.partition_by.append(1),
    "an order by a key that is not there": lambda p: p.outputs[2].formula.window.order_by.add(key=1),
    "an order by an output": lambda p: p.outputs[2].formula.window.order_by.add(output=0),
    "a window in a window": lambda p: p.outputs[2].formula.window.operands[0].CopyFrom(TOTAL),
    "an order by a window": lambda p: p.outputs[2].formula.window.order_by.add(formula=TOTAL),
    "a window in HAVING": lambda p: p.presentation.having.CopyFrom(formula("LESS", TOTAL, 3)),
    "a tile of nothing": lambda p: p.outputs[2].formula.CopyFrom(window("TILE")),
    "qualify is a number": lambda p: p.presentation.qualify.CopyFrom(TOTAL),
    "too few labels": lambda p: p.outputs[0].labels.add(int64_value=1),
    "labels of two types": lambda p: p.outputs[0].labels.extend([Value(int64_value=1)] * 3 + [Value(bool_value=True)]),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_window_that_means_nothing_is_refused(name: str) -> None:
    for read in (lambda plan: table_of(plan, grid(1, 2, 3, 4)), predicted_errors):
        with pytest.raises(PlanError):
            read(forged(FORGED[name]))


def test_frames_that_move_over_many_rows_are_refused() -> None:
    keys = ["".join(chr(number) for number in range(0x4E00, 0x4E00 + 20_000))]
    moving = window("SUM", COUNT, order=[BY_KEY], frame=Frame(start=-10_000, end=10_000))
    with pytest.raises(PlanError, match="too large"):
        predicted_errors(counted(moving, keys=keys))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_window_is_a_table_or_refused(data: st.DataObject) -> None:
    content = bytearray(forged(lambda _: None).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    plan = Plan()
    try:
        plan.ParseFromString(bytes(content))
    except DecodeError:
        return
    for read in (lambda: table_of(plan, grid(1, 2, 3, 4)), lambda: predicted_errors(plan)):
        try:
            read()
        except PlanError:
            continue
