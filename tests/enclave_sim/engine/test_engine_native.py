"""The compiled form of adding rows up: bit for bit what numpy makes of them, and no index out of range is used.

Where it was not compiled there is nothing to compare; every other test of the engine then runs on numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import BoundedSum

from enclave_sim.attestation.measurement import measured
from enclave_sim.engine import native
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.groups import Groups
from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.terms import steps

from .drawn import cells
from .generated_plans import Case, cases, half_range_of, intervals

pytestmark = pytest.mark.skipif(not native.is_there(), reason="rows.c was not compiled: there is no C compiler")

NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 5e-324, 2.0**53, 1e300, float("inf"), float("-inf"), float("nan")]),
)
BITS = st.sampled_from([0, 3, 16])


def ints(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@given(
    st.lists(st.tuples(st.integers(3, 9), st.integers(0, 3)), max_size=40),
    st.sampled_from([np.uint8, np.int16, np.int32, np.int64]),
)
def test_cells_are_numpys(rows: list[tuple[int, int]], kind: type[np.integer[Any]]) -> None:
    units, codes = ints([unit for unit, _ in rows]), np.array([code for _, code in rows], kind)
    groups = Groups(codes, ints([2, -1, 0, 1]))
    expected = groups.cells(3, 7, -3) + units
    found = np.empty(len(rows), np.int64)
    counts = native.cells(units, 3, 7, codes, groups.starts(3, 7), found, 4 * 7)
    assert found.tolist() == expected.tolist()
    assert counts.tolist() == np.bincount(expected, minlength=4 * 7).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_counts_are_numpys(rows: list[tuple[int, bool]]) -> None:
    places, mask = ints([cell for cell, _ in rows]), np.array([kept for _, kept in rows], np.bool_)
    assert native.count(places, mask, 6).tolist() == np.bincount(places, mask, 6).tolist()


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, 3), NUMBERS), max_size=60), intervals(), st.booleans(), BITS)
def test_sums_of_steps_are_numpys(
    rows: list[tuple[int, float]], interval: tuple[float, float], centred: bool, bits: int
) -> None:
    lower, upper = interval
    centre = lower / 2 + upper / 2 if centred else 0.0
    half_range = half_range_of(lower, upper, centre)
    _assert_same(rows, BoundedSum(lower=lower, upper=upper, centre=centre, half_range=half_range), bits)


@pytest.mark.parametrize("half_range", [5e-324, 2.0**-1000, 2.0**-900, 1.0, 2.0**1000])
def test_sums_of_steps_are_numpys_around_the_scales_that_are_special(half_range: float) -> None:
    parts = [-1.0, -0.7, -0.5, -(2.0**-17), -0.0, 0.0, 2.0**-17, 0.1, 1.5 * 2.0**-16, 0.5, 0.999, 1.0]
    rows = [(place % 4, part * half_range) for place, part in enumerate(parts)]
    for bits in (0, 3, 16):
        _assert_same(rows, BoundedSum(lower=-half_range, upper=half_range, centre=0.0, half_range=half_range), bits)


def _assert_same(rows: list[tuple[int, float]], statistic: BoundedSum, bits: int) -> None:
    places, terms = ints([cell for cell, _ in rows]), np.array([term for _, term in rows], np.float64)
    expected = np.bincount(places, steps(statistic, terms.copy(), bits), 4)
    assert native.add_steps(places, statistic, terms, bits, 4).tolist() == expected.tolist()


def test_more_rows_than_a_chunk_are_all_added() -> None:
    rng = np.random.default_rng(1)
    for count in (1023, 1024, 1025, 5000):
        rows = list(zip(rng.integers(0, 4, count).tolist(), rng.normal(0, 2, count).tolist(), strict=True))
        _assert_same(rows, BoundedSum(lower=-1.0, upper=3.0, centre=1.0, half_range=2.0), 16)


@given(st.lists(st.integers(0, 2**20), min_size=12, max_size=12))
def test_squares_are_numpys(table: list[int]) -> None:
    expected = (ints(table).reshape(3, 4) ** 2).sum(axis=0)
    assert native.squares(ints(table), 4).tolist() == expected.tolist()


@pytest.mark.parametrize(("unit", "code"), [(2, 0), (7, 0), (-(2**63), 0), (2**63 - 1, 0), (3, 4), (3, -1), (6, 3)])
def test_a_unit_or_a_code_that_is_out_of_range_is_refused(unit: int, code: int) -> None:
    with pytest.raises(EngineError):
        native.cells(ints([3, unit]), 3, 4, ints([0, code]), ints([0, 4, 8, 12]), np.empty(2, np.int64), 15)


@pytest.mark.parametrize("cell", [-1, 4, 2**62])
def test_a_cell_that_is_out_of_range_is_refused(cell: int) -> None:
    statistic = BoundedSum(lower=0, upper=1, centre=0, half_range=1)
    with pytest.raises(EngineError):
        native.count(ints([0, cell]), np.array([True, True]), 4)
    with pytest.raises(EngineError):
        native.add_steps(ints([0, cell]), statistic, np.zeros(2), 16, 4)


def test_an_array_with_gaps_is_refused() -> None:
    with pytest.raises(EngineError, match="gaps"):
        native.count(ints([0, 1, 2, 3])[::2], np.array([True, True]), 4)


def test_arrays_of_different_lengths_are_refused() -> None:
    statistic, out = BoundedSum(lower=0, upper=1, centre=0, half_range=1), np.empty(1, np.int64)
    with pytest.raises(EngineError):
        native.cells(ints([3, 3]), 3, 4, ints([0]), ints([0]), np.empty(2, np.int64), 4)
    with pytest.raises(EngineError):
        native.cells(ints([3, 3]), 3, 4, ints([0, 0]), ints([0]), out, 4)
    with pytest.raises(EngineError):
        native.count(ints([0, 1]), np.array([True]), 4)
    with pytest.raises(EngineError):
        native.add_steps(ints([0, 1]), statistic, np.zeros(1), 16, 4)
    with pytest.raises(EngineError):
        native.squares(ints([1, 2, 3]), 2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_the_engine_gives_the_same_without_it(case: Case) -> None:
    compiled = cells(DuckDBEngine(), case.tables, case.asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "is_there", lambda: False)
        assert cells(DuckDBEngine(), case.tables, case.asked) == compiled


@pytest.fixture
def forgotten() -> Iterator[None]:
    native._library.cache_clear()
    yield
    native._library.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_library_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "rows.c"
    changed.write_bytes(native.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(native, "SOURCE", changed)
    assert not native.is_there()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("content", [b"", b"\x7fELF", native.SOURCE.read_bytes()])
def test_what_is_no_library_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    broken = tmp_path / "rows.so"
    broken.write_bytes(content)
    monkeypatch.setattr(native, "LIBRARY", broken)
    assert not native.is_there()


def test_it_is_part_of_the_measurement() -> None:
    names = [line.split()[0] for line in measured()]
    assert "enclave_sim/engine/rows.c" in names
    assert "enclave_sim/engine/rows.so" in names
