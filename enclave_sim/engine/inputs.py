"""What statistics take from rows, in SQL and from its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import Statistic

from enclave_sim.engine import native
from enclave_sim.engine.per_unit import Input, NormInput, RowInput, TermsInput
from enclave_sim.engine.plan_reading import term
from enclave_sim.engine.scan import to_numpy
from enclave_sim.engine.sql_expressions import Values
from enclave_sim.privacy.clipping import Integers


def input_sql(statistic: Statistic, values: Values) -> list[str]:
    """BOOLEAN for the rows that count, DOUBLE for a term, nothing where every row counts.

    Of norms: their keys, then what each statistic of their vector takes. Of a model's vector a DOUBLE for each term.
    """
    if statistic.HasField("model_vector"):
        return [f"CAST({values.sql(each)} AS DOUBLE)" for each in statistic.model_vector.terms]
    passing = values.sql(statistic.filter) if statistic.HasField("filter") else None
    counting = [] if passing is None else [f"coalesce({passing}, false)"]
    if statistic.HasField("unit_norms"):
        vector = [text for each in statistic.unit_norms.vector for text in input_sql(each, values)]
        return [*(values.sql(key) for key in statistic.unit_norms.keys), *counting, *vector]
    counted = term(statistic)
    if counted is None:
        return counting
    text = values.sql(counted)
    if statistic.HasField("non_null_count"):
        return [" AND ".join([f"({text} IS NOT NULL)", *counting])]
    value = f"CAST({text} AS DOUBLE)"
    return [value if passing is None else f"CASE WHEN {passing} THEN {value} END"]


class Inputs:
    """Statistics' inputs from the columns of `input_sql`; statistics with the same columns share an array."""

    def __init__(self, columns: Sequence[pa.ChunkedArray], rows: int) -> None:
        self._columns = columns
        self._rows = rows
        self._arrays: dict[int, NDArray[Any]] = {}
        self._of_vectors: dict[tuple[int, ...], TermsInput] = {}

    def of(self, statistic: Statistic, places: Sequence[int]) -> Input:
        """The input of a statistic whose columns are at these places."""
        if statistic.HasField("unit_norms"):
            return self._norm_input(statistic, places)
        if statistic.HasField("model_vector"):
            return self._terms(tuple(places))
        return self._plain(places)

    def _terms(self, places: tuple[int, ...]) -> TermsInput:
        if places not in self._of_vectors:
            self._of_vectors[places] = TermsInput(tuple(floats(self._columns[place]) for place in places))
        return self._of_vectors[places]

    def _plain(self, places: Sequence[int]) -> RowInput:
        if not places:
            return None
        if places[0] not in self._arrays:
            self._arrays[places[0]] = to_numpy(self._columns[places[0]])
        return self._arrays[places[0]]

    def _norm_input(self, statistic: Statistic, places: Sequence[int]) -> NormInput:
        own = len(statistic.unit_norms.keys) + statistic.HasField("filter")
        keys = _norm_keys(statistic, [self._columns[place] for place in places[:own]], self._rows)
        rest, vector = list(places[own:]), []
        for each in statistic.unit_norms.vector:
            count = int(term(each) is not None or each.HasField("filter"))
            vector.append(self._plain(rest[:count]))
            del rest[:count]
        return NormInput(keys, tuple(vector))


def floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A numeric column in doubles, NaN for NULL."""
    return cast(NDArray[np.float64], to_numpy(column).astype(np.float64, copy=False))


def present(column: pa.ChunkedArray) -> RowInput:
    """Which values of a column there are; None for all."""
    if pa.types.is_floating(column.type):
        values = to_numpy(column)
        return ~np.isnan(values) if _has_nan(values) else None
    if pa.types.is_dictionary(column.type):
        return to_numpy(pc.is_valid(column.cast(column.type.value_type)))
    return to_numpy(column.is_valid()) if column.null_count else None


def _has_nan(values: NDArray[np.float64]) -> bool:
    if native.is_there():
        return native.has_nan(np.ascontiguousarray(values))
    # NaN is the greatest of all that it is among.
    return bool(len(values) and np.isnan(values.max()))


def _norm_keys(statistic: Statistic, columns: Sequence[pa.ChunkedArray], rows: int) -> Integers:
    """A number for each combination of the keys' values, NULL being one; -1 for rows that do not count."""
    keys = len(statistic.unit_norms.keys)
    codes = np.zeros(rows, np.int64)
    for column in columns[:keys]:
        own = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode").indices.to_numpy()
        _, codes = np.unique(codes * (int(own.max(initial=0)) + 1) + own, return_inverse=True)
    if statistic.HasField("filter"):
        codes[~to_numpy(columns[keys])] = -1
    return codes
