"""Sample and aggregate: one unit moves a program's sums by no more than is charged, whatever the program does.

Neighbours are drawn together as the proof in `engine.programs` does: everybody but the unit has the same draw, so
here the same code and key.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine import programs
from enclave_sim.engine.programs import Block, Dealt, block_sums
from enclave_sim.engine.protocol import Cancelled
from enclave_sim.plan.sensitivity import delta2_squared
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.programs import plan_program
from tests.attacks.neighbours import DELTA, clinic

BLOCKS = 7
KEY = bytes(range(32))
UNITS = 40
Outcome = Sequence[float] | None
Function = Callable[[bytes], Outcome]


def seen(block: Block) -> bytes:
    """All that a program could find out: the bytes of the tables' files."""
    sink = pa.BufferOutputStream()
    for name, table in block.items():
        sink.write(name.encode())
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def run_by(function: Function) -> programs.RunBlocks:
    """A sandbox without walls, for functions that are ours."""

    def run(_: bytes, blocks: Iterable[Block], width: int) -> Iterator[Outcome]:
        return (function(seen(block)) for block in blocks)

    return run


def plan_of(declaration: DatasetDeclaration, outputs: Sequence[ProgramOutput]) -> Plan:
    asked = ProgramQuery(sha256=hashlib.sha256(b"").digest(), outputs=outputs, blocks=BLOCKS)
    return plan_program(asked, declaration, dataset_version=bytes(32), parties=1, epsilon=1.0, delta=DELTA).plan


OUTPUTS = [
    ProgramOutput(name="age", lower=18, upper=100),
    ProgramOutput(name="share", lower=-1, upper=1, absent=-1),
    ProgramOutput(name="wide", lower=-1e300, upper=1e300, absent=0.1),
    ProgramOutput(name="typical", lower=0, upper=50, median=True),
]
CLINIC = clinic()
PLAN = plan_of(CLINIC, OUTPUTS)


def rows_of(units: Sequence[int], seed: int = 0) -> dict[str, pa.Table]:
    """Visits and laboratory values, up to three of each unit, as they are sealed: texts by a dictionary for all."""
    tables = {}
    for declared in CLINIC.tables:
        codes = [unit for unit in units for _ in range((unit * 7 + seed) % 4)]
        columns = {UNIT_COLUMN: pa.array(codes, pa.int64())}
        for column in declared.columns[1:]:
            columns[column.name] = made_up(column.name, column.type, codes)
        tables[declared.name] = pa.table(columns)
    return tables


def made_up(name: str, kind: int, codes: Sequence[int]) -> pa.Array:
    """Values that say whose they are; every fifth is missing."""
    numbers = [None if code % 5 == 0 else code + place % 2 for place, code in enumerate(codes)]
    types = {1: pa.bool_(), 2: pa.int64(), 3: pa.float64(), 4: pa.string(), 5: pa.date32(), 6: pa.timestamp("us")}
    if kind == 4:
        texts = pa.array([None if number is None else f"{name} of {number}" for number in numbers], pa.string())
        return texts.dictionary_encode(null_encoding="encode")
    if kind == 1:
        return pa.array([None if number is None else number % 2 == 0 for number in numbers])
    return pa.array(numbers, pa.int64()).cast(pa.int32() if kind == 5 else pa.int64()).cast(types[kind])


def sums(tables: dict[str, pa.Table], run: programs.RunBlocks, key: bytes = KEY) -> list[int]:
    return block_sums(PLAN, CLINIC, lambda name, columns: tables[name].select(columns), b"", run, key=key)


def without(tables: dict[str, pa.Table], unit: int) -> dict[str, pa.Table]:
    """As they are sealed when the unit is not there: texts that only it has are in no dictionary."""
    return {name: anew(table.filter(pc.not_equal(table[UNIT_COLUMN], unit))) for name, table in tables.items()}


def anew(table: pa.Table) -> pa.Table:
    """The same rows, with dictionaries made of them."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            texts = table.column(place).cast(pa.string())
            table = table.set_column(place, field.name, texts.dictionary_encode(null_encoding="encode"))
    return table


def distance_squared(left: Sequence[int], right: Sequence[int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(left, right, strict=True))


numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 18.0, 100.0, 5e-324, 1e300, -1.8e308 / 2, math.nan, math.inf, -math.inf]),
    st.floats(-2, 120),
)
outcomes = st.one_of(st.none(), st.lists(numbers, max_size=5).map(tuple), st.tuples(*[numbers] * len(OUTPUTS)))
WORST: list[Outcome] = [(1e308,) * 4, (-1e308,) * 4]
"""The two ends of every range."""


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.sampled_from(WORST), outcomes), min_size=1, max_size=6),
    st.integers(0, UNITS - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(1, UNITS),
)
def test_a_unit_moves_the_sums_by_no_more_than_is_charged(
    answers: list[Outcome], unit: int, key: bytes, people: int
) -> None:
    """Programs that answer anything at all, by anything that they see."""

    def program(content: bytes) -> Outcome:
        return answers[hashlib.sha256(content + key).digest()[0] % len(answers)]

    tables = rows_of(range(people), seed=key[0])
    moved = distance_squared(
        sums(tables, run_by(program), key), sums(without(tables, unit % people), run_by(program), key)
    )
    assert moved <= delta2_squared(PLAN, PLAN.statistics[0])


def test_the_worst_program_moves_them_by_just_that() -> None:
    """It looks for a person, and answers with one end of every range or the other: the charge is no guess."""

    def program(content: bytes) -> Outcome:
        return WORST[b"note of 13" in content]

    # The unit has three rows in each table, all with texts that name it.
    tables = rows_of(range(UNITS))
    moved = distance_squared(sums(tables, run_by(program)), sums(without(tables, 13), run_by(program)))
    assert moved == delta2_squared(PLAN, PLAN.statistics[0])


def blocks_of(tables: dict[str, pa.Table]) -> dict[bytes, int]:
    """How often each content was seen."""
    found: dict[bytes, int] = {}

    def program(content: bytes) -> Outcome:
        found[content] = found.get(content, 0) + 1
        return None

    sums(tables, run_by(program))
    return found


@settings(max_examples=25)
@given(st.integers(0, UNITS - 1), st.integers(0, 3))
def test_all_other_blocks_are_the_same_bytes(unit: int, seed: int) -> None:
    """No dictionary, bitmap or number of a block tells of who is in another."""
    tables = rows_of(range(UNITS), seed)
    before, after = blocks_of(tables), blocks_of(without(tables, unit))
    changed = [content for content in before if before[content] != after.get(content)]
    assert len(changed) == ((unit * 7 + seed) % 4 > 0)


def test_the_control_breaks_where_blocks_are_dealt_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person less, and all others are in other blocks: a program that only tells blocks apart shows it."""

    def program(content: bytes) -> Outcome:
        return WORST[hashlib.sha256(content).digest()[0] % 2]

    def by_place(columns: Sequence[pa.ChunkedArray], blocks: int, key: bytes) -> Dealt:
        import numpy as np

        units = np.unique(np.concatenate([column.to_numpy() for column in columns])).astype(np.int64)
        block = np.arange(len(units)) % blocks
        return Dealt(units, block, np.arange(len(units)) // blocks, np.bincount(block, minlength=blocks))

    def worst() -> int:
        tables = rows_of(range(UNITS))
        return max(
            distance_squared(sums(tables, run_by(program)), sums(without(tables, unit), run_by(program)))
            for unit in range(UNITS)
        )

    charged = delta2_squared(PLAN, PLAN.statistics[0])
    assert worst() <= charged
    monkeypatch.setattr(Dealt, "of", by_place)
    assert worst() > charged


def test_every_block_is_run_also_where_nobody_is() -> None:
    """How often a program runs is public: it does not tell how many people there are."""
    for people in (0, 1, UNITS):
        assert sum(blocks_of(rows_of(range(people))).values()) == BLOCKS


def test_a_block_without_units_counts_as_the_default_whatever_the_program_returns() -> None:
    nobody = sums(rows_of([]), run_by(lambda _: WORST[0]))
    # 59 is the middle of [18, 100]; -1 the lower bound; 0.1 is next to the middle of the third.
    assert nobody[:3] == [BLOCKS << 15, 0, BLOCKS << 15]
    # Of the median's tree the nodes with 25, the middle of [0, 50]; all blocks are there.
    middle = (2, 4 + 8, 4 + 16 + 32, 4 + 16 + 64 + 128)
    assert {node: cell for node, cell in enumerate(nobody[3:]) if cell} == dict.fromkeys(middle, BLOCKS << 16)


@pytest.mark.parametrize(
    "outcome", [None, (), (50.0,), (50.0, 0.0, 0.0, math.nan), (50.0, math.inf, 0.0, 0.0), (1.0,) * 5]
)
def test_what_is_no_result_counts_as_the_default(outcome: Outcome) -> None:
    assert sums(rows_of(range(UNITS)), run_by(lambda _: outcome)) == sums(rows_of([]), run_by(lambda _: outcome))


def test_too_few_outcomes_are_defaults_and_no_failure() -> None:
    def run(_: bytes, blocks: Iterable[Block], width: int) -> Iterator[Outcome]:
        next(iter(blocks))
        return iter([])

    assert sums(rows_of(range(UNITS)), run) == sums(rows_of([]), run)


def test_outputs_are_clipped_and_averaged() -> None:
    """The mean of a thousand over [18, 100] is 100 where somebody is, 59 elsewhere."""
    tables = rows_of([1])
    assert sums(tables, run_by(lambda _: (1000.0, 0.0, 0.0, 0.0)))[0] == ((BLOCKS - 1) << 15) + (1 << 16)


def test_a_block_has_all_rows_of_its_units_numbered_from_zero() -> None:
    """In every table a unit has the same number, and nothing shows the code that it has at rest."""
    numbered: list[set[int]] = []

    def run(_: bytes, blocks: Iterable[Block], width: int) -> Iterator[Outcome]:
        for block in blocks:
            for declared in CLINIC.tables:
                assert block[declared.name].column_names == [column.name for column in declared.columns]
            numbered.append({number for table in block.values() for number in table["person"].to_pylist()})
            yield None

    tables = rows_of(range(UNITS))
    sums(tables, run)
    assert all(numbers == set(range(len(numbers))) for numbers in numbered)
    present = {unit for table in tables.values() for unit in table[UNIT_COLUMN].to_pylist()}
    assert sum(map(len, numbered)) == len(present)


def test_every_sum_deals_anew() -> None:
    """A key that was used twice would let two programs compare notes about one block."""
    tables, orders = rows_of(range(UNITS)), []
    for _ in range(2):
        contents: list[bytes] = []
        program = run_by(lambda content, into=contents: into.append(content))  # type: ignore[misc]
        block_sums(PLAN, CLINIC, lambda name, columns: tables[name].select(columns), b"", program)
        orders.append(contents)
    assert set(orders[0]).isdisjoint(orders[1])


def test_when_a_block_runs_tells_nothing_of_which_it_is() -> None:
    """A permutation that every sum draws anew and that no row has a part in."""

    def slot_of(tables: dict[str, pa.Table], key: bytes) -> list[int]:
        seen_in: list[int] = []
        slots = iter(range(BLOCKS))

        def program(content: bytes) -> Outcome:
            slot = next(slots)
            if b"note of 13" in content:
                seen_in.append(slot)
            return None

        sums(tables, run_by(program), key)
        return seen_in

    tables, counts = rows_of(range(UNITS)), [0] * BLOCKS
    for number in range(140):
        key = hashlib.sha256(number.to_bytes(2, "big")).digest()
        found = slot_of(tables, key)
        counts[found[0]] += 1
        if number < 10:  # whoever else is there, the person's turn is the same
            assert slot_of({name: only(table, 13) for name, table in tables.items()}, key) == found
    # 20 ± 4; 4 deviations.
    assert all(3 < count < 37 for count in counts)


def only(table: pa.Table, unit: int) -> pa.Table:
    return anew(table.filter(pc.equal(table[UNIT_COLUMN], unit)))


def test_units_are_dealt_evenly() -> None:
    """By a key, not by code: each block has its share, and other keys give other blocks."""
    column = pa.chunked_array([pa.array(range(70_000))])
    first, second = (Dealt.of([column], BLOCKS, secrets.token_bytes(32)) for _ in range(2))
    # 10,000 ± 93; 8 deviations.
    assert all(abs(size - 10_000) < 750 for size in first.sizes)
    assert abs((first.block == second.block).mean() - 1 / BLOCKS) < 0.02


def test_a_cancelled_job_hands_out_no_further_block() -> None:
    given_out: list[bytes] = []
    program = run_by(given_out.append)
    with pytest.raises(Cancelled):
        block_sums(
            PLAN,
            CLINIC,
            lambda name, columns: rows_of(range(9))[name].select(columns),
            b"",
            program,
            cancelled=lambda: len(given_out) == 2,
        )
    assert len(given_out) == 2
