"""The Arrow types that declared columns have, on the wire and at rest."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnType

from enclave_sim.plan.schema import is_unit

UNIT_COLUMN = "_yingbi_unit"
"""Takes the privacy unit's place at rest: codes from 0 to below 2^31, dense over the shard, rows sorted by it."""

ARROW_TYPES: Mapping[ColumnType.ValueType, pa.DataType] = {
    ColumnType.COLUMN_TYPE_BOOL: pa.bool_(),
    ColumnType.COLUMN_TYPE_INT64: pa.int64(),
    ColumnType.COLUMN_TYPE_FLOAT64: pa.float64(),
    ColumnType.COLUMN_TYPE_STRING: pa.string(),
    ColumnType.COLUMN_TYPE_DATE: pa.date32(),
    ColumnType.COLUMN_TYPE_TIMESTAMP: pa.timestamp("us"),
}


def arrow_schema(table: TableDeclaration) -> pa.Schema:
    """What a sender must send for `table`: the declared columns in their order, and no other."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in table.columns])


def unit_column(table: TableDeclaration) -> ColumnDeclaration:
    """The privacy unit's column of `table`, which a valid declaration has once."""
    return next(column for column in table.columns if is_unit(column))


def attributes(table: TableDeclaration) -> list[ColumnDeclaration]:
    """The columns of `table` that are stored as they are."""
    return [column for column in table.columns if not is_unit(column)]
