"""Make a provider's rows ready to scan: no identifiers, sorted by a secret unit code, NaN as NULL, no endless texts.

Within a unit rows are in a secret random order, so "a unit's first k rows" is a random choice of k.

What one unit's texts can add to the time of a question is bounded by what is declared (`plan.text_work`), so their
length has to be: no text has more bytes than its column's `max_length`, and what is longer is cut, at a character; all
texts of a unit in one column have at most `unit_bytes` together, and more is refused, since no cut would leave such a
unit's rows what they are. Where no text is longer than `LISTED_LENGTH` nothing is refused: a row's text then takes no
longer than its numbers do, and how many rows there are may be told.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnType

from enclave_sim.plan.schema import LISTED_LENGTH, MAX_LENGTH, max_length, unit_bytes
from enclave_sim.privacy.clipping import MAX_UNIT_ROWS
from enclave_sim.sealed.errors import IngestError
from enclave_sim.sealed.schema import UNIT_COLUMN, arrow_schema, attributes, unit_column

Codes = NDArray[np.int64]


def prepare(declaration: DatasetDeclaration, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables as they are sealed, by name in declared order: UNIT_COLUMN first, then the attributes.

    A text column with declared values is dictionary encoded: these values in their order, then others that there
    are, then NULL; so how it is stored depends on the declaration, and no index is NULL.

    `declaration` is one that `plan.schema.check_declaration` accepts; so the units have one type, int64 or
    string, and no column is called UNIT_COLUMN. `tables` has exactly the declared tables, each with exactly
    the schema of `arrow_schema`. Raises IngestError.
    """
    _check_names(declaration, tables)
    for table in declaration.tables:
        _check_table(table, tables[table.name])
    codes = _code_units(
        {table.name: tables[table.name][unit_column(table).name] for table in declaration.tables},
        declaration.max_units,
    )
    return {table.name: _prepare_table(table, tables[table.name], codes[table.name]) for table in declaration.tables}


def _check_names(declaration: DatasetDeclaration, tables: Mapping[str, pa.Table]) -> None:
    declared = [table.name for table in declaration.tables]
    for name in declared:
        if name not in tables:
            raise IngestError("missing_table", f"No rows came for the table {name}.", field=f"tables.{name}")
    for name in tables:
        if name not in declared:
            raise IngestError("unknown_table", f"The table {name} is not declared.")


def _check_table(declared: TableDeclaration, table: pa.Table) -> None:
    expected, found = arrow_schema(declared), table.schema
    where = f"tables.{declared.name}.columns"
    if (found.names, found.types) != (expected.names, expected.types):
        raise IngestError(
            "wrong_schema",
            f"The table {declared.name} must come as ({_render(expected)}), not as ({_render(found)}).",
            field=where,
        )
    _check_content(declared.name, table)
    for column in attributes(declared):
        if column.required:
            _check_required(declared.name, column, table[column.name])
    unit = unit_column(declared).name
    _check_unit_texts(declared.name, unit, table[unit])
    if table[unit].null_count:
        row = pc.index(table[unit].is_null(), True).as_py() + 1
        raise IngestError(
            "null_unit",
            f"Row {row} of the table {declared.name} has no privacy unit: its column {unit} is NULL.",
            field=f"{where}.{unit}",
        )


def _check_content(name: str, table: pa.Table) -> None:
    """Refuse what is no Arrow data, as strings that are not UTF-8: no query may fail for it later."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        # Not its message, which may quote a value.
        raise IngestError(
            "invalid_data",
            f"The table {name} holds data that Arrow finds invalid, such as text that is not UTF-8.",
            field=f"tables.{name}",
        ) from None


def _check_unit_texts(name: str, unit: str, values: pa.ChunkedArray) -> None:
    """Refuse the name of a unit that is longer than any text: it cannot be cut, or two units might be one."""
    if values.type == pa.string() and (pc.max(pc.binary_length(values)).as_py() or 0) > MAX_LENGTH:
        raise IngestError(
            "text_too_long",
            f"The table {name} has a privacy unit in {unit} that is longer than {MAX_LENGTH:,} bytes.",
            field=f"tables.{name}.columns.{unit}",
        )


def _check_required(name: str, column: ColumnDeclaration, values: pa.ChunkedArray) -> None:
    missing = values.is_null(nan_is_null=column.type == ColumnType.COLUMN_TYPE_FLOAT64)
    if pc.any(missing).as_py():
        raise IngestError(
            "missing_value",
            # Not which: rows were dealt to the nodes, so a place here is none in the operator's file.
            f"The table {name} has a row without {column.name}, which is declared as required.",
            field=f"tables.{name}.columns.{column.name}",
        )


def _render(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _code_units(units: Mapping[str, pa.ChunkedArray], max_units: int) -> dict[str, Codes]:
    """Each table's units as codes 0 … n-1, the same unit with the same code in every table.

    The codes are a uniformly random permutation from the operating system's generator, kept nowhere but
    in the rows. So they tell nothing about the order of the identifiers, and nobody, whatever keys they
    hold, can test a guessed identifier against them, as a keyed hash would allow its key's holder. The
    price: a second ingest of the same rows gives other codes. Nothing relies on equal ones.
    """
    columns = list(units.values())
    chunks = [chunk for column in columns for chunk in column.chunks]
    distinct = pa.chunked_array(chunks, columns[0].type).unique()
    if len(distinct) > max_units:
        raise IngestError(
            "too_many_units",
            f"This provider's rows alone have more privacy units than max_units, which is {max_units}.",
            field="max_units",
        )
    permutation = _random_permutation(len(distinct))
    return {name: permutation[pc.index_in(column, value_set=distinct).to_numpy()] for name, column in units.items()}


def _random_permutation(count: int) -> Codes:
    """0 … count-1 in random order: ranks of 128-bit random keys, two of which agree below count²·2^-129."""
    keys = np.frombuffer(secrets.token_bytes(16 * count), dtype=np.uint64).reshape(2, count)
    return np.lexsort((keys[0], keys[1])).astype(np.int64)


def _prepare_table(declared: TableDeclaration, table: pa.Table, codes: Codes) -> pa.Table:
    if len(codes) and int(np.bincount(codes).max()) > MAX_UNIT_ROWS:
        raise IngestError(
            "too_many_rows",
            f"A privacy unit has more than {MAX_UNIT_ROWS} rows in the table {declared.name}.",
            field=f"tables.{declared.name}",
        )
    columns, order = {UNIT_COLUMN: pa.array(codes)}, _by_unit(codes)
    for column in attributes(declared):
        values = table[column.name]
        if column.type == ColumnType.COLUMN_TYPE_FLOAT64:
            values = _without_nan(values)
        if column.type == ColumnType.COLUMN_TYPE_STRING:
            values = cut(values, max_length(column))
            _check_unit_bytes(declared, column, values, codes)
        if column.constant_per_unit:
            _check_constant(declared.name, column.name, values, codes, order)
        if column.type == ColumnType.COLUMN_TYPE_STRING and column.values:
            values = _numbered(values, [value.string_value for value in column.values])
        columns[column.name] = values
    # A table anew, so that no metadata of the sender (as pandas' index) is stored.
    return pa.table(columns).take(pa.array(order)).combine_chunks()


def cut(values: pa.ChunkedArray, most: int) -> pa.ChunkedArray:
    """Texts with at most so many bytes, what is longer being cut at the end of a character."""
    long = pc.fill_null(pc.greater(pc.binary_length(values), most), False)
    if not pc.any(long).as_py():
        return values
    beginnings = [text.encode()[:most].decode(errors="ignore") for text in values.filter(long).to_pylist()]
    shorter = pc.replace_with_mask(values.combine_chunks(), long.combine_chunks(), pa.array(beginnings, pa.string()))
    return pa.chunked_array([shorter])


def _check_unit_bytes(
    table: TableDeclaration, column: ColumnDeclaration, values: pa.ChunkedArray, codes: Codes
) -> None:
    if max_length(column) <= LISTED_LENGTH:
        return
    lengths = pc.fill_null(pc.binary_length(values), 0).to_numpy()
    most = unit_bytes(column, table.max_rows_per_unit)
    # In doubles, exactly: there are no 2^53 bytes.
    if len(codes) and np.bincount(codes, lengths).max() > most:
        raise IngestError(
            "texts_too_long",
            f"The table {table.name} has a unit whose texts in {column.name} have more than {most:,} bytes together.",
            field=f"tables.{table.name}.columns.{column.name}",
            hint=f"declare a larger max_length of {column.name}, or a larger max_rows_per_unit",
        )


def _check_constant(name: str, column: str, values: pa.ChunkedArray, codes: Codes, order: Codes) -> None:
    """Refuse a unit with two values. No row is named: of two that differ neither is the wrong one."""
    numbered = pc.dictionary_encode(values, null_encoding="encode").combine_chunks()
    indices, units = numbered.indices.to_numpy()[order], codes[order]
    if ((indices[1:] != indices[:-1]) & (units[1:] == units[:-1])).any():
        raise IngestError(
            "not_constant",
            f"The table {name} has a unit with several values of {column}, which is declared as constant_per_unit.",
            field=f"tables.{name}.columns.{column}",
        )


def _by_unit(codes: Codes) -> Codes:
    """The order of rows: by unit, and within one by 64-bit random keys, which agree below rows²·2^-65."""
    keys = np.frombuffer(secrets.token_bytes(8 * len(codes)), dtype=np.uint64)
    shuffled = np.argsort(keys)
    return shuffled[np.argsort(codes[shuffled], kind="stable")]


def _numbered(values: pa.ChunkedArray, declared: Sequence[str]) -> pa.DictionaryArray:
    """Texts by their numbers in a dictionary that begins with the declared values and ends with NULL."""
    known = pa.array(declared, pa.string())
    others = values.unique().drop_null()
    others = others.filter(pc.invert(pc.is_in(others, value_set=known)))
    dictionary = pa.concat_arrays([known, others, pa.nulls(1, pa.string())])
    return pa.DictionaryArray.from_arrays(pc.index_in(values, value_set=dictionary).combine_chunks(), dictionary)


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
