"""The engine that runs: DuckDB evaluates rows where it is needed, Arrow finds their groups, numpy adds up and clips.

Every operation of a plan keeps to the rows of one unit, so the engine works on some units at a time, with all
their rows, and forgets them: memory does not grow with the table, and no sum depends on an order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.per_unit import UnitSums, clipped_cells
from enclave_sim.engine.plan_reading import key_question, unit_keys_of
from enclave_sim.engine.protocol import Cancelled, OpenTable, Scalar, UnitKeys, never
from enclave_sim.engine.query import QueriedRows
from enclave_sim.engine.scan import Load, Stored, Tables, loads, tables_of
from enclave_sim.engine.scanned import ScannedRows, is_scanned
from enclave_sim.engine.within import add_up_within
from enclave_sim.plan.sensitivity import cells
from enclave_sim.privacy.clipping import Integers

_Work: TypeAlias = Callable[[Stored], Integers]
"""From a part of the rows to its cells."""

PART_ROWS = 1 << 18
"""Rows that DuckDB evaluates at a time."""
SCANNED_ROWS = 1 << 19
"""Rows that are taken at a time as they are stored: a row group and more."""
BATCH_ROWS = 1 << 16
"""Rows that are added up at a time where units are sorted: few enough to stay in the processor's cache."""


class DuckDBEngine:
    """An `Engine`. `memory_limit` is DuckDB's own, beside the columns that Arrow holds."""

    def __init__(self, memory_limit: str = "1GB", workers: int | None = None) -> None:
        self._memory_limit = memory_limit
        self._workers = workers or min(2, os.cpu_count() or 1)

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`. `cancelled` is asked before every part of the rows, and of a model's before every chunk."""
        _stop_if(cancelled)
        tables = tables_of(plan, open_table)
        write, rows = (_scanned_work, SCANNED_ROWS) if is_scanned(plan) else (_queried_work, PART_ROWS)
        work, sums = write(plan, tables, self._memory_limit, cancelled), UnitSums(plan)
        given = _Given(loads(tables, open_table, rows), cancelled)
        with ThreadPoolExecutor(self._workers) as workers:
            working = [workers.submit(_add_up, plan, work, given) for _ in range(self._workers)]
        for each in working:
            sums.join(each.result())
        return sums.vector()

    def unit_keys(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> UnitKeys:
        """See `Engine`."""
        asked = key_question(plan)
        tables = tables_of(asked, open_table)
        rows = QueriedRows(asked, tables, self._memory_limit)
        units: list[int] = []
        keys: list[tuple[Scalar, ...]] = []
        for load in loads(tables, open_table, PART_ROWS):
            _stop_if(cancelled)
            for part in load():
                of_part, values = rows.keys(part)
                units += of_part
                keys += values
        return unit_keys_of(units, keys)


class _Given:
    """The loads of the rows, for several workers: who is free takes the next one, reads it, and works on it."""

    def __init__(self, given: Iterator[Load], cancelled: Callable[[], bool]) -> None:
        self._given, self._cancelled = given, cancelled
        self._lock, self._is_stopped = threading.Lock(), False

    def next(self) -> Load | None:
        """The next load, None after the last one; raises Cancelled, and what opening a table raises."""
        with self._lock:
            if self._is_stopped:
                return None
            try:
                _stop_if(self._cancelled)
                return next(self._given, None)
            except BaseException:
                self._is_stopped = True
                raise

    def stop(self) -> None:
        """Give no further load."""
        with self._lock:
            self._is_stopped = True


def _add_up(plan: Plan, work: _Work, given: _Given) -> UnitSums:
    sums = UnitSums(plan)
    try:
        while (load := given.next()) is not None:
            for part in load():
                sums.add(work(part))
    except BaseException:
        given.stop()
        raise
    return sums


def _scanned_work(plan: Plan, tables: Tables, memory_limit: str, cancelled: Callable[[], bool]) -> _Work:
    rows = ScannedRows(plan, tables, memory_limit)
    # More where there are many cells, each of which costs something in every batch.
    batch_rows = max(BATCH_ROWS, 2 * cells(plan))

    def work(part: Stored) -> Integers:
        total, others = add_up_within(plan, rows.batch(part))
        for batch in others.split(batch_rows) if others else ():
            total += clipped_cells(plan, batch, cancelled)
        return total

    return work


def _queried_work(plan: Plan, tables: Tables, memory_limit: str, cancelled: Callable[[], bool]) -> _Work:
    rows = QueriedRows(plan, tables, memory_limit)
    return lambda part: clipped_cells(plan, rows.batch(part), cancelled)


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
