"""`rows.c`, where it was compiled: adding rows up in one pass, bit for bit as numpy does it.

Optional. `make` compiles it where there is a C compiler (scripts/build_native.sh); a library of another source than
the one beside it is not used. It is part of the enclave's measurement, being code that runs in it.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import BoundedSum

from enclave_sim.compiled import load
from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.terms import Floats, scale_of
from enclave_sim.privacy.clipping import Integers

SOURCE = Path(__file__).with_name("rows.c")
LIBRARY = Path(__file__).with_name("rows.so")

_INTEGER, _DOUBLE, _ARRAY = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
_CELLS = {np.dtype(np.uint8): "rows_cells_1", np.dtype(np.int32): "rows_cells_4", np.dtype(np.int64): "rows_cells_8"}


_CODE_BYTES = {np.dtype(np.uint8): 1, np.dtype(np.uint16): 2, np.dtype(np.int32): 4, np.dtype(np.int64): 8}
_UNIT_BYTES = {np.dtype(np.int32): 4, np.dtype(np.int64): 8}


def is_there() -> bool:
    """Whether the functions below can be called."""
    return _library() is not None


def cells(
    units: Integers, first: int, stride: int, codes: NDArray[Any], starts: Integers, out: Integers, length: int
) -> Integers:
    """Of each row the cell starts[code] + unit - first, in `out`; and how many rows each of `length` cells has.

    Args:
        units: from `first` to below first + stride.
        codes: indexes of `starts`.

    Raises:
        EngineError: a unit, a code or a cell is out of range.
    """
    counts: Integers = np.zeros(length, np.int64)
    if codes.dtype not in _CELLS:
        codes = codes.astype(np.int64)
    _check_lengths(units, codes, out)
    function = getattr(_loaded(), _CELLS[codes.dtype])
    places = _at(units), first, stride, _at(codes), len(starts), _at(starts), _at(out), length, _at(counts)
    _check(function(len(units), *places))
    return counts


def count(cells: Integers, mask: NDArray[np.bool_], length: int) -> Integers:
    """How many rows each of `length` cells has, of those where the mask is true. Raises EngineError."""
    _check_lengths(cells, mask)
    table: Integers = np.zeros(length, np.int64)
    _check(_loaded().rows_count(len(cells), _at(cells), _at(mask), length, _at(table)))
    return table


def add_steps(cells: Integers, statistic: BoundedSum, term: Floats, fraction_bits: int, length: int) -> Integers:
    """What `terms.steps` are in each of `length` cells, added up. Raises EngineError."""
    _check_lengths(cells, term)
    table: Integers = np.zeros(length, np.int64)
    divisor, factor = scale_of(statistic, fraction_bits)
    bounds = statistic.lower, statistic.upper, statistic.centre, divisor, factor
    top = 1 << fraction_bits
    _check(_loaded().rows_sum(len(cells), _at(cells), _at(term), *bounds, top, length, _at(table)))
    return table


def squares(table: Integers, units: int) -> Integers:
    """Of a table of `units` entries for each group: each unit's squares, added up, which must be below 2^63."""
    if len(table) % units:
        raise EngineError("a table has a group with fewer units than others")
    found: Integers = np.zeros(units, np.int64)
    _loaded().rows_squares(len(table) // units, units, _at(table), _at(found))
    return found


@dataclass(frozen=True)
class GroupedRows:
    """Rows' codes, `group_of` each code, and the number of groups, which itself stands for none."""

    codes: NDArray[Any]
    group_of: Integers
    groups: int

    def units_over(
        self, units: NDArray[Any], most_squares: int, most_groups: int, *, is_counted: bool
    ) -> tuple[Integers, Integers]:
        """Which units have groups whose squared numbers of rows add up to more, or rows in more groups, than this.

        Args:
            units: int32 or int64, ascending.
            is_counted: whether the others are counted by group.

        Returns:
            Of each such unit, where its rows start and stop, a row of two; and how many of all others have rows in
            each group, or 0 where that was not asked for.

        Raises:
            EngineError: a code or group is out of range, or units descend.
        """
        _check_lengths(units, self.codes)
        own, present = np.zeros(self.groups + 1, np.int64), np.zeros(self.groups + 1, np.int64)
        # Units that are over have more rows than the root of the squares, or than groups.
        most_rows = min(math.isqrt(most_squares), most_groups)
        over: Integers = np.empty(2 * (len(units) // (most_rows + 1)), np.int64)
        found = _INTEGER()
        function = self._function(f"rows_units_{_UNIT_BYTES[units.dtype]}")
        tables = _at(own), _at(present) if is_counted else None, len(over), _at(over), ctypes.addressof(found)
        _check(function(len(units), _at(units), *self._places(), most_rows, most_squares, most_groups, *tables))
        return over[: 2 * found.value].reshape(-1, 2), present[:-1]

    def count(self, mask: NDArray[np.bool_] | None, spans: Integers) -> Integers:
        """How many rows each group has, of those in a span where the mask is true, if any. Raises EngineError."""
        if mask is not None:
            _check_lengths(self.codes, mask)
        table: Integers = np.zeros(self.groups + 1, np.int64)
        function = self._function("rows_group_count")
        at = None if mask is None else _at(mask)
        _check(function(len(self.codes), *self._places(), len(spans), _at(spans), at, _at(table)))
        return table[:-1]

    def add_steps(self, statistic: BoundedSum, term: Floats, fraction_bits: int, spans: Integers) -> Integers:
        """What `terms.steps` are in each group, added up, of the rows in a span. Raises EngineError."""
        _check_lengths(self.codes, term)
        table: Integers = np.zeros(self.groups + 1, np.int64)
        divisor, factor = scale_of(statistic, fraction_bits)
        bounds = statistic.lower, statistic.upper, statistic.centre, divisor, factor
        top = 1 << fraction_bits
        function = self._function("rows_group_sum")
        _check(function(len(term), *self._places(), len(spans), _at(spans), _at(term), *bounds, top, _at(table)))
        return table[:-1]

    def _function(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = getattr(_loaded(), f"{name}_{_CODE_BYTES[self.codes.dtype]}")
        return function

    def _places(self) -> tuple[int, int, int, int]:
        return _at(self.codes), len(self.group_of), _at(self.group_of), self.groups


def has_nan(term: Floats) -> bool:
    """Whether one of them is NaN."""
    return bool(_loaded().rows_have_nan(len(term), _at(term)))


def _check(failed: int) -> None:
    if failed:
        raise EngineError("a row's unit, group or cell is out of range")


def _check_lengths(*arrays: NDArray[Any]) -> None:
    if len({len(array) for array in arrays}) > 1:
        raise EngineError("arrays of the same rows differ in length")


def _at(array: NDArray[Any]) -> int:
    # What is not contiguous would be read as if it were.
    if not array.flags.c_contiguous:
        raise EngineError("an array of rows has gaps")
    # Much faster than array.ctypes.
    return int(array.__array_interface__["data"][0])


def _loaded() -> ctypes.CDLL:
    library = _library()
    if library is None:
        raise EngineError("the native library is not there")
    return library


@cache
def _library() -> ctypes.CDLL | None:
    library = load(LIBRARY, SOURCE, "rows_source")
    if library is None:
        return None
    grouped = [_ARRAY, _INTEGER, _ARRAY, _INTEGER]
    for code in _CODE_BYTES.values():
        for unit in _UNIT_BYTES.values():
            getattr(library, f"rows_units_{unit}_{code}").argtypes = [
                *(_INTEGER, _ARRAY, *grouped, _INTEGER, _INTEGER, _INTEGER, _ARRAY, _ARRAY, _INTEGER, _ARRAY, _ARRAY)
            ]
        spans = [_INTEGER, *grouped, _INTEGER, _ARRAY]
        getattr(library, f"rows_group_sum_{code}").argtypes = [*spans, _ARRAY, *[_DOUBLE] * 5, _INTEGER, _ARRAY]
        getattr(library, f"rows_group_count_{code}").argtypes = [*spans, _ARRAY, _ARRAY]
    for name in _CELLS.values():
        getattr(library, name).argtypes = [
            *(_INTEGER, _ARRAY, _INTEGER, _INTEGER, _ARRAY, _INTEGER, _ARRAY, _ARRAY, _INTEGER, _ARRAY)
        ]
    library.rows_have_nan.argtypes = [_INTEGER, _ARRAY]
    library.rows_count.argtypes = [_INTEGER, _ARRAY, _ARRAY, _INTEGER, _ARRAY]
    library.rows_squares.argtypes = [_INTEGER, _INTEGER, _ARRAY, _ARRAY]
    library.rows_sum.argtypes = [_INTEGER, _ARRAY, _ARRAY, *[_DOUBLE] * 5, _INTEGER, _INTEGER, _ARRAY]
    return library
