"""`rows.c`, where it was compiled: adding rows up in one pass, bit for bit as numpy does it.

Optional. `make` compiles it where there is a C compiler (scripts/build_native.sh); a library of another source than
the one beside it is not used. It is part of the enclave's measurement, being code that runs in it.
"""

from __future__ import annotations

import ctypes
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
    for name in _CELLS.values():
        getattr(library, name).argtypes = [
            *(_INTEGER, _ARRAY, _INTEGER, _INTEGER, _ARRAY, _INTEGER, _ARRAY, _ARRAY, _INTEGER, _ARRAY)
        ]
    library.rows_count.argtypes = [_INTEGER, _ARRAY, _ARRAY, _INTEGER, _ARRAY]
    library.rows_squares.argtypes = [_INTEGER, _INTEGER, _ARRAY, _ARRAY]
    library.rows_sum.argtypes = [_INTEGER, _ARRAY, _ARRAY, *[_DOUBLE] * 5, _INTEGER, _INTEGER, _ARRAY]
    return library
