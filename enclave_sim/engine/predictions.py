"""A model's predictions of rows, and the bounded sums over rows that have them.

*Claim.* Let D and D' differ by all rows of one unit u. The columns that the model adds can be drawn together for D and
D' so that every row of everybody else has the same ones in both, bit by bit, each having the distribution that it has
by itself. `plan.sensitivity` needs nothing else of a model.

*Proof.* A model that `yingbi.api.models.check` accepts makes of batches of one shape, for the row at place i, a
function of that row and of i. That it may depend on i is no slip: kernels work through a buffer in steps, and round
otherwise at its ends, by a hair that a hostile model may magnify to 0 or 1. Were rows put beside one another as they
come, u's rows would move all that follow to other places. So the place of a row is drawn: under a key that is fresh for
this sum, AES-256 of (unit's code, number of the row within its unit), of which the remainder by the rows of a batch is
the place. How many these are is said by the model's work alone (`batch_rows`), whatever the data are. Rows with one
place go to different batches; which one it is changes nothing, as all batches are the same function. Codes decide
nothing else, so others' codes may be other ones without u (`engine.programs` has the same argument): give them in D'
the draws that they have in D. A row's number within its unit follows from the order of the unit's rows, which
`plan.relations` defines by the unit's rows alone. So all rows of others have the same inputs at the same places, and
the same predictions. ∎

*What is taken for granted of `Predict`:* that it runs the checked model, on each batch by itself; and that it fails for
all data or for none. Rows of a part for which it fails have no prediction: NULL. That is the sandbox's and the check's
matter; before anything is charged, a batch of zeros is tried (`enclave_sim.models`).

How many batches there are depends on the number of rows and on the draws, on no value.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ColumnReference, Expression, GroupKey, Model, Plan, Relation, Scan

from enclave_sim.engine.database import Query
from enclave_sim.engine.plan_reading import Types, columns_asked
from enclave_sim.engine.protocol import Cancelled, Engine, OpenTable, never
from enclave_sim.engine.scan import PHYSICAL_TYPES, Load, Stored, loads, tables_of, to_numpy
from enclave_sim.engine.sql_expressions import Words
from enclave_sim.engine.sql_relations import UNIT, Relations
from enclave_sim.plan.evaluations import CONFIDENCE, PREDICTED, PREDICTION, model_columns
from enclave_sim.privacy.clipping import Integers
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

KEY_BYTES = 32
PART_ROWS = 1 << 19
"""Rows that the model is given at a time: a row group, as each part costs a fork and two statements to write."""

MOST_NUMBERS = 1 << 22
"""Of a run of the model: so that none is too large for it, however many rows a unit has that is in the same part."""

BATCH_ROWS, LIGHT_BATCH_ROWS = 256, 1024
"""Both divide 2^16, of which a place is the remainder, so that each is as likely. Longer batches are fewer calls of the
runtime, and more places that stay empty."""

LIGHT_WORK = 1000
"""Of a row, in operations: up to it, a call costs more than what it does for 256 rows."""

WORKERS = 2
_ROWS_TABLE = "rows"

Numbers: TypeAlias = NDArray[np.float64]


class Predict(Protocol):
    """Runs a model on batches of rows, each by itself."""

    def __call__(self, rows: Numbers, /) -> Numbers | None:
        """(batches, rows of each, inputs) to (batches, rows of each, width); None where it failed. By any thread."""
        ...


def batch_rows(work: int) -> int:
    """How many rows a batch has of a model that takes so many operations for one (`CheckedModel.work`)."""
    return LIGHT_BATCH_ROWS if work <= LIGHT_WORK else BATCH_ROWS


def evaluated_sums(
    plan: Plan,
    engine: Engine,
    open_table: OpenTable,
    predict: Predict,
    *,
    batch: int = BATCH_ROWS,
    key: bytes | None = None,
    memory_limit: str = "1GB",
    cancelled: Callable[[], bool] = never,
) -> list[int]:
    """The cells of a plan with a model at one provider, as `Engine.contribution` has them.

    Args:
        plan: one that `plan.validation.check_plan` accepts.
        engine: adds up the rows once they have their predictions.
        batch: how many rows of it the model is given at once, `batch_rows`.
        key: 32 secret bytes that are used for this sum alone; by default drawn. For tests.

    Raises:
        Cancelled: soon after `cancelled()` turned true; EngineError; and what `open_table` raises.
    """
    drawn_by = secrets.token_bytes(KEY_BYTES) if key is None else key
    rows = _PredictedRows(plan, open_table, predict, batch, drawn_by, memory_limit)
    rest = Plan()
    rest.CopyFrom(plan)
    rest.ClearField("evaluation")
    rest.relation.CopyFrom(Relation(scan=Scan(table=_ROWS_TABLE)))

    def of_load(load: Load) -> list[Integers]:
        found = []
        for part in load():
            if cancelled():
                raise Cancelled
            table = rows.table(part)
            cells = engine.contribution(rest, _opening(table), cancelled)
            found.append(np.array(cells, dtype=object))
        return found

    with ThreadPoolExecutor(WORKERS) as workers:
        # No unit's rows are in two parts, so parts add up.
        parts = [cells for found in workers.map(of_load, rows.loads()) for cells in found]
    total: list[int] = sum(parts[1:], start=parts[0]).tolist()
    return total


def _opening(table: pa.Table) -> OpenTable:
    def open_table(_: str, columns: Sequence[str], /) -> pa.Table:
        return table.select(list(columns))

    return open_table


class _PredictedRows:
    """The rows of the plan's relation, with the columns that are asked for and those of its model."""

    def __init__(
        self, plan: Plan, open_table: OpenTable, predict: Predict, batch: int, key: bytes, memory_limit: str
    ) -> None:
        self._model, self._open = plan.evaluation.model, open_table
        self._predict, self._batch, self._key = predict, batch, key
        self._types = _plain_columns(plan)
        asked = [Expression(column=ColumnReference(name=name, type=kind)) for name, kind in self._types.items()]
        self._tables = tables_of(
            Plan(relation=plan.relation, group_by=[GroupKey(expression=each) for each in asked]), open_table
        )
        relations = Relations(self._tables, Words())
        rows = relations.rows(plan.relation, ordered=True)
        self._order = len(rows.order)
        columns = [UNIT, *rows.order, *(rows.columns[name] for name in self._types)]
        self._query = Query(relations, columns, rows.source, memory_limit)

    def loads(self) -> Iterator[Load]:
        """What reads the stored rows, part by part."""
        most = _most_rows(len(self._model.inputs), self._model.width)
        return loads(self._tables, self._open, min(PART_ROWS, most))

    def table(self, stored: Stored) -> pa.Table:
        """The rows over these tables, by units."""
        units, *others = self._query.run(stored)
        places = others[: self._order]
        codes = to_numpy(units)
        order = _order(codes, places)
        columns = {
            name: _restored(column, self._types[name], order)
            for name, column in zip(self._types, others[self._order :], strict=True)
        }
        codes = codes if order is None else codes[order]
        inputs = _beside([columns[name] for name in self._model.inputs], len(codes))
        said = predictions(inputs, codes, self._predict, self._model.width, self._key, self._batch)
        added = {name: _shown(numbers, name) for name, numbers in read(self._model, said).items()}
        return pa.table({UNIT_COLUMN: pa.array(codes), **columns, **added})


def _plain_columns(plan: Plan) -> Types:
    """The relation's own columns that the plan's keys and statistics ask for, and those that the model is given."""
    own = {name: trait.type for name, trait in model_columns(plan.evaluation.model).items()}
    asked = {name: kind for name, kind in columns_asked(plan).items() if name not in own}
    return asked | dict.fromkeys(plan.evaluation.model.inputs, _FLOAT64)


_FLOAT64 = next(kind for kind, arrow in ARROW_TYPES.items() if arrow == pa.float64())


def _order(units: Integers, places: Sequence[pa.ChunkedArray]) -> Integers | None:
    """What sorts rows by unit, and those of one in their order, NULL last; None where they are."""
    ascends = units[1:] > units[:-1]
    if ascends.all():
        return None
    is_plain = len(places) == 1 and pa.types.is_integer(places[0].type) and not places[0].null_count
    if is_plain and (units[1:] >= units[:-1]).all() and (ascends | (np.diff(to_numpy(places[0])) > 0)).all():
        return None
    names = [f"p{number}" for number in range(len(places))]
    table = pa.table({"u": units, **dict(zip(names, places, strict=True))})
    sorting = [(name, "ascending") for name in ("u", *names)]
    found: Integers = pc.sort_indices(table, sort_keys=sorting).to_numpy().astype(np.int64)
    return found


def _restored(column: pa.ChunkedArray, kind: Any, order: Integers | None) -> pa.ChunkedArray:
    """A column of the engine as it would be stored."""
    if order is not None:
        column = column.take(pa.array(order))
    physical, arrow = PHYSICAL_TYPES[kind], ARROW_TYPES[kind]
    column = column if column.type == physical else column.cast(physical)
    return column if physical == arrow else pa.chunked_array([chunk.view(arrow) for chunk in column.chunks], arrow)


def _beside(columns: Sequence[pa.ChunkedArray], rows: int) -> Numbers:
    """Columns of float64 as one array, with NaN for NULL."""
    found = np.empty((rows, len(columns)))
    for number, column in enumerate(columns):
        start = 0
        for chunk in column.chunks:
            found[start : start + len(chunk), number] = chunk.to_numpy(zero_copy_only=False)
            start += len(chunk)
    return found


def predictions(
    rows: Numbers, units: Integers, predict: Predict, width: int, key: bytes, batch: int = BATCH_ROWS
) -> Numbers:
    """What a model says of rows, one line for each; NaN where it fails.

    Args:
        rows: what it is given.
        units: of each row, ascending, a unit's rows being in their order.
        width: numbers that it says of a row.
        key: 32 secret bytes, the same for all parts of a sum and for nothing else.
        batch: rows of a batch.
    """
    place = places(units, key, batch)
    by_place = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=batch)
    first = np.cumsum(counts) - counts
    # Where a row lies when all batches lie one after another: in a batch of its own among those with its place.
    line = np.empty(len(place), np.int64)
    line[by_place] = batch * np.arange(len(place)) + np.repeat(np.arange(batch) - batch * first, counts)
    batches, step = int(counts.max(initial=0)), max(1, _most_rows(rows.shape[1], width) // batch)
    found = np.full((len(rows), width), np.nan)
    for start in range(0, batches, step):
        size = min(step, batches - start)
        begin, end = start * batch, (start + size) * batch
        own = np.flatnonzero((line >= begin) & (line < end)) if batches > step else slice(None)
        given = np.zeros((size * batch, rows.shape[1]))
        _each_as_one(given)[line[own] - begin] = _each_as_one(rows)[own]
        said = predict(given.reshape(size, batch, -1))
        if said is not None and said.shape == (size, batch, width):
            found[own] = said.reshape(-1, width).take(line[own] - begin, axis=0)
    return found


def _each_as_one(rows: Numbers) -> NDArray[np.void]:
    """Each row as one thing, which moves at once; in the same memory."""
    return rows.view(f"V{rows.itemsize * rows.shape[1]}").reshape(-1)


def _most_rows(inputs: int, width: int) -> int:
    """That a model is given at once: what it is given of them, and what it says, has a public size that always fits."""
    return max(1, MOST_NUMBERS // max(inputs, width))


def places(units: Integers, key: bytes, batch: int = BATCH_ROWS) -> NDArray[np.uint16]:
    """Where in a batch each row is: drawn by its unit and its number within it. `units` as for `predictions`."""
    contents = np.empty((len(units), 2), "<u8")
    row = np.arange(len(units))
    # Of each row the one that its unit's begin with.
    first = row.copy()
    first[1:][units[1:] == units[:-1]] = 0
    np.maximum.accumulate(first, out=first)
    contents[:, 0], contents[:, 1] = units, row - first
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 (as a function of numbers)
    # One block more than is drawn: the room that a cipher asks for.
    drawn = np.empty(16 * (len(units) + 1), np.uint8)
    encryptor.update_into(contents.reshape(-1).view(np.uint8).data, drawn.data)
    return drawn.view("<u2")[: 8 * len(units) : 8] % np.uint16(batch)


def read(model: Model, said: Numbers) -> dict[str, Numbers]:
    """The columns that the model adds, as numbers; NaN for NULL."""
    with np.errstate(invalid="ignore"):
        if model.reading == Model.READING_LARGEST:
            finite = np.isfinite(said).all(axis=1)
            largest = said.argmax(axis=1)
            return {
                PREDICTED: np.where(finite, largest, np.nan),
                CONFIDENCE: np.where(finite, said[np.arange(len(said)), largest], np.nan),
            }
        own = said[:, model.column]
        return {PREDICTION: np.where(np.isfinite(own), own, np.nan)}


def _shown(numbers: Numbers, name: str) -> pa.Array:
    column = pa.array(numbers, pa.float64(), from_pandas=True)
    return column.cast(pa.int64()) if name == PREDICTED else column
