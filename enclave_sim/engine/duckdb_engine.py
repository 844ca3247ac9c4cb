"""The engine that runs: DuckDB evaluates rows where it is needed, Arrow finds their groups, numpy adds up and clips.

Every operation of a plan keeps to the rows of one unit, so the engine works on some units at a time, with all
their rows, and forgets them: memory does not grow with the table, and no sum depends on an order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.per_unit import UnitSums, clipped_cells
from enclave_sim.engine.plain import PlainRows, is_plain
from enclave_sim.engine.plan_reading import key_question, unit_keys_of
from enclave_sim.engine.protocol import Cancelled, OpenTable, Scalar, UnitKeys, never
from enclave_sim.engine.query import QueriedRows
from enclave_sim.engine.scan import Stored, parts, tables_of
from enclave_sim.privacy.clipping import Integers

PART_ROWS = 1 << 17
"""Rows that are worked on at a time: few enough to stay in the processor's caches."""


class DuckDBEngine:
    """An `Engine`. `memory_limit` is DuckDB's own, beside the columns that Arrow holds."""

    def __init__(self, memory_limit: str = "1GB", workers: int | None = None) -> None:
        self._memory_limit = memory_limit
        self._workers = workers or min(2, os.cpu_count() or 1)

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`. `cancelled` is asked before every part of the rows."""
        _stop_if(cancelled)
        tables = tables_of(plan, open_table)
        rows = PlainRows(plan, tables) if is_plain(plan) else QueriedRows(plan, tables, self._memory_limit)
        sums = UnitSums(plan)
        for vector in self._each(
            lambda part: clipped_cells(plan, rows.batch(part)), parts(tables, open_table, PART_ROWS)
        ):
            sums.add(vector)
            _stop_if(cancelled)
        return sums.vector()

    def unit_keys(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> UnitKeys:
        """See `Engine`."""
        asked = key_question(plan)
        tables = tables_of(asked, open_table)
        rows = QueriedRows(asked, tables, self._memory_limit)
        units: list[int] = []
        keys: list[tuple[Scalar, ...]] = []
        for part in parts(tables, open_table, PART_ROWS):
            _stop_if(cancelled)
            of_part, values = rows.keys(part)
            units += of_part
            keys += values
        return unit_keys_of(units, keys)

    def _each(self, work: Callable[[Stored], Integers], given: Iterator[Stored]) -> Iterator[Integers]:
        """The work on each part, some at a time, while the next one is read."""
        with ThreadPoolExecutor(self._workers) as workers:
            waiting: deque[Future[Integers]] = deque()
            try:
                for part in given:
                    waiting.append(workers.submit(work, part))
                    if len(waiting) > self._workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                workers.shutdown(cancel_futures=True)


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
